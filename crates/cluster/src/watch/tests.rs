use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::AtomicI64, atomic::AtomicUsize, atomic::Ordering},
};

use axum::http::StatusCode;
use kube::core::PartialObjectMeta;
use scaivault_testkit::api_server::{ApiServer, failure};
use serde_json::{Value, json};

use tokio::{sync::watch as channel, time::timeout};

use super::*;

/// The fake API server answers only the requests that a test expects, in this order; an unexpected
/// list fails the test.
const WATCH: &str = "/api/v1/namespaces?&watch=true";
const LIST: &str = "/api/v1/namespaces?&limit=500";

fn namespace(name: &str, version: &str, url: &str) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {
        "name": name, "resourceVersion": version, "annotations": {"scaivault.scailabs.ai/url": url}}})
}

fn list(version: &str, token: &str, items: &[Value]) -> Value {
    json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version, "continue": token}, "items": items})
}

/// The URLs that namespaces are annotated with.
struct Memory {
    urls: Mutex<BTreeMap<Arc<str>, Option<String>>>,
    changes: channel::Sender<()>,
}

struct Namespaces;

impl Watched for Namespaces {
    type Item = PartialObjectMeta;
    type Memory = Memory;

    const RESOURCE: &'static str = "namespaces";
    const IS_METADATA: bool = true;

    fn url_path() -> String {
        "/api/v1/namespaces".to_owned()
    }

    fn metadata(item: &Self::Item) -> &ObjectMeta {
        &item.metadata
    }

    fn put(memory: &Memory, key: &Arc<str>, item: Self::Item) {
        let mut annotations = item.metadata.annotations.unwrap_or_default();
        let url = annotations.remove("scaivault.scailabs.ai/url");
        memory.urls.lock().unwrap().insert(Arc::clone(key), url);
        memory.changes.send_replace(());
    }

    fn remove(memory: &Memory, key: &Arc<str>) {
        memory.urls.lock().unwrap().remove(key);
        memory.changes.send_replace(());
    }

    fn finish_list(memory: &Memory, listed: &HashSet<Arc<str>>) {
        memory.urls.lock().unwrap().retain(|name, _| listed.contains(name));
        memory.changes.send_replace(());
    }

    fn count(memory: &Memory) -> usize {
        memory.urls.lock().unwrap().len()
    }
}

/// The callbacks that an observer received.
#[derive(Default)]
struct Heard {
    lists: AtomicUsize,
    count: AtomicUsize,
    /// Unix seconds; 0 while the watch works.
    down_since: AtomicI64,
    /// The kind may be missing.
    is_optional: bool,
}

impl Observer for Arc<Heard> {
    fn listed(&self, count: usize) {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.changed(count);
    }

    fn changed(&self, count: usize) {
        self.count.store(count, Ordering::Relaxed);
    }

    fn down_since(&self, since: Option<SystemTime>) {
        let seconds = since.map_or(0, |time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        self.down_since.store(seconds.try_into().unwrap(), Ordering::Relaxed);
    }

    fn created(&self, _: Timestamp, _: SystemTime) -> bool {
        false
    }

    fn missing(&self) -> bool {
        self.is_optional
    }
}

impl Heard {
    fn is_listed(&self) -> bool {
        self.lists.load(Ordering::Relaxed) > 0
    }

