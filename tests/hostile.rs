//! The program under attack by hostile clients, and its shutdown while requests run: over TLS, from
//! outside.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod server;

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;
use server::{Connection, Server, head};

const MUTATE: &str = "/mutate?timeout=5s";
const MIB: usize = 1024 * 1024;
/// The program's memory limit in MiB, below that of its container.
const RESIDENT_MIB: u64 = 64;

/// The review of an annotated pod.
fn review() -> String {
    let path = "tests/captures/0003-Pod-CREATE-plain-annotated.json";
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// On a new connection, as for the API server's next request.
fn assert_injects(server: &Server) {
    assert_patched(&server.connect().post(MUTATE, &review()));
}

fn assert_patched(answer: &Value) {
    assert!(answer["response"]["patch"].is_string(), "{answer}");
}

fn assert_small(server: &Server) {
    let resident = server.resident_mib();
    assert!(resident < RESIDENT_MIB, "{resident} MiB");
}

/// Starts a review of which only this many bytes are sent.
fn begin(server: &Server, length: usize, sent: &[u8]) -> Connection {
    let mut connection = server.connect();
    connection.send(head(MUTATE, length).as_bytes());
    connection.send(sent);
    connection
}

#[test]
fn a_request_that_is_no_review_is_refused_and_logged() {
    let mut server = Server::start();
    let review = review();
    let long = vec![b' '; 20 * MIB];
    let cases: [(&[u8], u16); 5] = [
        (b"not JSON", 400),
        (&review.as_bytes()[..review.len() / 2], 400),
        (br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#, 400),
        (b"", 400),
        (&long, 413),
    ];
    for (body, status) in cases {
        let mut connection = server.connect();
        connection.send(head(MUTATE, body.len()).as_bytes());
        connection.send(body);
        assert_eq!(connection.answer().status, status);
        assert_injects(&server);
    }
    assert_small(&server);
    // Each cause is logged separately; one that has a flag names it.
    for (cause, flag) in [
        ("400: not an AdmissionReview", Value::Null),
        ("413: request body too long", "--max-body-bytes".into()),
    ] {
        let warned = server.wait_for_event(|event| event["cause"] == cause);
        assert_eq!((&warned["level"], &warned["flag"]), (&"WARN".into(), &flag), "{warned}");
    }
}

#[test]
fn a_client_that_sends_a_byte_at_a_time_waits_alone() {
    let server = Server::start();
    let review = review();
    let mut slow = begin(&server, review.len(), b"");
    let (dripped, rest) = review.as_bytes().split_at(20);
    for byte in dripped {
        slow.send(&[*byte]);
        assert_injects(&server);
    }
    slow.send(rest);
    assert_patched(&slow.answer().review());
}

#[test]
fn idle_connections_do_not_block_reviews() {
    let server = Server::start();
    let mut api_server = server.connect();
    assert_patched(&api_server.post(MUTATE, &review()));
    let idle: Vec<TcpStream> = (0..2_000).map(|_| server.connect_plain()).collect();
    assert_injects(&server);
    assert_patched(&api_server.post(MUTATE, &review()));
    assert_small(&server);
    drop(idle);
}

#[test]
fn unfinished_large_bodies_do_not_block_reviews() {
    let server = Server::start();
    let sent = vec![b' '; 3 * MIB];
    let unfinished: Vec<_> = (0..20).map(|_| begin(&server, 6 * MIB, &sent)).collect();
    assert_injects(&server);
    assert_small(&server);
    drop(unfinished);
}

#[test]
fn a_termination_loses_no_request() {
    let mut server = Server::start();
    let review = review();
    let (first, rest) = review.as_bytes().split_at(review.len() / 2);
    let mut under_way: Vec<_> = (0..8).map(|_| begin(&server, review.len(), first)).collect();
    let idle = server.connect_plain();
    let bytes = u32::try_from(first.len() * under_way.len()).unwrap();
    server.wait_for_metric("scaivault_injector_buffered_bytes", bytes.into());

    server.terminate();
    server.wait_for_event(|event| event["message"].as_str().is_some_and(|text| text.starts_with("draining")));
    for connection in &mut under_way {
        connection.send(rest);
        let answer = connection.answer();
        assert_patched(&answer.review());
        assert!(answer.is_last);
    }
    drop(idle);
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_log_that_cannot_be_written_costs_no_request() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let server = Server::start_unread(full);
    assert_injects(&server);
    server.terminate();
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_blocked_log_stops_no_admission() {
    let server = Server::start_unread(Stdio::piped());
    let dropped = || server.metric("scaivault_injector_log_lines_dropped_total");
    let mut connection = server.connect();
    let started = Instant::now();
    // The pipe holds 64 KiB, the queue 1 MiB twice; a line has about 400 bytes.
    while dropped() < 1.0 {
        (0..200).for_each(|_| assert_patched(&connection.post(MUTATE, &review())));
        assert!(started.elapsed() < Duration::from_mins(2), "no line was dropped");
    }
    server.terminate();
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn false_and_empty_variables_are_respected() {
    let refused = |value: &str| {
        let ended = server::program()
            .arg("serve")
            .env("SCAIVAULT_INJECTOR_TLS_SELF_SIGNED", value)
            .env("SCAIVAULT_INJECTOR_LISTEN", "")
            .env("LOG_LEVEL", "")
            .output()
            .unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    for value in ["false", ""] {
        let (code, text) = refused(value);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("no certificate"), "{text}");
    }
}
