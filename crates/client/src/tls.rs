//! Whose certificates are believed.

use std::{fs, io, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use thiserror::Error;

use crate::SetupError;

/// Sessions that are kept to be resumed: there are two servers at most.
const SESSIONS: usize = 4;

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// A PEM file of authorities. It is read again when it changed.
    pub file: Option<PathBuf>,
    /// Mozilla's list of public authorities, as it was when the program was built: an image needs no files for it.
    pub public: bool,
}

/// Why authorities cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot read the authorities in {}: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not PEM, or has something else in it.
    #[error("{} is not a PEM file of certificates; it needs at least one BEGIN CERTIFICATE", .0.display())]
    Pem(PathBuf),
}

impl Trust {
    /// TLS 1.2 and newer with aws-lc-rs, HTTP/1.1 by ALPN.
    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>, SetupError> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TrustError> {
        let Some(file) = &self.file else {
            return Ok(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect());
        };
        let pem = fs::read(file).map_err(|source| TrustError::Read { file: file.clone(), source })?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|_| TrustError::Pem(file.clone()))?;
            roots.add(certificate).map_err(|_| TrustError::Pem(file.clone()))?;
        }
        if roots.is_empty() { Err(TrustError::Pem(file.clone())) } else { Ok(roots) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_authorities_built_in() {
        assert!(Trust { file: None, public: true }.roots().unwrap().len() > 50);
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        assert!(matches!(Trust { file: Some(file.clone()), public: false }.roots(), Err(TrustError::Read { .. })));
        for text in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&file, text).unwrap();
            assert!(matches!(Trust { file: Some(file.clone()), public: false }.roots(), Err(TrustError::Pem(_))), "{text:?}");
        }
    }
}
