//! The TLS configuration of the server, and the one place where the crypto provider is chosen.

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

/// The crypto provider of everything here: aws-lc-rs, for post-quantum key exchange and a FIPS route later.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A chain and its private key, ready to serve. Fails if the key's kind is not supported or it is not the leaf's.
pub(crate) fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(chain, key, &provider())
}

/// TLS 1.2 and newer, HTTP/1.1 by ALPN, the certificate from `resolver`, no client certificates.
///
/// No HTTP/2: the API server's webhook client speaks HTTP/1.1, so it would serve nobody but an attacker.
///
/// Sessions are not kept: the API server's client has no session cache, so tickets would be made for nobody.
pub fn server_config(resolver: Arc<CertResolver>) -> Result<Arc<ServerConfig>, rustls::Error> {
    build_server_config(resolver, WebPkiClientVerifier::no_client_auth())
}

/// As [`server_config`], for callers alone that present a certificate signed by one of `clients`, as they are at the
/// moment of the handshake.
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

/// A client that trusts the authorities in `ca_pem` and speaks HTTP/1.1, as the API server does.
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
