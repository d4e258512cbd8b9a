//! The Kubernetes version that decides which features may be used.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A Kubernetes release, `major.minor`. The older of the API server and the oldest kubelet decides
/// which features may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KubeVersion {
    major: u16,
    minor: u16,
}

impl KubeVersion {
    /// The oldest supported release. Native sidecars (1.29) and match conditions (1.30) are enabled
    /// by default in it.
    pub const OLDEST: Self = Self::new(1, 30);

    /// The first release whose kubelets support `fileKeyRef` variables by default (KEP-3721, beta).
    pub const FILE_KEY_REF: Self = Self::new(1, 35);

    /// A release from its numbers.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// The minor version.
    pub const fn minor(self) -> u16 {
        self.minor
    }

    /// Whether `env.valueFrom.fileKeyRef` may be used.
    pub fn has_file_key_ref(self) -> bool {
        self >= Self::FILE_KEY_REF
    }
}

impl Default for KubeVersion {
    fn default() -> Self {
        Self::OLDEST
    }
}

impl fmt::Display for KubeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why a text is not a supported Kubernetes version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KubeVersionError {
    /// The text is not `major.minor`.
    #[error("{0:?} is not a Kubernetes version: write major.minor, for example 1.36")]
    Malformed(String),
    /// The release is older than [`KubeVersion::OLDEST`].
    #[error("Kubernetes {0} is not supported: {oldest} or newer is needed", oldest = KubeVersion::OLDEST)]
    TooOld(KubeVersion),
}

impl FromStr for KubeVersion {
    type Err = KubeVersionError;

    /// Parses `1.36`, `v1.36`, `1.36.2` and the forms of managed clusters, such as `1.36+` or
    /// `v1.36.2-gke.100`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || KubeVersionError::Malformed(text.chars().take(40).collect());
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
        let mut number = || -> Option<u16> {
            let part = parts.next()?;
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        };
        let (Some(major), Some(minor)) = (number(), number()) else {
            return Err(malformed());
        };
        let version = Self::new(major, minor);
        if version < Self::OLDEST { Err(KubeVersionError::TooOld(version)) } else { Ok(version) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_clusters_report_them() {
        for text in ["1.36", "v1.36", "1.36.2", "v1.36.2-gke.100", "1.36+"] {
            assert_eq!(text.parse(), Ok(KubeVersion::new(1, 36)), "{text}");
        }
    }

    #[test]
    fn refusals_name_the_text() {
        assert_eq!("1.29".parse::<KubeVersion>(), Err(KubeVersionError::TooOld(KubeVersion::new(1, 29))));
        for text in ["", "1", "one.two", "1.", ".36"] {
            assert_eq!(text.parse::<KubeVersion>(), Err(KubeVersionError::Malformed(text.into())));
        }
    }

    #[test]
    fn file_key_ref_starts_at_1_35() {
        assert!(!KubeVersion::new(1, 34).has_file_key_ref());
        assert!(KubeVersion::new(1, 35).has_file_key_ref());
    }
}
