//! Follows a directory whose certificate is renewed externally.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    content::{CheckResult, ContentInUse},
    files::{LoadError, Material, Validity},
    tls::CertResolver,
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
    content: ContentInUse,
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
        let content = ContentInUse::new(&material);
        let reloader = Self { directory, resolver: Arc::clone(&resolver), content };
        Ok((reloader, resolver, loaded.validity))
    }

    /// Checks the directory once. Returns the validity of a pair that is served from now on.
    pub fn check(&mut self, now: SystemTime) -> CheckResult<Validity, LoadError> {
        let Self { directory, resolver, content } = self;
        content.check(Material::read(directory), |material| {
            let loaded = material.check(now)?;
            resolver.replace(loaded.key);
            Ok(loaded.validity)
        })
    }

    /// Whether the last check found content that cannot be served.
    pub fn is_refused(&self) -> bool {
        self.content.is_refused()
    }
}

#[cfg(test)]
mod tests;
