//! Answers in other formats than the development server's: leases, durations, lists, and truncated
//! answers.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use scaivault_client::{Class, Client, Error, ErrorKind, Lease, LeaseId, Retry, Timeouts};
use scaivault_contract::DynamicRef;
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    fixture::{DATABASE, TIMEOUT, path, settings},
    hostile::{ScriptedServer, ok, read_head},
};

const SECOND: Duration = Duration::from_secs(1);

fn dynamic() -> DynamicRef {
    "engine=postgres-prod role=readonly".parse().unwrap()
}

async fn generate(answer: Vec<u8>) -> Result<Lease, Error> {
    let server = ScriptedServer::start(answer).await;
    server.client().generate(&dynamic(), TIMEOUT).await
}

/// A server that sends `pieces`, each after a pause, and closes the connection.
async fn slow(pieces: Vec<(Duration, Vec<u8>)>) -> ScriptedServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(send(stream, pieces.clone()));
        }
    });
    ScriptedServer::at(url)
}

async fn send(mut stream: TcpStream, pieces: Vec<(Duration, Vec<u8>)>) {
    read_head(&mut stream).await;
    for (pause, piece) in pieces {
        timeout(pause, pending::<()>()).await.ok();
        if stream.write_all(&piece).await.is_err() {
            return;
        }
    }
}

fn impatient(server: &ScriptedServer, idle: Duration) -> Client {
    server.client_with(Timeouts { idle, ..settings(&server.url).timeouts })
}

#[tokio::test]
async fn the_term_of_a_lease_is_read_from_any_likely_member() {
    for (member, value, seconds) in [
        ("ttl_seconds", json!(3600), 3600),
        ("ttl", json!(3600.0), 3600),
        ("ttl", json!("3600"), 3600),
        ("lease_duration", json!("1h30m"), 5400),
        ("ttl", json!("1h 30m"), 5400),
        ("ttl_seconds", json!("PT1H30M"), 5400),
        ("expires_in", json!("P1DT2H"), 93_600),
        ("ttl", json!(u64::MAX), 366 * 86_400),
        ("expires_at", json!("2999-01-01T00:00:00Z"), 366 * 86_400),
        ("expires_at", json!(32_472_144_000_u64), 366 * 86_400),
    ] {
        let body = json!({"lease_id": "lease_1", "data": {"username": "u"}, member: value.clone(), "renewable": null});
        let lease = generate(ok(&body.to_string())).await.unwrap();
        assert_eq!(lease.term.ttl.as_secs(), seconds, "{member}: {value}");
        assert!(lease.term.is_renewable);
    }
}

#[tokio::test]
async fn a_lease_whose_answer_is_of_no_use_is_named_with_the_member() {
    for (rest, named) in [
        (json!({"data": {"a": "b"}, "ttl": "soon"}), "its member ttl is not a time"),
        (json!({"data": {"a": "b"}, "ttl_seconds": -1}), "its member ttl_seconds is not a time"),
        (json!({"data": {"a": "b"}, "lease_duration": "-1h"}), "its member lease_duration is not a time"),
        (json!({"data": {"a": "b"}, "ttl": "NaN"}), "its member ttl is not a time"),
        (json!({"data": {"a": "b"}, "expires_at": "tomorrow"}), "its member expires_at is not a time"),
        (json!({"data": {"a": "b"}, "ttl": {}}), "its member ttl is not a time"),
        (json!({"data": {"a": "b"}, "ttl": 0}), "has ended already"),
        (json!({"data": {"a": "b"}}), "it has no ttl_seconds"),
        (json!({"data": ["swordfish"], "ttl": 60}), "its member data cannot be used"),
        (json!({"credentials": "swordfish", "ttl": 60}), "its member credentials cannot be used"),
        (json!({"username": "swordfish", "ttl": 60}), "it has no data, credentials"),
    ] {
        let mut body = rest.clone();
        body["lease_id"] = json!("lease_1");
        let error = generate(ok(&body.to_string())).await.unwrap_err();
        assert_eq!(error.orphaned_lease().map(LeaseId::as_str), Some("lease_1"), "{rest}: {error}");
        assert!(
            error.to_string().contains(named) && error.to_string().contains("lease_1"),
            "{rest}: {error}"
        );
        assert!(!error.to_string().contains("swordfish"), "{error}");
        assert_eq!((error.class(), error.retry()), (Class::Unexpected, Retry::Never));
    }
}

