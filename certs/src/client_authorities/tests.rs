use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::TempDir;

use super::*;
use crate::{Authority, CertResolver, tls::mutual_server_config};

/// An authority that issues client certificates.
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

/// A server with the verifier of its clients.
struct Server {
    directory: TempDir,
    reloader: ClientAuthoritiesReloader,
    config: Arc<ServerConfig>,
    roots: RootCertStore,
}

impl Server {
    fn new(pem: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.crt");
        fs::write(&path, pem).unwrap();
        let (reloader, clients, skipped) = ClientAuthoritiesReloader::new(path).unwrap();
        assert!(skipped.is_empty(), "{skipped}");
        let (now, day) = (SystemTime::now(), Duration::from_hours(24));
        let authority = Authority::new("tests", now, day).unwrap();
        let leaf = authority.issue(&["localhost".to_owned()], now, day).unwrap();
        let resolver = Arc::new(CertResolver::new(leaf.certified_key().unwrap()));
        let config = mutual_server_config(resolver, &clients).unwrap();
        let mut roots = RootCertStore::empty();
        let pem = authority.certificate_pem().as_bytes();
        roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
        Self { directory, reloader, config, roots }
    }

    /// Writes the file and checks it once.
    fn write(&mut self, pem: &str) -> CheckResult<SkippedCertificates, ClientAuthoritiesError> {
        fs::write(self.directory.path().join("ca.crt"), pem).unwrap();
        self.reloader.check()
    }

    /// Whether a client with a certificate of `clients` is accepted; `None` is a client without a
    /// certificate.
    fn accepts(&self, clients: Option<&Clients>) -> Result<(), rustls::Error> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let config = match clients.map(Clients::client) {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
            None => config.with_no_client_auth(),
        };
        handshake(Arc::clone(&self.config), config)
    }
}

/// The result of an in-memory handshake on the server's side.
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

const NOT_PEM: &str = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
const NOT_X509: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[test]
fn only_clients_of_the_authority_may_call() {
    let (trusted, other) = (Clients::new(), Clients::new());
    let server = Server::new(&trusted.pem);
    assert_eq!(server.accepts(Some(&trusted)), Ok(()));
    assert!(server.accepts(Some(&other)).is_err());
    assert_eq!(server.accepts(None), Err(rustls::Error::NoCertificatesPresented));
}

#[test]
fn a_new_authority_counts_without_a_restart() {
    let (old, new) = (Clients::new(), Clients::new());
    let mut server = Server::new(&old.pem);
    assert!(matches!(server.reloader.check(), CheckResult::Unchanged));
    assert!(server.accepts(Some(&new)).is_err());

    let both = format!("{}{}", old.pem, new.pem);
    assert!(matches!(server.write(&both), CheckResult::Replaced(skipped) if skipped.is_empty()));
    assert_eq!((server.accepts(Some(&old)), server.accepts(Some(&new))), (Ok(()), Ok(())));

    assert!(matches!(server.write(&new.pem), CheckResult::Replaced { .. }));
    assert!(matches!(server.reloader.check(), CheckResult::Unchanged));
    assert_eq!(server.accepts(Some(&new)), Ok(()));
    assert!(server.accepts(Some(&old)).is_err());
    assert!(server.accepts(None).is_err());
}

#[test]
fn a_bad_file_keeps_the_authorities_and_is_reported_once() {
    let trusted = Clients::new();
    let mut server = Server::new(&trusted.pem);
    for bad in ["none", NOT_PEM, NOT_X509] {
        let checked = server.write(bad);
        assert!(
            matches!(checked, CheckResult::Kept(ClientAuthoritiesError::Empty { .. })),
            "{bad:?}: {checked:?}"
        );
        assert!(matches!(server.reloader.check(), CheckResult::Unchanged), "{bad:?}");
        assert!(server.reloader.is_refused());
        assert_eq!(server.accepts(Some(&trusted)), Ok(()), "{bad:?}");
    }
    fs::remove_file(server.directory.path().join("ca.crt")).unwrap();
    let checked = server.reloader.check();
    assert!(matches!(checked, CheckResult::Kept(ClientAuthoritiesError::Read { .. })), "{checked:?}");
    let long = "x".repeat(usize::try_from(MAX_BYTES).unwrap() + 1);
    assert!(matches!(server.write(&long), CheckResult::Kept(ClientAuthoritiesError::TooLong { .. })));
    assert_eq!(server.accepts(Some(&trusted)), Ok(()));

    assert!(matches!(server.write(&trusted.pem), CheckResult::Unchanged), "the content in use");
    assert!(!server.reloader.is_refused());
}

#[test]
fn one_odd_certificate_does_not_take_the_others_with_it() {
    let (old, new) = (Clients::new(), Clients::new());
    let mut server = Server::new(&old.pem);
    let CheckResult::Replaced(skipped) = server.write(&format!("{}{NOT_X509}{NOT_PEM}{}", old.pem, new.pem))
    else {
        panic!("the usable ones were not taken");
    };
    let text = skipped.to_string();
    assert!(text.contains("; certificate 2: ") && text.contains("; certificate 3: "), "{text}");
    assert!(!text.contains("certificate 1:") && !text.contains("certificate 4:"), "{text}");
    assert_eq!((server.accepts(Some(&old)), server.accepts(Some(&new))), (Ok(()), Ok(())));
}
