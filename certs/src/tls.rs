//! The TLS configuration of the server. This is the only place that selects the crypto provider.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};

use crate::client_authorities::ClientAuthorities;

/// The ALPN name of HTTP/1.1.
const HTTP1: &[u8] = b"http/1.1";

/// The crypto provider of all crates: aws-lc-rs, for post-quantum key exchange and a later FIPS
/// mode.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A chain and its private key, ready to serve. Fails if the key type is not supported or the key
/// does not match the leaf.
pub(crate) fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(chain, key, &provider())
}

/// TLS 1.2 and newer, HTTP/1.1 by ALPN, the certificate from `resolver`, no client certificates.
///
/// No HTTP/2: the API server's webhook client uses HTTP/1.1, so HTTP/2 would only add attack
/// surface.
///
/// Session resumption is off: the API server's client has no session cache, so tickets would not be
/// used.
pub fn server_config(resolver: Arc<CertResolver>) -> Result<Arc<ServerConfig>, rustls::Error> {
    build_server_config(resolver, WebPkiClientVerifier::no_client_auth())
}

/// Like [`server_config`], but only accepts clients that present a certificate signed by one of the
/// current `clients`.
pub fn mutual_server_config(
    resolver: Arc<CertResolver>,
    clients: &ClientAuthorities,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    build_server_config(resolver, clients.verifier())
}

fn build_server_config(
    resolver: Arc<CertResolver>,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![HTTP1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A client that trusts the authorities in `ca_pem` and uses HTTP/1.1, as the API server does.
pub fn client_config(ca_pem: &[u8]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca_pem)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP1.to_vec()];
    Ok(Arc::new(config))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate
            .map_err(|error| rustls::Error::General(format!("the authority is not PEM: {error}")))?;
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// Serves one certificate for all requested names. It can be replaced at any time without a lock;
/// open connections keep theirs.
#[derive(Default)]
pub struct CertResolver {
    current: ArcSwapOption<CertifiedKey>,
}

impl CertResolver {
    /// Starts with a certificate.
    pub fn new(key: CertifiedKey) -> Self {
        Self { current: ArcSwapOption::from_pointee(key) }
    }

    /// Starts without a certificate: handshakes fail until one is set.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Sets the certificate for later handshakes.
    pub fn replace(&self, key: CertifiedKey) {
        self.current.store(Some(Arc::new(key)));
    }

    /// The certificate that a handshake would get now.
    pub fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

impl fmt::Debug for CertResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertResolver").finish_non_exhaustive()
    }
}