#[tokio::test]
async fn a_lease_is_found_in_an_answer_that_is_no_json_or_cut_off() {
    let lease = r#"{ "engine" : "e", "lease_id" : "lease_1", "data": {"username": "swordf"#;
    let mut chunked = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    chunked.extend_from_slice(format!("{:x}\r\n{lease}\r\n", lease.len()).as_bytes());
    let cut = format!("HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n{lease}").into_bytes();
    for pieces in [vec![(Duration::ZERO, cut)], vec![(Duration::ZERO, chunked)]] {
        let server = slow(pieces).await;
        let error = server.client().generate(&dynamic(), TIMEOUT).await.unwrap_err();
        assert_eq!(error.orphaned_lease().map(LeaseId::as_str), Some("lease_1"), "{error}");
        assert!(
            error.to_string().contains("was interrupted") && !error.to_string().contains("swordf"),
            "{error}"
        );
        assert_eq!(error.retry(), Retry::Backoff);
    }
    for (body, found) in [
        (lease, Some("lease_1")),
        (r#"{"lease_id": 42, "ttl": 60"#, Some("42")),
        (r#"{"id": "lease_1", "ttl": 60,"#, Some("lease_1")),
        (r#"{"lease": {"lease_id": "lease_1", "data": {}, "ttl": 60}}"#, Some("lease_1")),
        (r#"{"id": "i", "id": "j", "lease_id": "lease_1"}"#, Some("lease_1")),
        ("{\"lease_id\": \"lease_1\", \"data\": \"\u{0}", Some("lease_1")),
        (r#"{"lease_id": "lea"#, None),
        (r#"{"lease_id": "../../x", "ttl""#, None),
        (r#"{"lease_id"#, None),
        ("<html>", None),
        ("", None),
    ] {
        let error = generate(ok(body)).await.unwrap_err();
        assert_eq!(error.orphaned_lease().map(LeaseId::as_str), found, "{body}: {error}");
    }
}

#[tokio::test]
async fn a_lease_in_an_incomplete_or_oversized_answer_is_found() {
    let begin = "{\"lease_id\":\"lease_1\",\"data\":{\"a\":\"";
    let mut large = format!("HTTP/1.1 201 Created\r\nContent-Length: 9000000\r\n\r\n{begin}").into_bytes();
    let stalling = large.clone();
    large.resize(9_000_000, b'x');
    let server = slow(vec![(Duration::ZERO, large)]).await;
    let error = server.client().generate(&dynamic(), TIMEOUT).await.unwrap_err();
    assert_eq!(error.orphaned_lease().map(LeaseId::as_str), Some("lease_1"), "{error}");

    let server = slow(vec![(Duration::ZERO, stalling), (TIMEOUT, Vec::new())]).await;
    let error = server.client().generate(&dynamic(), SECOND / 4).await.unwrap_err();
    assert_eq!(error.orphaned_lease().map(LeaseId::as_str), Some("lease_1"), "{error}");
    assert!(error.to_string().contains("has not answered"), "{error}");
}

#[tokio::test]
async fn a_generation_is_waited_for_with_the_callers_patience() {
    let answer = ok(r#"{"lease_id":"lease_1","data":{"username":"u"},"ttl":60}"#);
    let server = slow(vec![(SECOND, answer)]).await;
    let client = impatient(&server, SECOND / 10);
    client.generate(&dynamic(), 30 * SECOND).await.unwrap();
    let error = client.generate(&dynamic(), SECOND / 5).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn slow_progress_has_a_time_limit() {
    let body = r#"{"version":1,"data":{"a":"b"}}"#;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut pieces = vec![(Duration::ZERO, head.into_bytes())];
    // 30 bytes: longer in total than the idle timeout.
    pieces.extend(body.bytes().map(|byte| (SECOND / 50, vec![byte])));
    let server = slow(pieces).await;
    impatient(&server, SECOND / 4).read(&path(DATABASE), None).await.unwrap();

    let mut dripping = vec![(Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n".to_vec())];
    dripping.extend((0..9999).map(|_| (SECOND / 20, b" ".to_vec())));
    let head = vec![(SECOND / 20, b"X".to_vec()); 9999];
    for pieces in [dripping, head] {
        let server = slow(pieces).await;
        let started = Instant::now();
        let error = impatient(&server, SECOND / 5).read(&path(DATABASE), None).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Timeout { .. } | ErrorKind::Answer(_)), "{error}");
        assert!(started.elapsed() < 10 * SECOND, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn subscriptions_are_listed_in_every_likely_form() {
    let entries = json!([{"id": "sub_1", "name": "a", "status": "active"}, {"id": "../x"}, {"name": "b"}, {"id": "sub_2"}]);
    let expected = [("sub_1", "a"), ("sub_2", "")];
    for body in [
        json!({"subscriptions": entries, "cursor": null, "has_more": false}),
        json!({"data": entries, "has_more": false, "cursor": "c"}),
        json!({"items": entries}),
        entries.clone(),
        // A server whose list never ends, and one that repeats its cursor.
        json!({"subscriptions": entries, "cursor": null, "has_more": true}),
    ] {
        let server = ScriptedServer::start(ok(&body.to_string())).await;
        let found = server.client().subscriptions().await.unwrap();
        let found: Vec<_> = found.iter().map(|(id, name)| (id.as_str(), name.as_str())).collect();
        assert_eq!(found, expected, "{body}");
    }
    let server = ScriptedServer::start(ok("{}")).await;
    assert_eq!(server.client().subscriptions().await.unwrap_err().class(), Class::Unexpected);
}

#[tokio::test]
async fn all_pages_of_subscriptions_are_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = ScriptedServer::at(format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move {
        for page in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = read_head(&mut stream).await;
            let cursor = if page == 0 { String::new() } else { format!("&cursor=p%26{page}%3D") };
            assert!(head.starts_with(&format!("GET /v1/subscriptions?limit=100{cursor} ")), "{head}");
            let next = json!(format!("p&{}=", page + 1));
            let body = json!({"subscriptions": [{"id": format!("sub_{page}"), "name": "n"}], "cursor": next, "has_more": page < 2});
            let answer = ok(&body.to_string());
            let answer = String::from_utf8(answer).unwrap().replace("OK\r\n", "OK\r\nConnection: close\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let found = server.client().subscriptions().await.unwrap();
    let found: Vec<_> = found.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(found, ["sub_0", "sub_1", "sub_2"]);
}

#[tokio::test]
async fn a_lost_subscription_can_be_created_again() {
    for (status, code) in [(404, "subscription_not_found"), (404, "not_found"), (410, "gone")] {
        let body = json!({"error": {"code": code, "message": "no"}}).to_string();
        let answer = format!(
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let server = ScriptedServer::start(answer.into_bytes()).await;
        let client = server.client();
        let id = "sub_1".parse().unwrap();
        let error = client.poll(&id, &scaivault_client::Poll::default()).await.unwrap_err();
        assert!(error.is_gone(), "{error}");
        assert_eq!(error.retry(), Retry::Backoff, "{error}");
        client.unsubscribe(&id).await.unwrap();
        client.revoke(&"lease_1".parse().unwrap()).await.unwrap();
        // A missing secret is not retried.
        assert_eq!(client.read(&path(DATABASE), None).await.unwrap_err().retry(), Retry::Never);
    }
}
