use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{Method, Request as HttpRequest};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use scaivault_inject::{
    Allow, Enforcement, KubeVersion, Namespace, Policy, PolicyParts, PolicySet, Settings,
};
use serde_json::Value;
use tokio::sync::watch;

use super::*;
use crate::{
    MUTATE_PATH,
    context::{Cluster, Lookup, NoCluster, Policies},
    lanes::{LARGE_BODY_BYTES, MEDIUM_BODY_BYTES},
    testing::{asking, context, review},
};

struct Server {
    router: Router,
    metrics: Arc<Metrics>,
}

fn server(limits: Limits) -> Server {
    let metrics = Metrics::new();
    Server { router: router(context(), Arc::clone(&metrics), PodEvents::default(), limits), metrics }
}

fn post_json(body: impl Into<Body>) -> HttpRequest<Body> {
    HttpRequest::post(MUTATE_PATH)
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        .body(body.into())
        .unwrap()
}

impl Server {
    async fn send(&self, request: HttpRequest<Body>) -> (StatusCode, HeaderMap, String) {
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn status(&self, request: HttpRequest<Body>) -> StatusCode {
        let (status, _, body) = self.send(request).await;
        assert!(body.ends_with('\n'), "errors are lines of text: {body}");
        status
    }

    fn assert_metric(&self, line: &str) {
        let text = self.metrics.encode().unwrap();
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn a_review_is_answered_and_counted() {
    let server = server(Limits::default());
    let (status, headers, body) =
        server.send(post_json(review(&[("\"dryRun\":false", "\"dryRun\":true")]))).await;
    assert_eq!(
        (status, &headers[header::CONTENT_TYPE]),
        (StatusCode::OK, &HeaderValue::from_static("application/json"))
    );
    assert!(body.contains(r#""uid":"u-1""#), "{body}");
    server.assert_metric(
        r#"scaivault_injector_admissions_total{entry="mutate",outcome="skipped",reason="not-annotated",dry_run="true"} 1"#,
    );
    server.assert_metric("scaivault_injector_requests_in_flight 0");
    server.assert_metric("scaivault_injector_buffered_bytes 0");
}

#[tokio::test]
async fn an_invalid_review_is_answered_400() {
    let server = server(Limits::default());
    let review = review(&[]);
    for body in [
        "not json",
        &review[..review.len() / 2],
        r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#,
    ] {
        assert_eq!(server.status(post_json(body.to_owned())).await, StatusCode::BAD_REQUEST, "{body}");
    }
    server.assert_metric(r#"scaivault_injector_http_errors_total{status="400"} 3"#);
}

#[tokio::test]
async fn other_routes_methods_and_types_are_refused() {
    let server = server(Limits::default());
    let get = |path| HttpRequest::get(path).body(Body::empty()).unwrap();
    assert_eq!(server.status(get("/")).await, StatusCode::NOT_FOUND);
    let (status, headers, _) = server.send(get(MUTATE_PATH)).await;
    assert_eq!(
        (status, &headers[header::ALLOW]),
        (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static("POST"))
    );
    let untyped =
        HttpRequest::builder().method(Method::POST).uri(MUTATE_PATH).body(Body::from(review(&[]))).unwrap();
    assert_eq!(server.status(untyped).await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for status in [404, 405, 415] {
        server.assert_metric(&format!("scaivault_injector_http_errors_total{{status=\"{status}\"}} 1"));
    }
}

/// A cluster that watches policies, of which there are none.
struct PolicyCluster;

impl Cluster for PolicyCluster {
    fn namespace(&self, name: &str) -> Lookup<Arc<Namespace>> {
        NoCluster.namespace(name)
    }

    fn service_account_role(&self, namespace: &str, service_account: &str) -> Lookup<Option<Arc<str>>> {
        NoCluster.service_account_role(namespace, service_account)
    }

    fn has_policies(&self) -> bool {
        true
    }

    fn changes(&self) -> watch::Receiver<()> {
        NoCluster.changes()
    }
}

/// During a rollout the API server may call a replica that does not support policies: it must not
/// accept its answer.
#[tokio::test]
async fn only_a_replica_with_policies_answers_for_them() {
    let post = |path| {
        let request = HttpRequest::post(path).header(header::CONTENT_TYPE, "application/json");
        request.body(Body::from(review(&[]))).unwrap()
    };
    let without = server(Limits::default());
    assert_eq!(without.status(post(MUTATE_FOR_POLICIES_PATH)).await, StatusCode::NOT_FOUND);
    let context = AdmissionContext::new(Settings::default(), KubeVersion::OLDEST, Arc::new(PolicyCluster));
    let metrics = Metrics::new();
    let router = router(Arc::new(context), Arc::clone(&metrics), PodEvents::default(), Limits::default());
    let with = Server { router, metrics };
    let (status, _, body) = with.send(post(MUTATE_FOR_POLICIES_PATH)).await;
    assert_eq!((status, with.send(post(MUTATE_PATH)).await.2), (StatusCode::OK, body));
}

/// A cluster with a policy that warns; counts the calls that report its effects.
struct CountingCluster {
    policies: Policies,
    reports: AtomicUsize,
}

impl Cluster for CountingCluster {
    fn namespace(&self, name: &str) -> Lookup<Arc<Namespace>> {
        NoCluster.namespace(name)
    }

    fn service_account_role(&self, namespace: &str, service_account: &str) -> Lookup<Option<Arc<str>>> {
        NoCluster.service_account_role(namespace, service_account)
    }

    fn policies(&self) -> Lookup<Policies> {
        Lookup::Known(self.policies.clone())
    }

    fn policies_used(&self, _usage: &PolicyUsage<'_>) {
        self.reports.fetch_add(1, Ordering::Relaxed);
    }

    fn changes(&self) -> watch::Receiver<()> {
        NoCluster.changes()
    }
}

/// The API server posts a pod again if a later webhook has changed it.
#[tokio::test]
async fn the_effect_of_a_policy_is_counted_once() {
    let parts = PolicyParts {
        name: "limits".to_owned(),
        enforcement: Enforcement::Warn,
        allow: Allow { paths: Some(Vec::new()), ..Allow::default() },
        ..PolicyParts::default()
    };
    let set = Arc::new(PolicySet::new(vec![Policy::compile(parts).unwrap()]));
    let cluster =
        Arc::new(CountingCluster { policies: Policies { set, now: 0 }, reports: AtomicUsize::new(0) });
    let context = AdmissionContext::new(Settings::default(), KubeVersion::OLDEST, Arc::clone(&cluster) as _);
    let metrics = Metrics::new();
    let router = router(Arc::new(context), Arc::clone(&metrics), PodEvents::default(), Limits::default());
    let server = Server { router, metrics };

    let mut review: Value = serde_json::from_str(&asking(&[])).unwrap();
    let (_, _, answer) = server.send(post_json(review.to_string())).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let patch = BASE64_STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
    let patch = serde_json::from_slice(&patch).unwrap();
    let object = &mut review["request"]["object"];
    *object = scaivault_testkit::apply(object, &patch).unwrap();
    let (_, _, again) = server.send(post_json(review.to_string())).await;
    assert!(again.contains("limits"), "it is still logged and warned about: {again}");
    server.assert_metric(r#"scaivault_injector_policy_pods_total{effect="warned"} 1"#);
    assert_eq!(cluster.reports.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn twenty_mebibytes_are_413() {
    let server = server(Limits::default());
    let body = vec![b' '; 20 * 1024 * 1024];
    assert_eq!(server.status(post_json(body)).await, StatusCode::PAYLOAD_TOO_LARGE);
    server.assert_metric(r#"scaivault_injector_http_errors_total{status="413"} 1"#);
}

#[tokio::test]
async fn a_large_review_is_answered_on_its_own_thread() {
    let server = server(Limits::default());
    let padding = format!("\"app\":\"{}\"", "x".repeat(LARGE_BODY_BYTES));
    let (status, _, body) = server.send(post_json(review(&[("\"app\":\"web\"", &padding)]))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let server = server(Limits::default());
    let padding = format!("\"app\":\"{}\"", "x".repeat(LARGE_BODY_BYTES));
    for edit in
        [&[("\"shop\"", "\"panic\"")][..], &[("\"shop\"", "\"panic\""), ("\"app\":\"web\"", &padding)]]
    {
        let (status, _, body) = server.send(post_json(review(edit))).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body.contains("hunter2"), "{body}");
    }
    server.assert_metric("scaivault_injector_panics_total 2");
    server.assert_metric("scaivault_injector_requests_in_flight 0");
    assert_eq!(server.send(post_json(review(&[]))).await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_namespace_is_503_with_retry_after_a_second() {
    let server = server(Limits { requests: 1, ..Limits::default() });
    let started = Instant::now();
    let (status, headers, _) = server.send(post_json(asking(&[("\"shop\"", "\"unknown\"")]))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[header::RETRY_AFTER], "1");
    server.assert_metric(
        r#"scaivault_injector_admissions_total{entry="mutate",outcome="deferred",reason="unknown-namespace",dry_run="false"} 1"#,
    );
    assert_eq!(started.elapsed(), KNOWN_WITHIN);
}

/// A cluster in which objects appear.
struct GrowingCluster {
    known: std::sync::Mutex<Vec<&'static str>>,
    changed: watch::Sender<()>,
}

impl GrowingCluster {
    fn learn(&self, name: &'static str) {
        self.known.lock().unwrap().push(name);
        self.changed.send_replace(());
    }

    fn lookup<T>(&self, name: &str, value: T) -> Lookup<T> {
        if self.known.lock().unwrap().contains(&name) { Lookup::Known(value) } else { Lookup::Unknown }
    }
}

impl Cluster for GrowingCluster {
    fn namespace(&self, name: &str) -> Lookup<Arc<Namespace>> {
        self.lookup(name, Arc::default())
    }

    fn service_account_role(&self, _namespace: &str, service_account: &str) -> Lookup<Option<Arc<str>>> {
        self.lookup(service_account, None)
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

#[tokio::test(start_paused = true)]
async fn a_review_is_answered_when_its_lookups_are_known() {
    let cluster =
        Arc::new(GrowingCluster { known: std::sync::Mutex::default(), changed: watch::channel(()).0 });
    let context = AdmissionContext::new(Settings::default(), KubeVersion::OLDEST, Arc::clone(&cluster) as _);
    let metrics = Metrics::new();
    let limits = Limits { requests: 1, ..Limits::default() };
    let router = router(Arc::new(context), Arc::clone(&metrics), PodEvents::default(), limits);
    let server = Server { router, metrics };
    let started = Instant::now();
    let waiting = tokio::spawn(server.router.clone().oneshot(post_json(asking(&[]))));
    sleep(KNOWN_WITHIN / 4).await;
    assert_eq!(server.send(post_json(review(&[]))).await.0, StatusCode::OK, "a waiting review takes no slot");
    cluster.learn("shop");
    sleep(KNOWN_WITHIN / 4).await;
    cluster.learn("default");
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(started.elapsed(), KNOWN_WITHIN / 2 + CHANGES_PAUSE);
    server.assert_metric(
        r#"scaivault_injector_admissions_total{entry="mutate",outcome="injected",reason="init",dry_run="false"} 1"#,
    );
    server.assert_metric(
        r#"scaivault_injector_admissions_total{entry="mutate",outcome="deferred",reason="unknown-namespace",dry_run="false"} 0"#,
    );
}

/// A cluster in which no object appears, however much changes.
struct EmptyCluster {
    metrics: Arc<Metrics>,
    looks: AtomicUsize,
    /// Lookups made while a slot for concurrent requests is taken; a waiting review takes no slot.
    readings: AtomicUsize,
    changed: watch::Sender<()>,
}

impl Cluster for EmptyCluster {
    fn namespace(&self, name: &str) -> Lookup<Arc<Namespace>> {
        assert_eq!(name, "shop");
        self.looks.fetch_add(1, Ordering::Relaxed);
        if self.metrics.requests_in_flight.get() > 0 {
            self.readings.fetch_add(1, Ordering::Relaxed);
        }
        Lookup::Unknown
    }

    fn service_account_role(&self, _namespace: &str, _service_account: &str) -> Lookup<Option<Arc<str>>> {
        Lookup::Unknown
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

fn barren() -> (Arc<EmptyCluster>, Server) {
    let metrics = Metrics::new();
    let (looks, readings) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let changed = watch::channel(()).0;
    let cluster = Arc::new(EmptyCluster { metrics: Arc::clone(&metrics), looks, readings, changed });
    let context = AdmissionContext::new(Settings::default(), KubeVersion::OLDEST, Arc::clone(&cluster) as _);
    let router = router(Arc::new(context), Arc::clone(&metrics), PodEvents::default(), Limits::default());
    (cluster, Server { router, metrics })
}

#[tokio::test(start_paused = true)]
async fn a_waiting_review_is_decided_twice_despite_many_changes() {
    let (cluster, server) = barren();
    let waiting = tokio::spawn(server.router.clone().oneshot(post_json(asking(&[]))));
    while !waiting.is_finished() {
        cluster.changed.send_replace(());
        sleep(CHANGES_PAUSE).await;
    }
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(cluster.looks.load(Ordering::Relaxed) > 20);
    assert_eq!(cluster.readings.load(Ordering::Relaxed), 2);
    server.assert_metric(
        r#"scaivault_injector_admissions_total{entry="mutate",outcome="deferred",reason="unknown-namespace",dry_run="false"} 1"#,
    );
}

#[tokio::test(start_paused = true)]
async fn only_so_many_reviews_wait() {
    let (_cluster, server) = barren();
    let waiting: Vec<_> =
        (0..WAITING).map(|_| tokio::spawn(server.router.clone().oneshot(post_json(asking(&[]))))).collect();
    sleep(KNOWN_WITHIN / 4).await;
    let started = Instant::now();
    let (status, headers, _) = server.send(post_json(asking(&[]))).await;
    assert_eq!((status, started.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, Duration::ZERO));
    assert_eq!(headers[header::RETRY_AFTER], "1");
    server.assert_metric(r#"scaivault_injector_shed_total{reason="waiting"} 1"#);
    assert_eq!(server.send(post_json(review(&[]))).await.0, StatusCode::OK, "other reviews are answered");
    for one in waiting {
        assert_eq!(one.await.unwrap().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

/// A body that never arrives.
struct Never;

impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_does_not_block_reviews() {
    let server = server(Limits { requests: 1, ..Limits::default() });
    let first = tokio::spawn(server.router.clone().oneshot(post_json(Body::new(Never))));
    tokio::task::yield_now().await;
    assert_eq!(server.send(post_json(review(&[]))).await.0, StatusCode::OK);
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::REQUEST_TIMEOUT);
}

/// A cluster whose lookup blocks until the test releases it.
struct BlockingCluster {
    entered: tokio::sync::mpsc::Sender<()>,
    go_on: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Cluster for BlockingCluster {
    fn namespace(&self, name: &str) -> Lookup<Arc<Namespace>> {
        if name == "slow" {
            self.entered.blocking_send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
        NoCluster.namespace(name)
    }

    fn service_account_role(&self, namespace: &str, service_account: &str) -> Lookup<Option<Arc<str>>> {
        NoCluster.service_account_role(namespace, service_account)
    }

    fn changes(&self) -> watch::Receiver<()> {
        NoCluster.changes()
    }
}

#[tokio::test]
async fn too_many_requests_are_shed() {
    let (entered, mut has_entered) = tokio::sync::mpsc::channel(1);
    let (go, go_on) = std::sync::mpsc::channel();
    let namespaces = Arc::new(BlockingCluster { entered, go_on: go_on.into() });
    let context = Arc::new(AdmissionContext::new(Settings::default(), KubeVersion::OLDEST, namespaces));
    let metrics = Metrics::new();
    let limits = Limits { requests: 1, ..Limits::default() };
    let server =
        Server { router: router(context, Arc::clone(&metrics), PodEvents::default(), limits), metrics };

    let padding = format!("\"app\":\"{}\"", "x".repeat(LARGE_BODY_BYTES));
    let slow = review(&[("\"app\":\"web\"", &padding), ("\"shop\"", "\"slow\"")]);
    let first = tokio::spawn(server.router.clone().oneshot(post_json(slow)));
    has_entered.recv().await.unwrap();
    server.assert_metric("scaivault_injector_requests_in_flight 1");

    let (status, headers, _) = server.send(post_json(review(&[]))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[header::RETRY_AFTER], "1");
    server.assert_metric(r#"scaivault_injector_shed_total{reason="requests"} 1"#);

    go.send(()).unwrap();
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(server.send(post_json(review(&[]))).await.0, StatusCode::OK, "the place is free again");
}

#[tokio::test]
async fn large_reviews_do_not_block_small_ones() {
    let (entered, mut has_entered) = tokio::sync::mpsc::channel(1);
    let (go, go_on) = std::sync::mpsc::channel();
    let namespaces = Arc::new(BlockingCluster { entered, go_on: go_on.into() });
    let context = Arc::new(AdmissionContext::new(Settings::default(), KubeVersion::OLDEST, namespaces));
    let metrics = Metrics::new();
    let router = router(context, Arc::clone(&metrics), PodEvents::default(), Limits::default());
    let server = Server { router, metrics };
    let padded = |bytes: usize, namespace: &str| {
        let padding = format!("\"app\":\"{}\"", "x".repeat(bytes));
        post_json(review(&[("\"app\":\"web\"", &padding), ("\"shop\"", namespace)]))
    };
    let large: Vec<_> = (0..3)
        .map(|_| tokio::spawn(server.router.clone().oneshot(padded(LARGE_BODY_BYTES, "\"slow\""))))
        .collect();
    has_entered.recv().await.unwrap();
    for other in [post_json(review(&[])), padded(MEDIUM_BODY_BYTES, "\"shop\"")] {
        assert_eq!(server.send(other).await.0, StatusCode::OK);
    }
    assert!(has_entered.try_recv().is_err(), "one large review is decided at a time");
    for _ in 0..3 {
        go.send(()).unwrap();
    }
    has_entered.recv().await.unwrap();
    has_entered.recv().await.unwrap();
    for one in large {
        assert_eq!(one.await.unwrap().unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn too_many_bytes_are_shed() {
    let padding = format!("\"app\":\"{}\"", "x".repeat(LARGE_BODY_BYTES));
    let large = review(&[("\"app\":\"web\"", &padding)]);
    let server = server(Limits { buffered_bytes: LARGE_BODY_BYTES / 2, ..Limits::default() });
    let (status, headers, _) = server.send(post_json(large)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[header::RETRY_AFTER], "1");
    server.assert_metric(r#"scaivault_injector_shed_total{reason="memory"} 1"#);
    assert_eq!(server.send(post_json(review(&[]))).await.0, StatusCode::OK, "a small one needs no room");
}
