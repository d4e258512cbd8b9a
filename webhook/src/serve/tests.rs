//! Complete servers in memory with tokio's paused clock: time advances to the next timer when all
//! tasks are idle.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    runtime::Handle,
    sync::mpsc::{Sender, channel},
    time::{Instant, sleep},
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::testing::{answer, ask, asking, connect, context, head, review, tls};

const SECOND: Duration = Duration::from_secs(1);
/// Just before the end of the drain delay used below.
const LAST_MOMENT: Duration = Duration::from_millis(4_999);
const CLIENT: std::net::IpAddr = std::net::IpAddr::V4(Ipv4Addr::LOCALHOST);

type Connections = Sender<(DuplexStream, std::net::IpAddr)>;

struct Fixture {
    https: Connections,
    ops: Connections,
    connector: TlsConnector,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    stopped: JoinHandle<ShutdownReport>,
}

fn start(limits: Limits) -> Fixture {
    let (config, connector) = tls();
    let metrics = Metrics::new();
    let server = Server {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        ops_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        tls: config,
        context: context(),
        metrics: Arc::clone(&metrics),
        readiness: Readiness::new(),
        limits,
        sources: AllowedSources::default(),
        pod_events: PodEvents::default(),
    };
    let routes = router(Arc::clone(&server.context), Arc::clone(&metrics), PodEvents::default(), limits);
    let (https, https_accept) = channel(4096);
    let (ops, ops_accept) = channel(4096);
    let shutdown = Shutdown::new();
    // On the test's own runtime, so that its paused clock applies.
    let thread = OpsThread::from(Handle::current());
    let ops_server = OpsServer::start(&server, ops_accept, thread);
    Fixture {
        https,
        ops,
        connector,
        metrics,
        stopped: tokio::spawn(run(server, routes, https_accept, ops_server, shutdown.clone())),
        shutdown,
    }
}

impl Fixture {
    fn open(&self) -> DuplexStream {
        let (client, server) = duplex(64 * 1024);
        self.https.try_send((server, CLIENT)).unwrap();
        client
    }

