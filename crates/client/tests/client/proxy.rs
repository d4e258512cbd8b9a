//! Connections through a proxy.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use scaivault_client::{Client, ErrorKind, Proxy, Retry, Settings, Trust};
use scaivault_devserver::{Route, Tls};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::fixture::{DATABASE, Fixture, path};

/// A proxy that answers `CONNECT` with `status` and records the request.
struct TinyProxy {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl TinyProxy {
    async fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tunnel(stream, status, Arc::clone(&noted)));
            }
        });
        Self { port, heads }
    }

    fn variables(&self, no_proxy: &'static str) -> impl Fn(&str) -> Option<String> {
        let proxy = format!("http://me:swordfish@127.0.0.1:{}", self.port);
        move |name| match name {
            "HTTPS_PROXY" => Some(proxy.clone()),
            "NO_PROXY" => Some(no_proxy.to_owned()),
            _ => None,
        }
    }
}

async fn tunnel(mut client: TcpStream, status: &str, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    heads.lock().unwrap().push(head);
    client.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await.unwrap();
    if status.starts_with("200") {
        let mut server = TcpStream::connect(target).await.unwrap();
        copy_bidirectional(&mut client, &mut server).await.ok();
    }
}

async fn fixture() -> (Fixture, Settings) {
    let fixture = Fixture::with_tls(Tls::Generated(vec!["127.0.0.1".to_owned()])).await;
    fs::write(fixture.file("ca.crt"), fixture.server.ca_pem().unwrap()).unwrap();
    let settings =
        Settings { trust: Trust { file: Some(fixture.file("ca.crt")), public: false }, ..fixture.settings() };
    (fixture, settings)
}

#[tokio::test]
async fn https_uses_the_proxy_and_hides_the_token() {
    let (fixture, settings) = fixture().await;
    let tiny = TinyProxy::start("200 Connection established").await;
    let proxy = Proxy::from_variables(tiny.variables("")).unwrap();
    let client = Client::new(Settings { proxy, ..settings }).unwrap();
    client.read(&path(DATABASE), None).await.unwrap();
    let heads = tiny.heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 1, "one connection for both requests");
    let target = fixture.server.address();
    assert!(heads[0].starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{heads:?}");
    assert!(heads[0].to_lowercase().contains("proxy-authorization: basic bwu6c3dvcmrmaxno"), "{heads:?}");
}

#[tokio::test]
async fn no_proxy_connects_directly() {
    let (_fixture, settings) = fixture().await;
    let tiny = TinyProxy::start("200 Connection established").await;
    let proxy = Proxy::from_variables(tiny.variables("127.0.0.0/8")).unwrap();
    let client = Client::new(Settings { proxy, ..settings }).unwrap();
    client.read(&path(DATABASE), None).await.unwrap();
    assert!(tiny.heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let (fixture, settings) = fixture().await;
    for (status, number, retry) in
        [("407 Proxy Authentication Required", 407, Retry::Never), ("503 Busy", 503, Retry::Backoff)]
    {
        let tiny = TinyProxy::start(status).await;
        let proxy = Proxy::from_variables(tiny.variables("")).unwrap();
        let error = Client::new(Settings { proxy, ..settings.clone() }).unwrap().login().await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Proxy { status, .. } if status == number), "{error}");
        assert_eq!(error.retry(), retry);
        assert!(!error.to_string().contains("swordfish"), "{error}");
    }
    assert_eq!(fixture.handle.requests(Route::Exchange), 0);
}
