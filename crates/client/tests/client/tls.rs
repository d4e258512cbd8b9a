//! HTTPS: whose certificates are believed, and where plain HTTP may go.

use std::fs;

use scaivault_client::{Class, Client, ErrorKind, Retry, Settings, Trust};
use scaivault_devserver::{Route, Tls};

use crate::fixture::{DATABASE, Fixture, path};

async fn fixture() -> Fixture {
    let fixture = Fixture::with_tls(Tls::Generated(vec!["127.0.0.1".to_owned()])).await;
    fs::write(fixture.file("ca.crt"), fixture.server.ca_pem().unwrap()).unwrap();
    fixture
}

#[tokio::test]
async fn an_authority_of_a_file_is_believed() {
    let fixture = fixture().await;
    let settings = Settings { trust: Trust::File(fixture.file("ca.crt")), ..fixture.settings() };
    Client::new(settings).unwrap().read(&path(DATABASE), None).await.unwrap();
}

#[tokio::test]
async fn no_other_authority_is_believed() {
    let (fixture, other) = (fixture().await, fixture().await);
    for trust in [Trust::BuiltIn, Trust::File(other.file("ca.crt"))] {
        let client = Client::new(Settings { trust, ..fixture.settings() }).unwrap();
        let error = client.read(&path(DATABASE), None).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Tls { .. }), "{error}");
        assert_eq!((error.class(), error.retry()), (Class::Unexpected, Retry::Never));
    }
    assert_eq!(fixture.handle.requests(Route::Exchange), 0, "the token stayed here");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_believed() {
    let fixture = Fixture::with_tls(Tls::Generated(vec!["scaivault.example".to_owned()])).await;
    fs::write(fixture.file("ca.crt"), fixture.server.ca_pem().unwrap()).unwrap();
    let settings = Settings { trust: Trust::File(fixture.file("ca.crt")), ..fixture.settings() };
    let error = Client::new(settings).unwrap().login().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Tls { .. }), "{error}");
}
