//! HTTPS: which certificates are trusted, and where plain HTTP is allowed.

use std::fs;

use scaivault_client::{Class, Client, ErrorKind, Retry, Settings, Trust};
use scaivault_devserver::{Route, Tls};

use crate::fixture::{DATABASE, Fixture, path};

async fn fixture() -> Fixture {
    let fixture = Fixture::with_tls(Tls::Generated(vec!["127.0.0.1".to_owned()])).await;
    fs::write(fixture.file("ca.crt"), fixture.server.ca_pem().unwrap()).unwrap();
    fixture
}

fn private(fixture: &Fixture) -> Trust {
    Trust { file: Some(fixture.file("ca.crt")), public: false }
}

#[tokio::test]
async fn an_authority_of_a_file_is_believed() {
    let fixture = fixture().await;
    let settings = Settings { trust: private(&fixture), ..fixture.settings() };
    Client::new(settings).unwrap().read(&path(DATABASE), None).await.unwrap();
}

#[tokio::test]
async fn no_other_authority_is_believed() {
    let (fixture, other) = (fixture().await, fixture().await);
    for (trust, is_final) in [(Trust { file: None, public: true }, true), (private(&other), false)] {
        let client = Client::new(Settings { trust, ..fixture.settings() }).unwrap();
        let error = client.read(&path(DATABASE), None).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Certificate { .. }), "{error}");
        // The file may get the CA soon, as in a rotation; the public list does not change.
        let retry = if is_final { Retry::Never } else { Retry::Backoff };
        assert_eq!((error.class(), error.retry()), (Class::Unexpected, retry));
    }
    assert_eq!(fixture.handle.requests(Route::Exchange), 0, "the token stayed here");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_believed() {
    let fixture = Fixture::with_tls(Tls::Generated(vec!["scaivault.example".to_owned()])).await;
    fs::write(fixture.file("ca.crt"), fixture.server.ca_pem().unwrap()).unwrap();
    let settings = Settings { trust: private(&fixture), ..fixture.settings() };
    let error = Client::new(settings).unwrap().login().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Certificate { .. }), "{error}");
    assert!(error.to_string().contains("it is for scaivault.example and not for 127.0.0.1"), "{error}");
    assert_eq!(error.retry(), Retry::Never);
}
