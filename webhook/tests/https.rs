//! A complete server on loopback sockets with real TLS, through the public interface only.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::symlink,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{
    Request, StatusCode, Version,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use scaivault_certs::{Authority, CertResolver, CheckResult, Reloader, client_config, server_config};
use scaivault_inject::{KubeVersion, Settings};
use scaivault_webhook::{
    AdmissionContext, AllowedSources, Limits, Metrics, NoCluster, PodEvents, Readiness, RunningServer,
    Server, Shutdown, ShutdownReport,
};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};

const DAY: Duration = Duration::from_hours(24);
const UPDATE: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1",
    "kind":{"group":"","version":"v1","kind":"Pod"},"operation":"UPDATE","namespace":"shop","name":"web","object":{}}}"#;

struct Fixture {
    address: SocketAddr,
    ops: SocketAddr,
    readiness: Readiness,
    shutdown: Shutdown,
    running: RunningServer,
}

fn start(resolver: Arc<CertResolver>, limits: Limits) -> Fixture {
    let readiness = Readiness::new();
    let shutdown = Shutdown::new();
    let bound = Server {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        ops_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        tls: server_config(resolver).unwrap(),
        context: Arc::new(AdmissionContext::new(
            Settings::default(),
            KubeVersion::OLDEST,
            Arc::new(NoCluster),
        )),
        metrics: Metrics::new(),
        readiness: readiness.clone(),
        limits,
        sources: AllowedSources::default(),
        pod_events: PodEvents::default(),
    }
    .bind()
    .unwrap();
    Fixture {
        address: bound.address(),
        ops: bound.ops_address(),
        readiness,
        running: bound.serve(shutdown.clone()),
        shutdown,
    }
}

fn limits() -> Limits {
    Limits { drain_delay: Duration::ZERO, ..Limits::default() }
}

fn authority() -> Authority {
    Authority::new("tests", SystemTime::now(), DAY).unwrap()
}

fn resolver(authority: &Authority) -> Arc<CertResolver> {
    let leaf = authority.issue(&["localhost".into()], SystemTime::now(), DAY).unwrap();
    Arc::new(CertResolver::new(leaf.certified_key().unwrap()))
}

fn connector(authority: &Authority) -> TlsConnector {
    client_config(authority.certificate_pem().as_bytes()).unwrap().into()
}

async fn connect(connector: &TlsConnector, address: SocketAddr) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
}

fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post("https://localhost/mutate?timeout=5s")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

async fn text(body: Incoming) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn get(address: SocketAddr, path: &str) -> (StatusCode, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "ops").body(Empty::<Bytes>::new()).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    (head.status, text(body).await)
}

