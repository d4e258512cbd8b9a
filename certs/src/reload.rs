//! Following a directory whose certificate is renewed by somebody else.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    files::{LoadError, Material, Validity},
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
    /// The content that is served.
    served: u64,
    /// Why what is there now is not served, as it was told.
    told: Option<String>,
}

/// What one look at the directory found.
#[derive(Debug)]
pub enum Checked {
    /// Nothing that has not been told before.
    Unchanged,
    /// A new pair is served from now on.
    Replaced {
        /// When it is valid.
        validity: Validity,
    },
    /// What is there cannot be served; the pair before stays.
    Kept(LoadError),
}

impl Reloader {
    /// Loads the pair in `directory` and follows it from there. Also gives the resolver and the first
    /// certificate's validity.
    pub fn new(
        directory: impl Into<PathBuf>,
        now: SystemTime,
    ) -> Result<(Self, Arc<CertResolver>, Validity), LoadError> {
        let directory = directory.into();
        let material = Material::read(&directory)?;
        let loaded = material.check(now)?;
        let resolver = Arc::new(CertResolver::new(loaded.key));
        let served = material.fingerprint();
        let reloader = Self { directory, resolver: Arc::clone(&resolver), served, told: None };
        Ok((reloader, resolver, loaded.validity))
    }

    /// Looks once. What cannot be served is told once, until it is something else; it is tried at every look, because
    /// a certificate that is not valid yet becomes so without a change.
    pub fn check(&mut self, now: SystemTime) -> Checked {
        let material = match Material::read(&self.directory) {
            Ok(material) => material,
            Err(error) => return self.keep(error),
        };
        let fingerprint = material.fingerprint();
        if fingerprint == self.served {
            self.told = None;
            return Checked::Unchanged;
        }
        match material.check(now) {
            Ok(loaded) => {
                self.resolver.replace(loaded.key);
                self.served = fingerprint;
                self.told = None;
                Checked::Replaced { validity: loaded.validity }
            }
            Err(error) => self.keep(error),
        }
    }

    /// Whether the last look found something that cannot be served.
    pub fn is_refused(&self) -> bool {
        self.told.is_some()
    }

    fn keep(&mut self, error: LoadError) -> Checked {
        // Its text leaves the cause out.
        let text = format!("{error:?}");
        if self.told.as_ref() == Some(&text) {
            return Checked::Unchanged;
        }
        self.told = Some(text);
        Checked::Kept(error)
    }
}

#[cfg(test)]
mod tests;
