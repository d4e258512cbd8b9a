//! The authorities that sign the certificates of allowed clients, read from a PEM file and reloaded
//! when it changes.

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime, pem::PemObject as _},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use thiserror::Error;

use crate::{
    content::{CheckResult, ContentInUse},
    tls::provider,
};

/// The maximum file size in bytes. A bundle of all public authorities has a quarter of that.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why the file of client authorities cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientAuthoritiesError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is longer than a bundle of certificates can be.
    #[error("{path} has more than {MAX_BYTES} bytes; write only the authorities' certificates there, PEM")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It contains no usable certificate.
    #[error("no usable certificate in {path}; write the authority's certificate there, PEM{skipped}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// The certificates that cannot be used.
        skipped: SkippedCertificates,
    },
    /// The TLS library rejects the certificates.
    #[error("the certificates in {path} cannot be used to check clients")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The error of the TLS library.
        source: rustls::server::VerifierBuilderError,
    },
}

/// The certificates of a file that are ignored, with the reasons. The others are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedCertificates(Vec<(usize, String)>);

impl SkippedCertificates {
    /// Whether every certificate is used.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for SkippedCertificates {
    /// Each follows a semicolon, with its number from 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, reason) in &self.0 {
            write!(f, "; certificate {number}: {reason}")?;
        }
        Ok(())
    }
}

/// The authorities of allowed clients. Clones share them: handshakes use the latest version.
#[derive(Clone)]
pub struct ClientAuthorities {
    current: Arc<ArcSwap<Arc<dyn ClientCertVerifier>>>,
}

impl ClientAuthorities {
    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(self.clone())
    }

    fn get(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.current.load())
    }
}

impl fmt::Debug for ClientAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuthorities").finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ClientAuthorities {
    /// No hints: the set can change, and a client that selects its certificate by the hints would
    /// not present one of a newer authority. Without hints a client presents the certificate it
    /// has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.get().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.get().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.get().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.get().supported_verify_schemes()
    }
}

/// Reloads the file when it changes.
pub struct ClientAuthoritiesReloader {
    path: PathBuf,
    authorities: ClientAuthorities,
    content: ContentInUse,
}

impl ClientAuthoritiesReloader {
    /// Reads the file and remembers its content for later checks. Also returns the authorities and
    /// the certificates that are ignored.
    pub fn new(
        path: impl Into<PathBuf>,
    ) -> Result<(Self, ClientAuthorities, SkippedCertificates), ClientAuthoritiesError> {
        let path = path.into();
        let pem = read(&path)?;
        let ParsedAuthorities { verifier, skipped } = parse(&path, &pem)?;
        let authorities = ClientAuthorities { current: Arc::new(ArcSwap::from_pointee(verifier)) };
        let reloader = Self { path, authorities: authorities.clone(), content: ContentInUse::new(&pem) };
        Ok((reloader, authorities, skipped))
    }

    /// Checks the file once. Returns the ignored certificates if other authorities are now in use.
    pub fn check(&mut self) -> CheckResult<SkippedCertificates, ClientAuthoritiesError> {
        let Self { path, authorities, content } = self;
        content.check(read(path), |pem| {
            let ParsedAuthorities { verifier, skipped } = parse(path, pem)?;
            authorities.current.store(Arc::new(verifier));
            Ok(skipped)
        })
    }

    /// Whether the last check found content that cannot be used.
    pub fn is_refused(&self) -> bool {
        self.content.is_refused()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientAuthoritiesError> {
    let content = match read_bounded(path) {
        // The kubelet removes the old directory right after it has changed the link, so a read
        // through the old link can fail once; the retry uses the new one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => read_bounded(path),
        other => other,
    };
    let content = content.map_err(|source| ClientAuthoritiesError::Read { path: path.to_owned(), source })?;
    if content.len() as u64 > MAX_BYTES {
        return Err(ClientAuthoritiesError::TooLong { path: path.to_owned() });
    }
    Ok(content)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    Ok(content)
}

struct ParsedAuthorities {
    verifier: Arc<dyn ClientCertVerifier>,
    skipped: SkippedCertificates,
}

/// An invalid certificate in a bundle does not prevent the others from being used.
fn parse(path: &Path, pem: &[u8]) -> Result<ParsedAuthorities, ClientAuthoritiesError> {
    let mut roots = RootCertStore::empty();
    let mut skipped = SkippedCertificates::default();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let added = certificate
            .map_err(|error| format!("not PEM: {error}"))
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        if let Err(reason) = added {
            skipped.0.push((index + 1, reason));
        }
    }
    if roots.is_empty() {
        return Err(ClientAuthoritiesError::Empty { path: path.to_owned(), skipped });
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|source| ClientAuthoritiesError::Unusable { path: path.to_owned(), source })?;
    Ok(ParsedAuthorities { verifier, skipped })
}

#[cfg(test)]
mod tests;
