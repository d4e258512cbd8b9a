//! The order of addresses, and the lifetime of connections.

use std::time::Duration;

use scaivault_client::{Address, Client, ErrorKind, PlainHttp, Retry, Settings, Timeouts};

use crate::fixture::{DATABASE, Fixture, path, settings};

#[tokio::test]
async fn a_connection_is_replaced_when_it_is_old() {
    let fixture = Fixture::new().await;
    let timeouts = Timeouts { connection_age: Duration::ZERO, ..fixture.settings().timeouts };
    let client = Client::new(Settings { timeouts, ..fixture.settings() }).unwrap();
    for _ in 0..3 {
        client.read(&path(DATABASE), None).await.unwrap();
    }
    assert_eq!(fixture.server.connections(), 4, "one for the login, one for each read");
}

#[tokio::test]
async fn every_address_of_a_host_is_tried() {
    // It only listens on 127.0.0.1, and with IPv6 `localhost` is also ::1.
    let fixture = Fixture::new().await;
    let port = fixture.server.address().port();
    let address = Address::new(&format!("http://localhost:{port}"), PlainHttp::LoopbackOnly).unwrap();
    let client = Client::new(Settings { address, ..fixture.settings() }).unwrap();
    client.read(&path(DATABASE), None).await.unwrap();
}

#[tokio::test]
async fn a_name_without_an_address_is_worth_another_try() {
    let settings = settings("https://scaivault.invalid");
    let directory = tempfile::tempdir().unwrap();
    let token_file = directory.path().join("token");
    std::fs::write(&token_file, "ey.J").unwrap();
    let login =
        scaivault_client::Login::Exchange { token_file, audience: "scaivault".to_owned(), role: None };
    let error = Client::new(Settings { login, ..settings }).unwrap().login().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unreachable { .. }), "{error}");
    assert_eq!(error.retry(), Retry::Backoff);
}

#[tokio::test]
async fn a_silent_address_has_a_timeout() {
    let fixture = Fixture::new().await;
    let port = fixture.server.address().port();
    // Without IPv6, `localhost` has one address.
    let Ok(useless) = tokio::net::TcpListener::bind(("::1", port)).await else { return };
    tokio::spawn(async move { while useless.accept().await.is_ok() {} });
    let address = Address::new(&format!("http://localhost:{port}"), PlainHttp::LoopbackOnly).unwrap();
    let client = Client::new(Settings { address, ..fixture.settings() }).unwrap();
    let mut tries = Vec::new();
    for _ in 0..2 {
        tries.push(client.read(&path(DATABASE), None).await.is_ok());
    }
    assert!(tries[1], "the other address at the second attempt: {tries:?}");
}