    async fn connect(&self) -> tokio_rustls::client::TlsStream<DuplexStream> {
        connect(&self.connector, self.open()).await
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let (mut client, server) = duplex(64 * 1024);
        self.ops.try_send((server, CLIENT)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = answer(&mut client).await.unwrap();
        (answer.status, answer.body)
    }

    fn assert_metric(&self, line: &str) {
        let text = self.metrics.encode().unwrap();
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
}

/// How long until the server closes a connection on which nothing (more) is sent.
async fn closed_after(stream: &mut (impl tokio::io::AsyncRead + Unpin), since: Instant) -> Duration {
    let mut rest = Vec::new();
    // A missing TLS close_notify still counts as the end.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    since.elapsed()
}

fn assert_about(elapsed: Duration, limit: Duration) {
    assert!(elapsed >= limit && elapsed <= limit + 2 * SECOND, "{elapsed:?} is not about {limit:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_used_again_until_it_is_idle_too_long() {
    let server = start(Limits::default());
    let mut stream = server.connect().await;
    for _ in 0..3 {
        let answer = ask(&mut stream).await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(!answer.head.contains("connection: close"));
        // API servers keep an idle connection for 90 s.
        sleep(91 * SECOND).await;
    }
    assert_eq!(ask(&mut stream).await.unwrap().status, 200);
    assert_about(closed_after(&mut stream, Instant::now()).await, Limits::default().keep_alive);
    server.assert_metric(r#"scaivault_injector_connections_closed_total{reason="idle"} 1"#);
    server.assert_metric(r#"scaivault_injector_connections{port="https"} 0"#);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_closed() {
    let server = start(Limits::default());
    // Before the handshake.
    let started = Instant::now();
    let mut stream = server.open();
    assert_about(closed_after(&mut stream, started).await, Limits::default().handshake_timeout);
    // After the handshake.
    let started = Instant::now();
    let mut stream = server.connect().await;
    assert_about(closed_after(&mut stream, started).await, Limits::default().first_request_timeout);
    server.assert_metric(r#"scaivault_injector_connections_closed_total{reason="no-request"} 1"#);
}

#[tokio::test(start_paused = true)]
async fn an_unread_answer_ends_its_connection() {
    let limits = Limits { write_timeout: 5 * SECOND, ..Limits::default() };
    let server = start(limits);
    // Smaller than an answer.
    let (client, accepted) = duplex(1024);
    server.https.try_send((accepted, CLIENT)).unwrap();
    let mut stream = connect(&server.connector, client).await;
    // After a pipelined second request, hyper's timeout between requests does not apply.
    let review = asking(&[]);
    let request = (head(review.len()) + &review).repeat(2);
    let client = tokio::spawn(async move {
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.flush().await;
        std::future::pending::<()>().await;
    });
    sleep(limits.write_timeout + SECOND).await;
    server.assert_metric(r#"scaivault_injector_connections_closed_total{reason="unread"} 1"#);
    server.assert_metric(r#"scaivault_injector_connections{port="https"} 0"#);
    server.assert_metric("scaivault_injector_buffered_bytes 0");
    client.abort();
}

/// Sends the head of a request so slowly that it is not complete before the connection is closed.
async fn closed_while_dripping(stream: tokio_rustls::client::TlsStream<DuplexStream>) -> Duration {
    let started = Instant::now();
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::spawn(async move {
        for byte in head(10).into_bytes() {
            if writer.write_all(&[byte]).await.is_err() || writer.flush().await.is_err() {
                break;
            }
            sleep(2 * SECOND).await;
        }
    });
    closed_after(&mut reader, started).await
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_cut_off() {
    let server = start(Limits::default());
    let first = closed_while_dripping(server.connect().await).await;
    assert_about(first, Limits::default().first_request_timeout);
    server.assert_metric(r#"scaivault_injector_connections_closed_total{reason="no-request"} 1"#);
    // Later requests have the idle timeout of the connection.
    let mut stream = server.connect().await;
    assert_eq!(ask(&mut stream).await.unwrap().status, 200);
    assert_about(closed_while_dripping(stream).await, Limits::default().keep_alive);
    server.assert_metric(r#"scaivault_injector_connections_closed_total{reason="idle"} 1"#);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_answered_408() {
    let server = start(Limits::default());
    let stream = server.connect().await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let review = review(&[]);
    let drip = async move {
        writer.write_all(head(review.len()).as_bytes()).await.unwrap();
        for byte in review.into_bytes() {
            if writer.write_all(&[byte]).await.is_err() || writer.flush().await.is_err() {
                break;
            }
            sleep(SECOND).await;
        }
    };
    let started = Instant::now();
    tokio::spawn(drip);
    assert_eq!(answer(&mut reader).await.unwrap().status, 408);
    assert_eq!(started.elapsed(), Limits::default().body_timeout);
    server.assert_metric(r#"scaivault_injector_http_errors_total{status="408"} 1"#);
}

#[tokio::test(start_paused = true)]
async fn thousands_of_idle_connections_do_not_keep_a_request_out() {
    let limits = Limits { connections_per_source: 1024, ..Limits::default() };
    let server = start(limits);
    let mut used = server.connect().await;
    assert_eq!(ask(&mut used).await.unwrap().status, 200);
    let mut idle: Vec<_> = (0..2_000).map(|_| server.open()).collect();
    let mut stream = server.connect().await;
    assert_eq!(ask(&mut stream).await.unwrap().status, 200);
    server.assert_metric(r#"scaivault_injector_connections_closed_total{reason="evicted"} 978"#);
    assert_eq!(ask(&mut used).await.unwrap().status, 200, "a used connection is kept");
    // The connections that were idle longest were closed, the newest are still open.
    assert_eq!(closed_after(&mut idle[0], Instant::now()).await, Duration::ZERO);
    assert!(closed_after(&mut idle[1_999], Instant::now()).await > SECOND);
}

#[tokio::test(start_paused = true)]
async fn unfinished_bodies_do_not_block_reviews() {
    const BODY: usize = 256 * 1024;
    let limits = Limits { requests: 4, body_bytes: BODY, buffered_bytes: BODY, ..Limits::default() };
    let server = start(limits);
    let mut unfinished = Vec::new();
    for _ in 0..10 {
        let mut stream = server.connect().await;
        stream.write_all(head(BODY).as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; BODY - 1]).await.unwrap();
        stream.flush().await.unwrap();
        unfinished.push(stream);
    }
    assert_eq!(ask(&mut server.connect().await).await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_request_is_not_counted_as_cut() {
    let server = start(Limits::default());
    let mut half = server.connect().await;
    half.write_all(b"POST /mut").await.unwrap();
    half.flush().await.unwrap();
    let _no_handshake = server.open();
    sleep(SECOND / 2).await;
    server.shutdown.drain();
    assert_eq!(server.stopped.await.unwrap(), ShutdownReport { aborted: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_drain_loses_no_request() {
    let limits = Limits { drain_delay: Duration::from_secs(5), ..Limits::default() };
    let server = start(limits);
    let mut before = server.connect().await;
    assert_eq!(ask(&mut before).await.unwrap().status, 200);
    let mut idle = server.connect().await;
    assert_eq!(ask(&mut idle).await.unwrap().status, 200);
    let mut slow = server.connect().await;
    let review = review(&[]);
    slow.write_all(head(review.len()).as_bytes()).await.unwrap();
    slow.flush().await.unwrap();
    assert_eq!(server.get("/readyz").await, (200, "ok\n".to_owned()));

    let started = Instant::now();
    server.shutdown.drain();
    sleep(SECOND).await;
    assert_eq!(server.get("/readyz").await, (503, "draining\n".to_owned()));
    assert_eq!(server.get("/livez").await.0, 200);
    // Requests on open and on new connections are answered with `connection: close`.
    for stream in [&mut before, &mut server.connect().await] {
        let answer = ask(stream).await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
        assert_eq!(closed_after(stream, Instant::now()).await, Duration::ZERO);
    }
    // A connection that arrives at the last moment is served.
    sleep(LAST_MOMENT.saturating_sub(started.elapsed())).await;
    let late = server.open();
    assert_eq!(closed_after(&mut idle, started).await, limits.drain_delay);
    let mut late = connect(&server.connector, late).await;
    assert_eq!(ask(&mut late).await.unwrap().status, 200);
    // A request that was in flight completes.
    slow.write_all(review.as_bytes()).await.unwrap();
    slow.flush().await.unwrap();
    let answer = answer(&mut slow).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    assert_eq!(server.stopped.await.unwrap(), ShutdownReport { aborted: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_connection_in_the_backlog_is_served_when_accepting_stops() {
    let metrics = Metrics::new();
    let limits = Limits::default();
    let port = Port::new(PortSettings {
        name: "https",
        tls: None,
        routes: router(context(), Arc::clone(&metrics), PodEvents::default(), limits),
        limits,
        sources: AllowedSources::from(vec!["192.0.2.0/24".parse().unwrap()]),
        readiness: Readiness::new(),
        metrics: Arc::clone(&metrics),
    });
    let (backlog, accept) = channel(2);
    let (mut stranger, server) = duplex(64 * 1024);
    backlog.try_send((server, [203, 0, 113, 1].into())).unwrap();
    let (mut client, server) = duplex(64 * 1024);
    backlog.try_send((server, [192, 0, 2, 1].into())).unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    accept_loop(accept, port, stop).await;
    assert_eq!(ask(&mut client).await.unwrap().status, 200);
    assert!(ask(&mut stranger).await.is_none(), "only allowed sources are served");
    assert!(metrics.encode().unwrap().contains("scaivault_injector_shed_total{reason=\"source\"} 1\n"));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_despite_a_hanging_request() {
    let limits = Limits { body_timeout: 600 * SECOND, ..Limits::default() };
    let server = start(limits);
    let mut stuck = server.connect().await;
    stuck.write_all(head(10).as_bytes()).await.unwrap();
    stuck.flush().await.unwrap();
    sleep(SECOND).await;
    let started = Instant::now();
    server.shutdown.drain();
    assert_eq!(server.stopped.await.unwrap(), ShutdownReport { aborted: 1 });
    assert_eq!(started.elapsed(), limits.drain_delay + limits.drain_timeout);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_aborts() {
    let server = start(Limits::default());
    let mut stuck = server.connect().await;
    stuck.write_all(head(10).as_bytes()).await.unwrap();
    stuck.flush().await.unwrap();
    sleep(SECOND).await;
    let started = Instant::now();
    server.shutdown.drain();
    sleep(SECOND).await;
    server.shutdown.abort();
    assert_eq!(server.stopped.await.unwrap(), ShutdownReport { aborted: 1 });
    assert_eq!(started.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn failed_handshakes_are_classified() {
    let server = start(Limits::default());
    let mut plain = server.open();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest).await;
    drop(server.open());
    let (_, stranger) = tls();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    assert!(stranger.connect(name, server.open()).await.is_err());
    sleep(SECOND).await;
    for reason in ["invalid", "closed", "rejected"] {
        server.assert_metric(&format!(
            "scaivault_injector_tls_handshake_failures_total{{reason=\"{reason}\"}} 1"
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_are_exposed() {
    let server = start(Limits::default());
    assert_eq!(ask(&mut server.connect().await).await.unwrap().status, 200);
    let (status, text) = server.get("/metrics").await;
    assert_eq!(status, 200);
    let line = r#"scaivault_injector_admissions_total{entry="mutate",outcome="skipped",reason="not-annotated",dry_run="false"} 1"#;
    assert!(text.contains(line) && text.ends_with("# EOF\n"), "{text}");
    assert_eq!(server.get("/nothing").await.0, 404);
}
