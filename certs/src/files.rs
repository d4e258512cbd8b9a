//! Loads a certificate from a directory in which the kubelet mounts a Secret of type
//! `kubernetes.io/tls`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    sign::CertifiedKey,
};
use thiserror::Error;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::tls::certified_key;

/// The chain, leaf first, PEM.
pub(crate) const CERTIFICATE_FILE: &str = "tls.crt";
/// The leaf's private key, PEM: PKCS #8, SEC 1 or PKCS #1.
pub(crate) const KEY_FILE: &str = "tls.key";

/// The kubelet's symbolic link to the current version of the files, replaced in one rename.
const DATA_LINK: &str = "..data";

/// Why a directory contains no usable certificate. Each message names the file and the fix, and
/// none contains a byte of the key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {path}; mount a Secret of type kubernetes.io/tls there")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The text is not PEM.
    #[error(
        "{path} is not PEM; write a chain with the leaf first to {CERTIFICATE_FILE} and its key to {KEY_FILE}"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: pem::Error,
    },
    /// The file contains no certificate.
    #[error("{path} holds no certificate; write the chain there, leaf first")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The leaf cannot be parsed as X.509.
    #[error("the first certificate of {path} is not X.509; write the chain there, leaf first")]
    NotX509 {
        /// The file.
        path: PathBuf,
    },
    /// The file contains no private key.
    #[error("{path} holds no private key; write the leaf's unencrypted key there")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is not supported, or it does not match the leaf.
    #[error("{key} does not belong to {certificate}; issue the pair again")]
    Pair {
        /// The chain's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The error of the TLS library.
        source: rustls::Error,
    },
    /// The leaf is not valid yet.
    #[error("{path} is not valid before {not_before}; set the clock or wait")]
    NotYetValid {
        /// The chain's file.
        path: PathBuf,
        /// The start of its validity.
        not_before: Timestamp,
    },
    /// The leaf has expired.
    #[error("{path} expired at {not_after}; renew the certificate")]
    Expired {
        /// The chain's file.
        path: PathBuf,
        /// The end of its validity.
        not_after: Timestamp,
    },
}

/// The validity period of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment, inclusive.
    pub not_before: SystemTime,
    /// The end, exclusive.
    pub not_after: SystemTime,
}

impl Validity {
    /// Whether it is valid at `now`.
    pub(crate) fn covers(&self, now: SystemTime) -> bool {
        self.not_before <= now && !self.is_over(now)
    }

    /// Whether it has expired at `now`.
    pub fn is_over(&self, now: SystemTime) -> bool {
        now >= self.not_after
    }

    /// The remaining time at `now`, if it is less than a tenth of the period: the renewal is late.
    pub fn nearly_over(&self, now: SystemTime) -> Option<Duration> {
        let whole = self.not_after.duration_since(self.not_before).unwrap_or_default();
        let left = self.not_after.duration_since(now).unwrap_or_default();
        (left < whole / 10).then_some(left)
    }
}

/// A certificate that can be served.
pub struct ServableCertificate {
    /// Chain and key.
    pub key: CertifiedKey,
    /// The validity period of the leaf.
    pub validity: Validity,
}

/// Reads and checks the pair in `directory`; `now` is used to check its validity.
pub fn load(directory: &Path, now: SystemTime) -> Result<ServableCertificate, LoadError> {
    Material::read(directory)?.check(now)
}

/// The bytes of the two files, from the same version of the volume.
#[derive(Hash)]
pub(crate) struct Material {
    directory: PathBuf,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Material {
    pub(crate) fn read(directory: &Path) -> Result<Self, LoadError> {
        match Self::read_generation(directory) {
            // The kubelet removes the old directory right after it has changed the link, so a read
            // through the old link can fail once; the retry uses the new one.
            Err(LoadError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::read_generation(directory)
            }
            other => other,
        }
    }

    /// Reads both files through one resolution of the link, so that they always belong together.
    fn read_generation(directory: &Path) -> Result<Self, LoadError> {
        let generation = match fs::read_link(directory.join(DATA_LINK)) {
            Ok(target) => directory.join(target),
            // Plain files, not a volume of the kubelet.
            Err(_) => directory.to_owned(),
        };
        let read = |name: &str| {
            fs::read(generation.join(name))
                .map_err(|source| LoadError::Read { path: directory.join(name), source })
        };
        Ok(Self {
            directory: directory.to_owned(),
            certificate: read(CERTIFICATE_FILE)?,
            key: read(KEY_FILE)?,
        })
    }

    pub(crate) fn check(&self, now: SystemTime) -> Result<ServableCertificate, LoadError> {
        let certificate_path = self.directory.join(CERTIFICATE_FILE);
        let key_path = self.directory.join(KEY_FILE);
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| LoadError::Malformed { path: certificate_path.clone(), source })?;
        let Some(leaf) = chain.first() else {
            return Err(LoadError::NoCertificate { path: certificate_path });
        };
        let Some(validity) = validity(leaf) else {
            return Err(LoadError::NotX509 { path: certificate_path });
        };
        let key = match PrivateKeyDer::from_pem_slice(&self.key) {
            Ok(key) => key,
            Err(pem::Error::NoItemsFound) => return Err(LoadError::NoKey { path: key_path }),
            Err(source) => {
                return Err(LoadError::Malformed { path: key_path, source });
            }
        };
        let key = certified_key(chain, key).map_err(|source| LoadError::Pair {
            certificate: certificate_path.clone(),
            key: key_path,
            source,
        })?;
        let shown = |time: SystemTime| Timestamp::try_from(time).unwrap_or(Timestamp::MAX);
        if validity.is_over(now) {
            return Err(LoadError::Expired { path: certificate_path, not_after: shown(validity.not_after) });
        }
        if now < validity.not_before {
            let not_before = shown(validity.not_before);
            return Err(LoadError::NotYetValid { path: certificate_path, not_before });
        }
        Ok(ServableCertificate { key, validity })
    }
}

/// The validity period, in whole seconds; `None` if it is not X.509 or starts before 1970.
pub(crate) fn validity(certificate: &[u8]) -> Option<Validity> {
    let (_, leaf) = X509Certificate::from_der(certificate).ok()?;
    let time = |seconds: i64| Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?));
    let dates = leaf.validity();
    Some(Validity {
        not_before: time(dates.not_before.timestamp())?,
        not_after: time(dates.not_after.timestamp())?,
    })
}

#[cfg(test)]
pub(crate) mod tests;