    fn down(&self) -> i64 {
        self.down_since.load(Ordering::Relaxed)
    }
}

struct Fixture {
    server: ApiServer,
    memory: Arc<Memory>,
    heard: Arc<Heard>,
}

/// Waits until the namespace has this URL, or until it is unknown if `None`.
async fn until(memory: &Memory, name: &str, url: Option<&str>) {
    let mut changes = memory.changes.subscribe();
    let says = || memory.urls.lock().unwrap().get(name).cloned().flatten();
    let waiting = async {
        while says().as_deref() != url {
            changes.changed().await.unwrap();
        }
    };
    timeout(Duration::from_secs(20), waiting).await.expect("it comes in time");
}

fn memory() -> Arc<Memory> {
    Arc::new(Memory { urls: Mutex::default(), changes: channel::channel(()).0 })
}

async fn start() -> Fixture {
    let server = ApiServer::start().await;
    let (memory, heard) = (memory(), Arc::<Heard>::default());
    let backoff = Backoff::new(Duration::from_millis(1));
    let observer = Box::new(Arc::clone(&heard));
    let follower = Follower::<Namespaces>::new(Arc::clone(&memory), observer, backoff);
    tokio::spawn(follower.run(server.client()));
    Fixture { server, memory, heard }
}

#[tokio::test]
async fn pages_events_and_bookmarks_are_followed() {
    let Fixture { mut server, memory, heard } = start().await;
    assert!(!heard.is_listed());
    server.answer(LIST, &list("5", "more", &[namespace("a", "1", "a1")])).await;
    server.answer(&format!("{LIST}&continue=more"), &list("5", "", &[namespace("b", "2", "b2")])).await;
    let watch = server
        .watch("/api/v1/namespaces?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=5")
        .await;
    assert!(heard.is_listed());
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
    // The API server closes a watch from time to time; the next one resumes at the bookmark.
    let watch = server
        .watch(
            "/api/v1/namespaces?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=40",
        )
        .await;
    watch.send("ADDED", &namespace("d", "41", "d41")).await;
    until(&memory, "d", Some("d41")).await;
    assert_eq!(heard.count.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn the_cache_survives_a_disconnect_until_the_next_list() {
    let Fixture { mut server, memory, heard } = start().await;
    server.answer(LIST, &list("5", "", &[namespace("a", "1", "a1"), namespace("b", "2", "b2")])).await;
    server.watch(WATCH).await.disconnect().await;
    let watch = server.watch(WATCH).await;
    until(&memory, "a", Some("a1")).await;
    watch.send("ERROR", &gone()).await;
    // Cached objects stay until the list is complete.
    server.answer(LIST, &list("90", "more", &[namespace("c", "80", "c80")])).await;
    until(&memory, "c", Some("c80")).await;
    until(&memory, "b", Some("b2")).await;
    assert!(heard.is_listed());
    server.answer(LIST, &list("90", "", &[namespace("a", "70", "a70")])).await;
    until(&memory, "a", Some("a70")).await;
    until(&memory, "b", None).await;
    assert_eq!(heard.down(), 0);
}

fn gone() -> Value {
    failure(StatusCode::GONE, "too old resource version")
}

#[tokio::test]
async fn disconnects_and_failures_cost_no_list() {
    let Fixture { mut server, memory, heard } = start().await;
    server.answer(LIST, &list("5", "", &[namespace("a", "1", "a1")])).await;
    for version in 6..26 {
        let watch = server
            .watch(&format!(
                "{WATCH}&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion={}",
                version - 1
            ))
            .await;
        watch.send("MODIFIED", &namespace("a", &version.to_string(), &format!("a{version}"))).await;
        until(&memory, "a", Some(&format!("a{version}"))).await;
        match version % 3 {
            0 => watch.disconnect().await,
            1 => watch.send("ERROR", &failure(StatusCode::INTERNAL_SERVER_ERROR, "etcd is away")).await,
            _ => drop(watch),
        }
        if version % 5 == 0 {
            server.refuse(WATCH, StatusCode::TOO_MANY_REQUESTS, "too many requests").await;
            server.refuse(WATCH, StatusCode::SERVICE_UNAVAILABLE, "starting").await;
        }
    }
    let watch = server
        .watch(&format!("{WATCH}&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=25"))
        .await;
    watch.send("ADDED", &namespace("z", "30", "z30")).await;
    until(&memory, "z", Some("z30")).await;
    assert_eq!(heard.down(), 0);
}

#[tokio::test]
async fn an_expired_resource_version_causes_a_list() {
    let Fixture { mut server, memory, .. } = start().await;
    server.answer(LIST, &list("5", "", &[namespace("a", "1", "a1"), namespace("b", "1", "b1")])).await;
    // The API server reports it as the response or as an event.
    server.refuse(WATCH, StatusCode::GONE, "too old resource version").await;
    server.answer(LIST, &list("50", "", &[namespace("a", "1", "a1")])).await;
    until(&memory, "b", None).await;
    let watch = server
        .watch(&format!("{WATCH}&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=50"))
        .await;
    watch.send("ERROR", &gone()).await;
    server.answer(LIST, &list("90", "", &[namespace("c", "80", "c80")])).await;
    until(&memory, "c", Some("c80")).await;
    server.watch(&format!("{WATCH}&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=90")).await;
}

#[tokio::test]
async fn only_a_failed_page_is_requested_again() {
    let Fixture { mut server, memory, heard } = start().await;
    server.answer(LIST, &list("5", "one", &[namespace("a", "1", "a1")])).await;
    let second = format!("{LIST}&continue=one");
    server.refuse(&second, StatusCode::TOO_MANY_REQUESTS, "too many requests").await;
    server.refuse(&second, StatusCode::INTERNAL_SERVER_ERROR, "etcd is away").await;
    // A response that ends early, after an item.
    let text = list("5", "two", &[namespace("b", "2", "b2"), namespace("c", "2", "c2")]).to_string();
    server.answer_text(&second, &text[..text.len() - 10]).await;
    assert!(!heard.is_listed());
    server.answer_text(&second, &text).await;
    server.answer(&format!("{LIST}&continue=two"), &list("5", "", &[namespace("d", "3", "d3")])).await;
    server.watch(WATCH).await;
    for (name, url) in [("a", "a1"), ("b", "b2"), ("c", "c2"), ("d", "d3")] {
        until(&memory, name, Some(url)).await;
    }
    assert!(heard.is_listed());
}

#[tokio::test]
async fn an_expired_continue_token_is_answered_with_one_whole_list() {
    let Fixture { mut server, memory, .. } = start().await;
    server.answer(LIST, &list("5", "one", &[namespace("old", "1", "old"), namespace("a", "1", "a1")])).await;
    server.refuse(&format!("{LIST}&continue=one"), StatusCode::GONE, "continue token expired").await;
    // Objects on the first page may have been deleted since.
    let whole = list("90", "", &[namespace("a", "70", "a70"), namespace("b", "80", "b80")]);
    let asked = server.answer("/api/v1/namespaces?", &whole).await;
    assert!(!asked.contains("limit") && !asked.contains("continue"), "{asked}");
    until(&memory, "a", Some("a70")).await;
    until(&memory, "b", Some("b80")).await;
    until(&memory, "old", None).await;
    server.watch(&format!("{WATCH}&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=90")).await;
}

#[tokio::test]
async fn without_permission_the_server_is_not_ready() {
    let Fixture { mut server, heard, .. } = start().await;
    for _ in 0..2 {
        server.refuse(LIST, StatusCode::FORBIDDEN, "namespaces is forbidden").await;
    }
    assert!(!heard.is_listed());
    assert!(heard.down() > 0);
}

fn api_error(code: StatusCode) -> kube::Error {
    kube::Error::Api(serde_json::from_value(failure(code, "user cannot")).map(Box::new).unwrap())
}

#[test]
fn a_failure_names_the_fix() {
    let fix = |status| fix(&api_error(status), "install it");
    assert!(fix(StatusCode::FORBIDDEN).contains("list and watch"));
    assert!(fix(StatusCode::SERVICE_UNAVAILABLE).contains("retried automatically"));
    assert_eq!(fix(StatusCode::NOT_FOUND), "install it");
}

#[test]
fn an_overloaded_api_servers_pause_is_respected() {
    let mut status = failure(StatusCode::TOO_MANY_REQUESTS, "too many requests");
    status["details"] = json!({"retryAfterSeconds": 7});
    let error = kube::Error::Api(serde_json::from_value(status).map(Box::new).unwrap());
    assert_eq!(retry_after(&error), Some(Duration::from_secs(7)));
    assert_eq!(retry_after(&api_error(StatusCode::FORBIDDEN)), None);
}

#[test]
fn a_failing_watch_has_an_age_until_it_works() {
    let heard = Arc::<Heard>::default();
    let mut follower =
        Follower::<Namespaces>::new(memory(), Box::new(Arc::clone(&heard)), Backoff::default());
    let (now, time) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    let error = api_error(StatusCode::SERVICE_UNAVAILABLE);
    follower.fail("watch", &error, now, time);
    follower.fail("watch", &error, now + REMINDER / 2, time + REMINDER / 2);
    assert_eq!(follower.reported_at, Some(now), "reported at intervals");
    follower.fail("watch", &error, now + REMINDER, time + REMINDER);
    assert_eq!(follower.reported_at, Some(now + REMINDER));
    assert_eq!(heard.down(), 1000, "since the first failure");
    follower.works();
    assert_eq!(heard.down(), 0);
}

#[test]
fn a_kind_that_is_not_installed_is_not_down() {
    for (is_optional, expected) in [(true, 0), (false, 1000)] {
        let heard = Arc::new(Heard { is_optional, ..Heard::default() });
        let mut follower =
            Follower::<Namespaces>::new(memory(), Box::new(Arc::clone(&heard)), Backoff::default());
        let (now, time) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        follower.fail("list", &api_error(StatusCode::SERVICE_UNAVAILABLE), now, time);
        assert_eq!(heard.down(), 1000);
        follower.fail("list", &api_error(StatusCode::NOT_FOUND), now, time);
        assert_eq!(heard.down(), expected);
    }
}