#[tokio::test]
async fn a_connection_is_used_again_and_counted() {
    let authority = authority();
    let server = start(resolver(&authority), limits());

    let stream = connect(&connector(&authority), server.address).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let response = sender.send_request(post(UPDATE)).await.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_11));
        assert!(text(response.into_body()).await.contains(r#""uid":"u-1","allowed":true"#));
    }

    let (status, metrics) = get(server.ops, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let line = r#"scaivault_injector_admissions_total{entry="mutate",outcome="ignored",reason="update",dry_run="false"} 2"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_client_of_http2_alone_is_refused() {
    let authority = authority();
    let server = start(resolver(&authority), limits());
    let mut config = ClientConfig::clone(&client_config(authority.certificate_pem().as_bytes()).unwrap());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    assert!(TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_err());
}

#[tokio::test]
async fn the_sender_of_an_oversized_body_gets_the_answer() {
    let authority = authority();
    let server = start(resolver(&authority), limits());
    let stream = connect(&connector(&authority), server.address).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(post(vec![b' '; 20 * 1024 * 1024])).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn two_thousand_idle_connections_do_not_keep_a_request_out() {
    let authority = authority();
    let limits = Limits { connections: 256, connections_per_source: 256, ..limits() };
    let server = start(resolver(&authority), limits);
    let mut idle = Vec::new();
    for _ in 0..2_000 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let stream = connect(&connector(&authority), server.address).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(post(UPDATE)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

/// The admission port runs on the test's own thread, which is blocked until the probe is answered.
#[tokio::test]
async fn probes_are_answered_while_admission_is_busy() {
    let authority = authority();
    let server = start(resolver(&authority), limits());
    for path in ["/livez", "/readyz", "/metrics"] {
        let mut stream = std::net::TcpStream::connect(server.ops).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn readiness_waits_for_every_gate() {
    let authority = authority();
    let server = start(resolver(&authority), limits());
    let gate = server.readiness.gate("namespaces");
    let waiting = (StatusCode::SERVICE_UNAVAILABLE, "waiting for namespaces\n".to_owned());
    assert_eq!(get(server.ops, "/readyz").await, waiting);
    assert_eq!(get(server.ops, "/livez").await, (StatusCode::OK, "ok\n".to_owned()));
    assert!(get(server.ops, "/metrics").await.1.contains("scaivault_injector_ready 0\n"));
    gate.open();
    assert_eq!(get(server.ops, "/readyz").await, (StatusCode::OK, "ok\n".to_owned()));
    assert!(get(server.ops, "/metrics").await.1.contains("scaivault_injector_ready 1\n"));
}

#[tokio::test]
async fn a_drained_server_has_answered_everything() {
    let authority = authority();
    let drain_delay = Duration::from_millis(200);
    let server = start(resolver(&authority), Limits { drain_delay, ..limits() });
    let connector = connector(&authority);
    let answered = |response: hyper::Response<Incoming>| {
        assert_eq!(response.status(), StatusCode::OK);
        response.headers().get("connection").is_some_and(|value| value == "close")
    };
    // Clients like the API server: each reuses its connection until the server closes it, then
    // opens another.
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (connector, address) = (connector.clone(), server.address);
            tokio::spawn(async move {
                let mut requests = 0;
                while let Ok(stream) = TcpStream::connect(address).await {
                    let name = ServerName::try_from("localhost").unwrap();
                    // Between the last accept and the close of the socket the kernel may still
                    // accept one.
                    let Ok(stream) = connector.connect(name, stream).await else {
                        break;
                    };
                    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
                    tokio::spawn(connection);
                    loop {
                        let response = sender.send_request(post(UPDATE)).await.expect("no request is lost");
                        requests += 1;
                        if answered(response) {
                            break;
                        }
                    }
                }
                requests
            })
        })
        .collect();
    let stream = connect(&connector, server.address).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    assert!(!answered(sender.send_request(post(UPDATE)).await.unwrap()));
    server.shutdown.drain();
    assert_eq!(server.running.stopped().await, ShutdownReport { aborted: 0 });
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_taken_address_is_an_error_at_the_start() {
    let authority = authority();
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let server = Server {
        listen: address,
        ops_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        tls: server_config(resolver(&authority)).unwrap(),
        context: Arc::new(AdmissionContext::new(
            Settings::default(),
            KubeVersion::OLDEST,
            Arc::new(NoCluster),
        )),
        metrics: Metrics::new(),
        readiness: Readiness::new(),
        limits: limits(),
        sources: AllowedSources::default(),
        pod_events: PodEvents::default(),
    };
    let error = server.bind().err().unwrap().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("--listen"), "{error}");
}

#[tokio::test]
async fn a_renewed_secret_is_served_to_new_connections() {
    let volume = tempfile::TempDir::new().unwrap();
    let (first, second) = (authority(), authority());
    mount(volume.path(), "..first", &first);
    let (mut reloader, resolver, _) = Reloader::new(volume.path(), SystemTime::now()).unwrap();
    let server = start(resolver, limits());
    let stream = connect(&connector(&first), server.address).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);

    mount(volume.path(), "..second", &second);
    assert!(matches!(reloader.check(SystemTime::now()), CheckResult::Replaced { .. }));
    // Trusts only the second authority.
    connect(&connector(&second), server.address).await;
    assert_eq!(sender.send_request(post(UPDATE)).await.unwrap().status(), StatusCode::OK);
}

/// Mounts a key pair as the kubelet does, and replaces it in one rename.
fn mount(directory: &Path, generation: &str, authority: &Authority) {
    let leaf = authority.issue(&["localhost".into()], SystemTime::now(), DAY).unwrap();
    fs::create_dir(directory.join(generation)).unwrap();
    fs::write(directory.join(generation).join("tls.crt"), leaf.certificate_pem()).unwrap();
    fs::write(directory.join(generation).join("tls.key"), leaf.key_pem()).unwrap();
    symlink(generation, directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        let link = directory.join(name);
        if !link.exists() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
}
