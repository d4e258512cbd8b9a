//! Follows a directory whose certificate is renewed externally.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    files::{LoadError, Material, Validity},
    resolver::CertResolver,
};

/// How often the directory is checked. The kubelet takes up to two minutes to update a mounted
/// Secret, and certificates are renewed weeks before they expire, so ten seconds add no relevant
/// delay and cost nothing.
pub const DEFAULT_RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// Checks a directory and replaces the resolver's certificate when the content changes. Comparing
/// the content detects every replacement of `..data` and needs no inotify watch.
pub struct Reloader {
    directory: PathBuf,
    resolver: Arc<CertResolver>,
    /// The fingerprint of the served content.
    served: u64,
    /// The last reported error, if the current content cannot be served.
    told: Option<String>,
}

/// The result of one check of the directory.
#[derive(Debug)]
pub enum Checked {
    /// No change, or an error that was already reported.
    Unchanged,
    /// A new pair is now served.
    Replaced {
        /// The validity period of its leaf.
        validity: Validity,
    },
    /// The content cannot be served, and the previous pair is kept.
    Kept(LoadError),
}

impl Reloader {
    /// Loads the pair in `directory` and remembers its content for later checks. Also returns the
    /// resolver and the validity of the first certificate.
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

    /// Checks the directory once. The same error is reported only once. The content is validated in
    /// each check, because a certificate that is not valid yet becomes valid without a change.
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

    /// Whether the last check found content that cannot be served.
    pub fn is_refused(&self) -> bool {
        self.told.is_some()
    }

    fn keep(&mut self, error: LoadError) -> Checked {
        // `Display` omits the cause, so `Debug` is compared.
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
