//! Versions of secrets, from the development server and from servers that answer otherwise.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use scaivault_client::{Class, Operation, Retry, SecretVersion, Versions};
use scaivault_contract::SecretPath;
use scaivault_devserver::{Effect, Fault, Route};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    fixture::{DATABASE, Fixture, STRIPE, data, path},
    hostile::{ScriptedServer, read_head},
};

const OTHER: &str = "environments/production/other/key";

fn version(versions: &Versions, text: &str) -> Option<SecretVersion> {
    versions.found[&path(text)].as_ref().ok().copied()
}

/// Calls of a server, each the first line of a request and its body.
type Calls = Arc<Mutex<Vec<(String, String)>>>;

/// A server that answers with what `answer` makes of a request's method, route and body. One request for each connection.
async fn server(
    answer: impl Fn(&str, &str) -> (u16, Value) + Send + Sync + 'static,
) -> (ScriptedServer, Calls) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let calls = Calls::default();
    let noted = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = read_head(&mut stream).await;
            let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).await.unwrap();
            let body = String::from_utf8(body).unwrap();
            let (status, answered) = answer(&line, &body);
            noted.lock().unwrap().push((line, body));
            let (answered, limits) =
                (answered.to_string(), if status == 429 { "Retry-After: 7\r\n" } else { "" });
            let head = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\n{limits}Content-Length: {}\r\n\r\n",
                answered.len()
            );
            stream.write_all(format!("{head}{answered}").as_bytes()).await.ok();
        }
    });
    (ScriptedServer::at(url), calls)
}

fn refused(code: &str) -> Value {
    json!({"error": {"code": code, "message": "no", "request_id": "req_1"}})
}

#[tokio::test]
async fn the_version_of_each_path_or_its_own_error() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    let paths = [DATABASE, STRIPE, OTHER, "environments/production/billing/none"].map(path);
    let before = SystemTime::now() - Duration::from_secs(1);
    let first = client.versions(&paths).await;
    assert!(first.interrupted.is_none());
    let database = version(&first, DATABASE).unwrap();
    assert!(database.number == 1 && database.created <= SystemTime::now(), "{database:?}");
    for (text, class) in [(OTHER, Class::Denied), ("environments/production/billing/none", Class::NotFound)] {
        let error = first.found[&path(text)].as_ref().unwrap_err();
        assert_eq!((error.class(), error.operation), (class, Operation::ReadVersions), "{error}");
    }

    fixture.handle.write(&path(DATABASE), data(json!({"username": "other"})));
    let second = client.versions(&paths).await;
    let database = version(&second, DATABASE).unwrap();
    assert!(database.number == 2 && database.created >= before, "{database:?}");
    assert_eq!(version(&second, STRIPE), version(&first, STRIPE));
    assert_eq!(fixture.handle.requests(Route::ReadVersions), 2);
    assert_eq!(fixture.handle.requests(Route::Read) + fixture.handle.requests(Route::ReadBatch), 0);
}

#[tokio::test]
async fn calls_have_a_hundred_paths_and_end_at_a_limit() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    let paths: Vec<SecretPath> = (0..250).map(|number| path(&format!("app/secret-{number}"))).collect();
    let all = client.versions(&paths).await;
    assert!(all.interrupted.is_none() && all.found.len() == 250);
    assert_eq!(fixture.handle.requests(Route::ReadVersions), 3);

    let effect = Effect::Refuse { code: "rate_limited".to_owned(), retry_after: Some(7) };
    fixture.handle.add_fault(Fault::on(Route::ReadVersions, effect).times(1));
    let none = client.versions(&paths).await;
    let error = none.interrupted.unwrap();
    assert_eq!((error.retry(), none.found.len()), (Retry::After(Duration::from_secs(7)), 0));
    assert_eq!(fixture.handle.requests(Route::ReadVersions), 4, "the other batches are not sent");
}

