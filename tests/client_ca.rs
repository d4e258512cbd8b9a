//! `--client-ca`: which clients may connect, before and after the file changes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod server;

use std::{
    fs,
    io::{self, Read as _, Write as _},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _},
};
use scaivault_certs::provider;
use server::{Server, head};

/// An authority that issues API servers' client certificates.
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

    /// A client with its own certificate, signed by this authority.
    fn client(&self, server: &Server) -> Arc<ClientConfig> {
        let mut params = CertificateParams::new(vec!["kube-apiserver".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()];
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&server.authority_pem()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into());
        Arc::new(config.unwrap())
    }

    /// Whether such a client gets an answer on a new connection.
    fn is_accepted(&self, server: &Server) -> bool {
        let mut stream = server.connect_as(self.client(server));
        let mut ask = || -> io::Result<[u8; 8]> {
            stream.write_all((head("/mutate", 2) + "{}").as_bytes())?;
            stream.flush()?;
            let mut start = [0; 8];
            stream.read_exact(&mut start)?;
            Ok(start)
        };
        ask().is_ok_and(|start| &start == b"HTTP/1.1")
    }
}

#[test]
fn a_new_client_authority_counts_without_a_restart() {
    let (old, new) = (Clients::new(), Clients::new());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("clients.pem");
    fs::write(&file, &old.pem).unwrap();
    let arguments =
        ["--tls-reload-interval".as_ref(), "1s".as_ref(), "--client-ca".as_ref(), file.as_os_str()];
    let mut server = Server::start_with(arguments);
    assert!(old.is_accepted(&server));
    assert!(!new.is_accepted(&server));

    fs::write(&file, "not a certificate").unwrap();
    let said = server.wait_for_event(|event| {
        event["message"] == "new authorities of --client-ca rejected, keeping the previous ones"
    });
    assert!(said["error"].as_str().is_some_and(|error| error.contains("clients.pem")), "{said}");
    assert!(old.is_accepted(&server), "the previous authorities are kept");
    server.wait_for_metric("scaivault_injector_client_ca_refused", 1.0);

    fs::write(
        &file,
        format!("{}{}", new.pem, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    )
    .unwrap();
    server.wait_for_event(|event| event["message"] == "authorities of --client-ca replaced");
    let said = server
        .wait_for_event(|event| event["message"] == "certificates of --client-ca skipped, using the others");
    assert!(said["reasons"].as_str().is_some_and(|reasons| reasons.contains("certificate 2")), "{said}");
    assert!(new.is_accepted(&server));
    assert!(!old.is_accepted(&server));
    server.wait_for_metric("scaivault_injector_client_ca_refused", 0.0);
}
