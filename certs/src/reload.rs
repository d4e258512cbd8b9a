//! Following a directory whose certificate is renewed by somebody else.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    files::{LoadError, Material},
    resolver::CertResolver,
};

/// How often the directory is looked at. The kubelet itself takes up to a minute or two to bring a new Secret, and
/// certificates are renewed weeks before they end, so ten seconds cost nothing and add nothing.
pub const DEFAULT_RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// Looks at a directory and swaps the resolver's certificate when the content changes. Polling by content sees
/// every `..data` swap and needs no inotify watch.
pub struct Reloader {
    directory: PathBuf,
    resolver: Arc<CertResolver>,
    /// The content that was last looked at closely, whether it was taken or not.
    seen: u64,
}

/// What one look at the directory found.
#[derive(Debug)]
pub enum Checked {
    /// The content is what it was.
    Unchanged,
    /// A new pair is served from now on.
    Replaced {
        /// When it expires.
        not_after: SystemTime,
    },
    /// What is there cannot be served; the pair before stays.
    Kept(LoadError),
}

impl Reloader {
    /// Loads the pair in `directory` and follows it from there. Also gives the resolver and the end of the first
    /// certificate's validity.
    pub fn new(
        directory: impl Into<PathBuf>,
        now: SystemTime,
    ) -> Result<(Self, Arc<CertResolver>, SystemTime), LoadError> {
        let directory = directory.into();
        let material = Material::read(&directory)?;
        let loaded = material.check(now)?;
        let resolver = Arc::new(CertResolver::new(loaded.key));
        let reloader = Self { directory, resolver: Arc::clone(&resolver), seen: material.fingerprint() };
        Ok((reloader, resolver, loaded.not_after))
    }

    /// Looks once. A broken pair is reported once, not at every look; a file that cannot be read, each time.
    pub fn check(&mut self, now: SystemTime) -> Checked {
        let material = match Material::read(&self.directory) {
            Ok(material) => material,
            Err(error) => return Checked::Kept(error),
        };
        let fingerprint = material.fingerprint();
        if fingerprint == self.seen {
            return Checked::Unchanged;
        }
        self.seen = fingerprint;
        match material.check(now) {
            Ok(loaded) => {
                self.resolver.replace(loaded.key);
                Checked::Replaced { not_after: loaded.not_after }
            }
            Err(error) => Checked::Kept(error),
        }
    }

    /// Looks every `interval`, for ever; tells `observe` what changed. The files are two small ones on tmpfs, so
    /// they are read in place.
    pub async fn run(mut self, interval: Duration, mut observe: impl FnMut(&Checked)) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let checked = self.check(SystemTime::now());
            match &checked {
                Checked::Unchanged => continue,
                Checked::Replaced { not_after } => {
                    tracing::info!(directory = %self.directory.display(), ?not_after, "certificate replaced");
                }
                Checked::Kept(error) => {
                    tracing::warn!(%error, "new certificate refused, the one before stays");
                }
            }
            observe(&checked);
        }
    }
}

#[cfg(test)]
mod tests;
