use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{ClientConnection, ServerConnection, pki_types::PrivatePkcs8KeyDer};

use super::*;
use crate::Authority;

/// An authority of clients.
struct Clients {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Clients {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A client's certificate and key.
    fn client(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec!["kube-apiserver".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

/// A server that wants clients of `clients`, and what a client needs to trust it.
fn server(clients: &Clients) -> (Arc<ServerConfig>, RootCertStore) {
    let (now, day) = (SystemTime::now(), Duration::from_hours(24));
    let authority = Authority::new("tests", now, day).unwrap();
    let leaf = authority.issue(&["localhost".to_owned()], now, day).unwrap();
    let resolver = Arc::new(CertResolver::new(leaf.certified_key().unwrap()));
    let clients = ClientAuthorities::parse(clients.pem.as_bytes()).unwrap();
    let server = mutual_server_config(resolver, &clients).unwrap();
    (server, roots(authority.certificate_pem().as_bytes()).unwrap())
}

/// The handshake as the server sees it, in memory.
fn handshake(server: Arc<ServerConfig>, client: ClientConfig) -> Result<(), rustls::Error> {
    let name = "localhost".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while server.is_handshaking() {
        let mut flight = Vec::new();
        client.write_tls(&mut flight).unwrap();
        server.read_tls(&mut flight.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut flight = Vec::new();
        server.write_tls(&mut flight).unwrap();
        client.read_tls(&mut flight.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    Ok(())
}

#[test]
fn only_clients_of_the_authority_may_call() {
    let (ours, others) = (Clients::new(), Clients::new());
    let (server, roots) = server(&ours);
    let client = || {
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
    };
    let with = |of: &Clients| {
        let (chain, key) = of.client();
        client().with_client_auth_cert(chain, key).unwrap()
    };
    assert_eq!(handshake(Arc::clone(&server), with(&ours)), Ok(()));
    assert!(handshake(Arc::clone(&server), with(&others)).is_err());
    let nobody = handshake(server, client().with_no_client_auth());
    assert_eq!(nobody, Err(rustls::Error::NoCertificatesPresented));
}

#[test]
fn a_text_without_an_authority_is_refused() {
    assert!(matches!(ClientAuthorities::parse(b"none"), Err(ClientAuthoritiesError::Empty)));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(ClientAuthorities::parse(broken), Err(ClientAuthoritiesError::Malformed(_))));
}
