//! Failed handshakes: invalid certificates of each kind, alerts, and CAs that are replaced.

use std::{fs, path::Path, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use scaivault_client::{Class, Client, Error, ErrorKind, Login, Retry, Settings, Timeouts, Token, Trust};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    fixture::{DATABASE, path, settings},
    hostile::{ok, read_head},
};

/// A CA with this name.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A server with a certificate of this CA, modified by `change`.
    async fn serve(&self, change: impl FnOnce(&mut CertificateParams)) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        serve(certificate.der().clone(), &key).await
    }
}

async fn serve(certificate: rustls::pki_types::CertificateDer<'static>, key: &KeyPair) -> String {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                while !read_head(&mut stream).await.is_empty() {
                    stream.write_all(&ok(r#"{"version":1,"data":{}}"#)).await.ok();
                }
            });
        }
    });
    format!("https://localhost:{port}")
}

/// A client that is logged in and opens a new connection for each request.
fn client(url: &str, file: &Path) -> Client {
    let trust = Trust { file: Some(file.to_owned()), public: false };
    let timeouts = Timeouts { connection_age: Duration::ZERO, ..settings(url).timeouts };
    let client = Client::new(Settings { trust, timeouts, ..settings(url) }).unwrap();
    let now = std::time::SystemTime::now();
    client.resume(Token::restore("t".into(), now, now + Duration::from_mins(10)).unwrap());
    client
}

async fn refused(url: &str, authority: &str) -> Error {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.crt");
    fs::write(&file, authority).unwrap();
    let error = client(url, &file).read(&path(DATABASE), None).await.unwrap_err();
    assert!(!error.to_string().contains("Error("), "{error}");
    error
}

#[tokio::test]
async fn a_bad_certificate_has_a_fix() {
    let authority = Authority::new("ca");
    let expired = authority.serve(|params| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    });
    let future = authority.serve(|params| {
        (params.not_before, params.not_after) = (date_time_ymd(2998, 1, 1), date_time_ymd(2999, 1, 1));
    });
    let other_name =
        authority.serve(|params| *params = CertificateParams::new(vec!["vault.example".to_owned()]).unwrap());
    let for_clients =
        authority.serve(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let never = Retry::Never;
    for (url, expected, retry) in [
        (expired.await, "expired on 2021-01-01T00:00:00Z; renew it", never),
        (future.await, "not valid before 2998-01-01T00:00:00Z; set this node's clock", Retry::Backoff),
        (other_name.await, "it is for vault.example and not for localhost; use", never),
        (for_clients.await, "extended key usage serverAuth", never),
    ] {
        let error = refused(&url, &authority.pem).await;
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!((error.class(), error.retry()), (Class::Unexpected, retry), "{error}");
    }
}

#[tokio::test]
async fn an_authority_that_serves_itself_is_explained() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let url = serve(certificate.der().clone(), &key).await;
    let error = refused(&url, &certificate.pem()).await;
    assert!(error.to_string().contains("it is an authority's and not a server's"), "{error}");
}

#[tokio::test]
async fn a_replaced_authority_is_found_without_a_restart() {
    // Also a CA with the name of its predecessor: then the signature is invalid.
    for name in ["old", "new"] {
        let (old, new) = (Authority::new(name), Authority::new("new"));
        let url = new.serve(|_| {}).await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        fs::write(&file, &old.pem).unwrap();
        let client = client(&url, &file);
        let error = client.read(&path(DATABASE), None).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Certificate { is_final: false, .. }), "{error}");
        assert!(error.to_string().contains("add the one that signed it to that file"), "{error}");
        assert_eq!(error.retry(), Retry::Backoff, "the file may be about to change");
        // Replaced as by the kubelet.
        let next = directory.path().join("next");
        fs::write(&next, &new.pem).unwrap();
        fs::rename(&next, &file).unwrap();
        client.read(&path(DATABASE), None).await.unwrap();
        for bad in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&file, bad).unwrap();
            client.read(&path(DATABASE), None).await.unwrap();
        }
        fs::remove_file(&file).unwrap();
        client.read(&path(DATABASE), None).await.unwrap();
    }
}

#[tokio::test]
async fn a_handshake_that_fails_otherwise_is_worth_another_try() {
    let alert = |description| vec![0x15, 3, 3, 0, 2, 2, description];
    for answer in [
        alert(40),
        alert(80),
        alert(112),
        // From a server that requires a client certificate.
        alert(116),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        b"garbage".to_vec(),
        Vec::new(),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let sent = answer.clone();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
            stream.write_all(&sent).await.unwrap();
        });
        let error = refused(&url, &Authority::new("ca").pem).await;
        assert_eq!(
            (error.class(), error.retry()),
            (Class::Unavailable, Retry::Backoff),
            "{answer:?}: {error}"
        );
    }
}

#[tokio::test]
async fn each_server_has_its_own_authorities() {
    let (vault, scaikey) = (Authority::new("vault"), Authority::new("scaikey"));
    let (vault_url, scaikey_url) = (vault.serve(|_| {}).await, scaikey.serve(|_| {}).await);
    let directory = tempfile::tempdir().unwrap();
    let trust = |authority: &Authority, name: &str| {
        let file = directory.path().join(name);
        fs::write(&file, &authority.pem).unwrap();
        Trust { file: Some(file), public: false }
    };
    for name in ["client_id", "client_secret"] {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    let login = |trust| Login::ClientCredentials {
        directory: directory.path().to_owned(),
        token_url: settings(&scaikey_url).address,
        trust,
    };
    let settings = |trust, login| Settings { trust, login, ..settings(&vault_url) };
    let [of_vault, of_scaikey] = [trust(&vault, "vault.crt"), trust(&scaikey, "scaikey.crt")];
    let client = Client::new(settings(of_vault.clone(), login(of_scaikey))).unwrap();
    // The answer is not a token, but the server is trusted.
    let error = client.login().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Answer(_)), "{error}");
    let client = Client::new(settings(of_vault.clone(), login(of_vault))).unwrap();
    let error = client.login().await.unwrap_err();
    assert!(error.to_string().contains("SCAIKEY_TRUST=both"), "{error}");
}
