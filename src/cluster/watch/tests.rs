use axum::http::StatusCode;
use k8s_openapi::api::core::v1 as core;
use scaivault_webhook::{Cluster as _, Lookup};
use serde_json::{Value, json};

use super::*;
use crate::cluster::testing::{ApiServer, failure};

const LIST: &str = "/api/v1/namespaces?&limit=20";

fn namespace(name: &str, version: &str, url: &str) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {
        "name": name, "resourceVersion": version, "annotations": {"scaivault.scailabs.ai/url": url}}})
}

fn list(version: &str, token: &str, items: &[Value]) -> Value {
    json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version, "continue": token}, "items": items})
}

struct Fixture {
    server: ApiServer,
    memory: Arc<Memory>,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

/// Waits until the namespace says this; None where it is not known.
async fn until(memory: &Memory, name: &str, url: Option<&str>) {
    let mut changes = memory.changes();
    let says = || match memory.namespace(name) {
        Lookup::Known(namespace) => namespace.annotations.get("scaivault.scailabs.ai/url").cloned(),
        Lookup::Unknown => None,
    };
    let waiting = async {
        while says().as_deref() != url {
            // A removal is no news to anybody who waits for something.
            let _ = timeout(Duration::from_millis(10), changes.changed()).await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.expect("it comes in time");
}

async fn start() -> Fixture {
    let server = ApiServer::start().await;
    let (memory, readiness, metrics) = (Memory::new(), Readiness::new(), Metrics::new());
    tokio::spawn(follow::<core::Namespace>(server.client(), &memory, &readiness, &metrics));
    Fixture { server, memory, readiness, metrics }
}

#[tokio::test]
async fn pages_events_and_bookmarks_are_followed() {
    let Fixture { mut server, memory, readiness, metrics } = start().await;
    assert_eq!(readiness.check(), Err("waiting for namespaces".to_owned()));
    server.answer(LIST, &list("5", "more", &[namespace("a", "1", "a1")])).await;
    server.answer(&format!("{LIST}&continue=more"), &list("5", "", &[namespace("b", "2", "b2")])).await;
    let watch = server
        .watch("/api/v1/namespaces?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=5")
        .await;
    assert_eq!(readiness.check(), Ok(()));
    until(&memory, "a", Some("a1")).await;
    watch.send("ADDED", &namespace("c", "6", "c6")).await;
    watch.send("MODIFIED", &namespace("a", "7", "a7")).await;
    watch.send("DELETED", &namespace("b", "8", "b2")).await;
    until(&memory, "c", Some("c6")).await;
    until(&memory, "a", Some("a7")).await;
    until(&memory, "b", None).await;
    let bookmark = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "40", "creationTimestamp": null}});
    watch.send("BOOKMARK", &bookmark).await;
    drop(watch);
    // The API server ends a watch now and then; it goes on where the bookmark was.
    let watch = server
        .watch(
            "/api/v1/namespaces?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=40",
        )
        .await;
    watch.send("ADDED", &namespace("d", "41", "d41")).await;
    until(&memory, "d", Some("d41")).await;
    let text = metrics.encode().unwrap();
    assert!(text.contains("scaivault_injector_watched_objects{resource=\"namespaces\"} 3\n"), "{text}");
}

#[tokio::test]
async fn what_is_known_survives_a_disconnect_and_what_was_missed_comes_with_the_next_list() {
    let Fixture { mut server, memory, readiness, metrics } = start().await;
    server.answer(LIST, &list("5", "", &[namespace("a", "1", "a1"), namespace("b", "2", "b2")])).await;
    server.watch("/api/v1/namespaces?&watch=true").await.disconnect().await;
    let watch = server.watch("/api/v1/namespaces?&watch=true").await;
    until(&memory, "a", Some("a1")).await;
    let gone = failure(StatusCode::GONE, "too old resource version");
    watch.send("ERROR", &gone).await;
    // What is in memory stays until the list is complete.
    server.answer(LIST, &list("90", "more", &[namespace("c", "80", "c80")])).await;
    until(&memory, "c", Some("c80")).await;
    until(&memory, "b", Some("b2")).await;
    assert_eq!(readiness.check(), Ok(()));
    server.answer(LIST, &list("90", "", &[namespace("a", "70", "a70")])).await;
    until(&memory, "a", Some("a70")).await;
    until(&memory, "b", None).await;
    let text = metrics.encode().unwrap();
    assert!(text.contains("watch_down_since_timestamp_seconds{resource=\"namespaces\"} 0\n"), "{text}");
}

#[tokio::test]
async fn without_the_right_the_server_is_not_ready_and_says_so() {
    let Fixture { mut server, readiness, metrics, .. } = start().await;
    for _ in 0..2 {
        server.refuse(LIST, StatusCode::FORBIDDEN, "namespaces is forbidden").await;
    }
    assert_eq!(readiness.check(), Err("waiting for namespaces".to_owned()));
    let text = metrics.encode().unwrap();
    assert!(!text.contains("watch_down_since_timestamp_seconds{resource=\"namespaces\"} 0\n"), "{text}");
}

#[test]
fn a_complaint_names_verb_and_cure() {
    let status = |code| serde_json::from_value(failure(code, "user cannot")).map(Box::new).unwrap();
    let forbidden = kube::Error::Api(status(StatusCode::FORBIDDEN));
    let Complaint { verb, error, cure } = complaint(&watcher::Error::InitialListFailed(forbidden));
    assert_eq!((verb, &*error), ("list", "user cannot"));
    assert!(cure.contains("list and watch"), "{cure}");
    let down = kube::Error::Api(status(StatusCode::SERVICE_UNAVAILABLE));
    let Complaint { verb, cure, .. } = complaint(&watcher::Error::WatchStartFailed(down));
    assert_eq!(verb, "watch");
    assert!(cure.contains("tried again"), "{cure}");
}

#[test]
fn a_failing_watch_has_an_age_until_it_works() {
    let (memory, metrics) = (Memory::new(), Metrics::new());
    let gate = Readiness::new().gate("namespaces");
    let mut follower = Follower::<core::Namespace>::new(memory, gate, Arc::clone(&metrics));
    let (now, time) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    let shows = |value: &str| {
        let line = format!("watch_down_since_timestamp_seconds{{resource=\"namespaces\"}} {value}\n");
        metrics.encode().unwrap().contains(&line)
    };
    assert!(shows("0"));
    let error = watcher::Error::NoResourceVersion;
    follower.fail(&error, now, time);
    follower.fail(&error, now + REMINDER / 2, time + REMINDER / 2);
    assert_eq!(follower.told, Some(now), "said once in a while");
    follower.fail(&error, now + REMINDER, time + REMINDER);
    assert_eq!(follower.told, Some(now + REMINDER));
    assert!(shows("1000"), "since the first failure");
    follower.works();
    assert!(shows("0"));
}
