//! The TLS configuration of the server. This is the only place that selects the crypto provider.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use crate::{client_authorities::ClientAuthorities, resolver::CertResolver};

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