#[tokio::test]
async fn without_batches_secrets_are_requested_one_by_one() {
    for (status, answered) in
        [(404, refused("not_found")), (404, json!("Not Found")), (405, json!(null)), (501, json!({}))]
    {
        let (server, calls) = server(move |line, _| match line {
            "GET /v1/secrets/app/a/metadata" => {
                (200, json!({"path": "app/a", "version": 3, "updated_at": "2026-01-01T00:00:00Z"}))
            }
            "GET /v1/secrets/app/b/metadata" => (404, refused("secret_not_found")),
            "GET /v1/secrets/app/c/metadata" => (403, refused("access_denied")),
            _ => (status, answered.clone()),
        })
        .await;
        let client = server.client();
        let paths = ["app/a", "app/b", "app/c"].map(path);
        for _ in 0..2 {
            let versions = client.versions(&paths).await;
            assert!(versions.interrupted.is_none(), "{:?}", versions.interrupted);
            assert_eq!(version(&versions, "app/a").unwrap().number, 3);
            let class = |text: &str| versions.found[&path(text)].as_ref().unwrap_err().class();
            assert_eq!((class("app/b"), class("app/c")), (Class::NotFound, Class::Denied));
        }
        let calls = calls.lock().unwrap();
        let batches = calls.iter().filter(|(line, _)| line == "POST /v1/secrets/batch/metadata").count();
        assert_eq!((batches, calls.len()), (1, 7), "the route that is missing is not asked for again");
    }
}

#[tokio::test]
async fn one_by_one_ends_at_a_failure_of_all() {
    for (status, code, class) in [
        (429, "rate_limited", Class::Throttled),
        (503, "service_unavailable", Class::Unavailable),
        (403, "insufficient_scope", Class::Denied),
        (404, "tenant_not_found", Class::NotFound),
    ] {
        let (server, calls) = server(move |line, _| match line {
            "GET /v1/secrets/app/a/metadata" => (200, json!({"version": 3, "updated_at": 1_700_000_000})),
            "POST /v1/secrets/batch/metadata" => (404, refused("not_found")),
            _ => (status, refused(code)),
        })
        .await;
        let versions = server.client().versions(&["app/a", "app/b", "app/c"].map(path)).await;
        assert_eq!(versions.found.len(), 1, "{code}");
        let error = versions.interrupted.unwrap();
        assert_eq!(error.class(), class, "{code}");
        if status == 429 {
            assert_eq!(error.retry(), Retry::After(Duration::from_secs(7)));
        }
        assert_eq!(calls.lock().unwrap().len(), 3, "{code}");
    }
}

#[tokio::test]
async fn an_outage_is_no_missing_route() {
    for (status, answered) in [
        (200, json!("maintenance")),
        (403, refused("insufficient_scope")),
        (404, refused("tenant_not_found")),
        (500, json!(null)),
    ] {
        let (server, calls) = server(move |_, _| (status, answered.clone())).await;
        let versions = server.client().versions(&[path("app/a")]).await;
        assert!(versions.found.is_empty() && versions.interrupted.is_some(), "{status}");
        assert_eq!(calls.lock().unwrap().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_proxy_that_answers_404_does_not_end_batches() {
    let is_up = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&is_up);
    let (server, calls) = server(move |line, body| {
        if !*seen.lock().unwrap() {
            return (404, json!("no backend"));
        }
        assert_eq!(line, "POST /v1/secrets/batch/metadata");
        assert_eq!(body, r#"{"paths":["app/a"]}"#);
        (200, json!([{"path": "app/a", "version": 3, "updated_at": 1_700_000_000}]))
    })
    .await;
    let client = server.client();
    let versions = client.versions(&[path("app/a")]).await;
    assert_eq!(versions.interrupted.unwrap().class(), Class::Unexpected);
    *is_up.lock().unwrap() = true;
    let versions = client.versions(&[path("app/a")]).await;
    assert_eq!(version(&versions, "app/a").unwrap().number, 3);
    assert_eq!(calls.lock().unwrap().len(), 3);
}
