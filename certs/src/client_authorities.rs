//! The authorities whose clients may call the server: read from a PEM file, and again when it changed.

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

use crate::tls::provider;

/// The longest file that is read, bytes. A bundle of all public authorities has a quarter of that.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why a file does not say whose clients may call.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientAuthoritiesError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is longer than a bundle of certificates can be.
    #[error("{path} has more than {MAX_BYTES} bytes; write only the authorities' certificates there, PEM")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// There is no certificate in it that can be used.
    #[error("no usable certificate in {path}; write the authority's certificate there, PEM{skipped}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// Those that cannot be used.
        skipped: Skipped,
    },
    /// The certificates cannot be used.
    #[error("the certificates in {path} cannot be used to check clients")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the TLS library said.
        source: rustls::server::VerifierBuilderError,
    },
}

/// The certificates of a file that are left out, and why. The others are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(Vec<(usize, String)>);

impl Skipped {
    /// Whether every certificate is used.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Skipped {
    /// Each behind a semicolon, counted from 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, reason) in &self.0 {
            write!(f, "; certificate {number}: {reason}")?;
        }
        Ok(())
    }
}

/// The authorities whose clients may call. A clone shares them: handshakes use what was read last.
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
    /// No hints: they would be those of one file's content, and a client that chooses its certificate by them would not
    /// present one of a newer authority. Without hints a client presents what it has.
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

/// Reads the file again when it changed.
pub struct ClientAuthoritiesReloader {
    path: PathBuf,
    authorities: ClientAuthorities,
    /// The content in use.
    used: Vec<u8>,
    /// Why what is there now is not used, as it was reported.
    reported: Option<String>,
}

/// What one look at the file found.
#[derive(Debug)]
pub enum CheckedClients {
    /// Nothing that has not been reported before.
    Unchanged,
    /// Other authorities are used from now on.
    Replaced {
        /// Those that are left out.
        skipped: Skipped,
    },
    /// What is there cannot be used; the previous authorities are kept.
    Kept(ClientAuthoritiesError),
}

impl ClientAuthoritiesReloader {
    /// Reads the file and follows it from there. Also gives the authorities, and the certificates that are left out.
    pub fn new(
        path: impl Into<PathBuf>,
    ) -> Result<(Self, ClientAuthorities, Skipped), ClientAuthoritiesError> {
        let path = path.into();
        let used = read(&path)?;
        let Parsed { verifier, skipped } = parse(&path, &used)?;
        let authorities = ClientAuthorities { current: Arc::new(ArcSwap::from_pointee(verifier)) };
        let reloader = Self { path, authorities: authorities.clone(), used, reported: None };
        Ok((reloader, authorities, skipped))
    }

    /// Looks once. What cannot be used is reported once, until it is something else.
    pub fn check(&mut self) -> CheckedClients {
        let content = match read(&self.path) {
            Ok(content) => content,
            Err(error) => return self.keep(error),
        };
        if content == self.used {
            self.reported = None;
            return CheckedClients::Unchanged;
        }
        match parse(&self.path, &content) {
            Ok(Parsed { verifier, skipped }) => {
                self.authorities.current.store(Arc::new(verifier));
                self.used = content;
                self.reported = None;
                CheckedClients::Replaced { skipped }
            }
            Err(error) => self.keep(error),
        }
    }

    /// Whether the last look found something that cannot be used.
    pub fn is_refused(&self) -> bool {
        self.reported.is_some()
    }

    fn keep(&mut self, error: ClientAuthoritiesError) -> CheckedClients {
        // Its text leaves the cause out.
        let text = format!("{error:?}");
        if self.reported.as_ref() == Some(&text) {
            return CheckedClients::Unchanged;
        }
        self.reported = Some(text);
        CheckedClients::Kept(error)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientAuthoritiesError> {
    let content = match read_bounded(path) {
        // The kubelet removes the old generation right after it has moved the link: once more, through the new one.
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

struct Parsed {
    verifier: Arc<dyn ClientCertVerifier>,
    skipped: Skipped,
}

/// One odd certificate in a bundle does not take the others with it.
fn parse(path: &Path, pem: &[u8]) -> Result<Parsed, ClientAuthoritiesError> {
    let mut roots = RootCertStore::empty();
    let mut skipped = Skipped::default();
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
    Ok(Parsed { verifier, skipped })
}

#[cfg(test)]
mod tests;
