//! The trusted CAs, and errors of certificates.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use thiserror::Error;

use crate::{SetupError, lock};

/// The maximum number of TLS sessions to resume: there are two servers at most.
const SESSIONS: usize = 4;

/// The maximum size of a CA file in bytes: all public CAs together have 250 KiB.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// The trusted CAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// A PEM file of CAs. It is reloaded when it changes.
    pub file: Option<PathBuf>,
    /// Mozilla's list of public CAs, as of the build: an image needs no files for it.
    pub public: bool,
}

/// Why the CAs cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot read the authorities in {}: {source}; mount the file that SCAIVAULT_CA_FILE names", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not PEM, or contains something else.
    #[error("{} is not a PEM file of certificates; it needs at least one BEGIN CERTIFICATE", .0.display())]
    Pem(PathBuf),
    /// Neither a file nor the public CAs are configured.
    #[error("no certificate authority is trusted; name a file of authorities or trust the public ones")]
    NoRoots,
}

impl Trust {
    fn read(file: &Path) -> io::Result<Vec<u8>> {
        let mut pem = Vec::new();
        File::open(file)?.take(FILE_LIMIT).read_to_end(&mut pem)?;
        Ok(pem)
    }

    /// The CAs, with `pem` as the content of the file.
    fn roots(&self, pem: Option<io::Result<Vec<u8>>>) -> Result<RootCertStore, TrustError> {
        let mut roots = RootCertStore::empty();
        if let (Some(file), Some(pem)) = (&self.file, pem) {
            let pem = pem.map_err(|source| TrustError::Read { file: file.clone(), source })?;
            let mut skipped = Vec::new();
            for (index, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
                if !certificate.is_ok_and(|certificate| roots.add(certificate).is_ok()) {
                    skipped.push(index + 1);
                }
            }
            if roots.is_empty() {
                return Err(TrustError::Pem(file.clone()));
            }
            if !skipped.is_empty() {
                tracing::warn!(file = %file.display(), certificates = ?skipped, "ignoring certificate authorities that cannot be read, using the others");
            }
        }
        if self.public {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if roots.is_empty() { Err(TrustError::NoRoots) } else { Ok(roots) }
    }
}

/// The TLS configuration of a client, which follows the CA file.
pub(crate) struct Authorities {
    pub(crate) trust: Trust,
    current: Mutex<(Arc<ClientConfig>, FileHash)>,
}

/// A hash of the file's content, or of the kind of error, when it was last read.
type FileHash = Option<u64>;

impl Authorities {
    /// Reads the file, which must be valid at this time.
    pub(crate) fn new(trust: Trust) -> Result<Self, SetupError> {
        let (pem, hash) = read_file(&trust);
        let config = client_config(trust.roots(pem)?)?;
        Ok(Self { trust, current: Mutex::new((config, hash)) })
    }

    /// The configuration for a new connection, with the current CAs of the file. If the file has
    /// become invalid, the previous CAs are kept: the kubelet may be replacing it, or it was edited
    /// by mistake.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let mut current = lock(&self.current);
        let (pem, hash) = read_file(&self.trust);
        if hash != current.1 {
            current.1 = hash;
            match self.trust.roots(pem).map_err(SetupError::from).and_then(client_config) {
                Ok(config) => {
                    tracing::info!("read the changed certificate authorities");
                    current.0 = config;
                }
                Err(error) => {
                    tracing::warn!(%error, "changed certificate authorities not usable, keeping the previous ones");
                }
            }
        }
        Arc::clone(&current.0)
    }
}

/// Reads the file. Blocking, because it is small and in memory, and connections are rare.
fn read_file(trust: &Trust) -> (Option<io::Result<Vec<u8>>>, FileHash) {
    let pem = trust.file.as_deref().map(Trust::read);
    let hash = pem.as_ref().map(|pem| {
        let mut hasher = DefaultHasher::new();
        pem.as_ref().map_err(io::Error::kind).hash(&mut hasher);
        hasher.finish()
    });
    (pem, hash)
}

/// TLS 1.2 and newer with aws-lc-rs, HTTP/1.1 by ALPN. Sessions of a previous configuration are not
/// resumed.
fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, SetupError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn roots(file: Option<&Path>, public: bool) -> Result<usize, TrustError> {
        let trust = Trust { file: file.map(Path::to_owned), public };
        trust.roots(read_file(&trust).0).map(|roots| roots.len())
    }

    fn certificate() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec!["ca".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn public_and_private_authorities_can_be_combined() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        fs::write(&file, certificate()).unwrap();
        let public = roots(None, true).unwrap();
        assert!(public > 50);
        assert_eq!(roots(Some(&file), false).unwrap(), 1);
        assert_eq!(roots(Some(&file), true).unwrap(), public + 1);
        assert!(matches!(roots(None, false), Err(TrustError::NoRoots)));
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        for public in [true, false] {
            assert!(matches!(
                roots(Some(&directory.path().join("none")), public),
                Err(TrustError::Read { .. })
            ));
            for text in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
                fs::write(&file, text).unwrap();
                assert!(matches!(roots(Some(&file), public), Err(TrustError::Pem(_))), "{text:?}");
            }
        }
    }

    #[test]
    fn an_invalid_certificate_does_not_affect_others() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        for odd in ["AAAA", "not base64!"] {
            let odd = format!("-----BEGIN CERTIFICATE-----\n{odd}\n-----END CERTIFICATE-----\n");
            let bundle = [certificate(), odd.clone(), certificate(), odd].join("# a comment\n");
            fs::write(&file, bundle).unwrap();
            assert_eq!(roots(Some(&file), false).unwrap(), 2);
        }
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        let (first, second) = (certificate(), certificate());
        fs::write(&file, &first).unwrap();
        let authorities = Authorities::new(Trust { file: Some(file.clone()), public: false }).unwrap();
        let config = authorities.config();
        assert!(Arc::ptr_eq(&config, &authorities.config()), "unchanged");
        fs::write(&file, "not PEM").unwrap();
        assert!(Arc::ptr_eq(&config, &authorities.config()), "a bad file");
        fs::remove_file(&file).unwrap();
        assert!(Arc::ptr_eq(&config, &authorities.config()), "no file");
        fs::write(&file, &second).unwrap();
        let changed = authorities.config();
        assert!(!Arc::ptr_eq(&config, &changed));
        fs::write(&file, &first).unwrap();
        assert!(!Arc::ptr_eq(&changed, &authorities.config()), "and back");
    }
}
