//! Policies delivered by an API server whose answers the tests script.

use std::{
    thread,
    time::{Duration, Instant, UNIX_EPOCH},
};

use axum::http::StatusCode;
use scaivault_cluster::policies::{API_VERSION, KIND, Store};
use scaivault_inject::{KubeVersion, Namespace, Settings};
use scaivault_testkit::{api_server::ApiServer, eventually};
use scaivault_webhook::{
    AdmissionContext, Cluster as _, Endpoint, Lookup, Metrics, Readiness, review_to_response,
};
use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::cluster::{Features, follow_policies};

const LIST: &str = "/apis/scaivault.scailabs.ai/v1alpha1/injectionpolicies?&limit=500";
const WATCH: &str = "/apis/scaivault.scailabs.ai/v1alpha1/injectionpolicies?&watch=true";
const DISCOVERY: &str = "/apis/scaivault.scailabs.ai/v1alpha1";

const REVIEW: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u","namespace":"shop",
    "kind":{"group":"","version":"v1","kind":"Pod"},"operation":"CREATE","object":{"metadata":{"name":"web"},
    "spec":{"containers":[{"name":"app","image":"a"}]}}}}"#;

fn policy(name: &str, generation: u64, spec: &Value) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": KIND,
        "metadata": {"name": name, "uid": name, "generation": generation, "resourceVersion": generation.to_string()},
        "spec": spec,
    })
}

fn injecting(team: &str, path: &str) -> Value {
    json!({
        "namespaceSelector": {"matchLabels": {"team": team}},
        "inject": {"secrets": [{"name": "db.json", "path": path}]},
    })
}

fn list(items: &[Value]) -> Value {
    json!({"apiVersion": API_VERSION, "kind": "InjectionPolicyList", "metadata": {"resourceVersion": "1"}, "items": items})
}

fn discovery(verbs: &[&str]) -> Value {
    let resource =
        json!({"name": PLURAL, "singularName": "", "namespaced": false, "kind": KIND, "verbs": verbs});
    json!({"kind": "APIResourceList", "groupVersion": API_VERSION, "resources": [resource]})
}

struct Fixture {
    server: ApiServer,
    memory: Arc<ClusterCache>,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    _tasks: JoinSet<()>,
}

/// Namespaces and service accounts are cached; policies come from the server.
async fn start() -> Fixture {
    let server = ApiServer::start().await;
    let (memory, readiness, metrics) = (
        ClusterCache::new(Features { policies: true, ..Features::default() }),
        Readiness::new(),
        Metrics::new(),
    );
    let labels = [("team".to_owned(), "shop".to_owned())].into();
    let shop = Namespace { name: "shop".to_owned(), labels, ..Namespace::default() };
    memory.namespaces.insert(&"shop".into(), Arc::new(shop));
    memory.roles.insert(&"shop/default".into(), None);
    let mut tasks = JoinSet::new();
    follow_policies(&server.client(), &memory, &readiness, &metrics, &mut tasks);
    Fixture { server, memory, readiness, metrics, _tasks: tasks }
}

impl Fixture {
    /// Waits until the set in force satisfies `holds`.
    async fn until(&self, what: &str, holds: impl Fn(&PolicySet) -> bool) {
        let mut changes = self.memory.changes();
        let waiting = async {
            while !self.memory.policies.as_ref().unwrap().in_force().is_some_and(|set| holds(&set)) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_mins(1), waiting).await.expect(what);
    }

    /// Waits until one policy is counted in this state.
    async fn until_counted(&self, state: &str) {
        let line = format!("scaivault_injector_policies{{state=\"{state}\"}} 1\n");
        let is_counted = async || self.metrics.encode().unwrap().contains(&line).then_some(());
        eventually(Duration::from_mins(1), state, is_counted).await;
    }

    fn context(&self) -> AdmissionContext {
        let memory: Arc<ClusterCache> = Arc::clone(&self.memory);
        AdmissionContext::new(Settings::default(), KubeVersion::OLDEST, memory)
    }
}

fn decide(context: &AdmissionContext) -> String {
    String::from_utf8(review_to_response(Endpoint::Mutate, REVIEW.as_bytes(), context).body).unwrap()
}

#[tokio::test]
async fn pods_wait_until_all_policies_are_listed() {
    let mut fixture = start().await;
    let context = fixture.context();
    assert!(matches!(fixture.memory.policies(), Lookup::Unknown));
    assert!(decide(&context).contains("is not in the injector's cache yet"));
    assert_eq!(fixture.readiness.check(), Err("waiting for policies, policies in force".to_owned()));
    let more = json!({"metadata": {"resourceVersion": "1", "continue": "more"}, "items": [policy("a", 1, &injecting("x", "a/b"))]});
    fixture.server.answer(LIST, &more).await;
    let broken = policy("broken", 1, &json!({"namespaceSelector": 7}));
    let second = format!("{LIST}&continue=more");
    fixture.server.answer(&second, &list(&[broken, policy("b", 1, &injecting("shop", "a/b"))])).await;
    let _watch = fixture.server.watch(WATCH).await;
    fixture.until("two policies", |set| set.len() == 2).await;
    assert!(decide(&context).contains("b@1:injected"), "the broken one keeps no other out");
    assert_eq!(fixture.readiness.check(), Ok(()));
    let text = fixture.metrics.encode().unwrap();
    assert!(text.contains("scaivault_injector_policies{state=\"rejected\"} 1\n"), "{text}");
}

#[tokio::test]
async fn without_its_crd_a_replica_is_not_ready() {
    let mut fixture = start().await;
    fixture
        .server
        .refuse(LIST, StatusCode::NOT_FOUND, "the server could not find the requested resource")
        .await;
    assert!(fixture.readiness.check().is_err());
    assert!(matches!(fixture.memory.policies(), Lookup::Unknown));
}

#[tokio::test]
async fn a_deleted_policy_ends_unless_its_crd_was_deleted() {
    let mut fixture = start().await;
    let all: Vec<_> = ["a", "b"].iter().map(|name| policy(name, 1, &injecting("shop", "a/b"))).collect();
    fixture.server.answer(LIST, &list(&all)).await;
    let watch = fixture.server.watch(WATCH).await;
    fixture.until("two policies", |set| set.len() == 2).await;
    watch.send("DELETED", &all[0]).await;
    fixture.server.answer(DISCOVERY, &discovery(&["create", "list", "watch"])).await;
    fixture.until("the end of one", |set| set.len() == 1).await;

    // The API server deletes the remaining objects before the CRD.
    watch.send("DELETED", &all[1]).await;
    fixture.server.answer(DISCOVERY, &discovery(&["delete", "list", "watch"])).await;
    watch.send("ADDED", &policy("c", 2, &injecting("shop", "a/c"))).await;
    fixture.server.answer(DISCOVERY, &discovery(&["delete", "list", "watch"])).await;
    fixture.until("another policy", |set| set.iter().any(|policy| &**policy.name() == "c")).await;
    let set = fixture.memory.policies.as_ref().unwrap().in_force().unwrap();
    assert!(set.iter().any(|policy| &**policy.name() == "b"), "it stays in force");
}

/// After an upgrade: the previous release has accepted the policy, and this one rejects it.
#[tokio::test]
async fn a_replica_that_would_drop_a_policy_in_force_is_not_ready() {
    let mut fixture = start().await;
    let context = fixture.context();
    let mut rejected = policy("limits", 1, &json!({"namespaceSelector": {}, "enforcement": "sometimes"}));
    rejected["status"] = json!({"observedGeneration": 1, "conditions": [{"type": "Accepted", "status": "True",
        "reason": "InForce", "message": "x", "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}]});
    fixture.server.answer(LIST, &list(&[rejected, policy("b", 1, &injecting("shop", "a/b"))])).await;
    let watch = fixture.server.watch(WATCH).await;
    fixture.until_counted("rejected").await;
    assert_eq!(fixture.readiness.check(), Err("waiting for policies in force".to_owned()));
    assert!(decide(&context).contains("is not in the injector's cache yet"));
    watch.send("MODIFIED", &policy("limits", 2, &json!({"namespaceSelector": {}}))).await;
    fixture.until("both policies", |set| set.len() == 2).await;
    assert_eq!(fixture.readiness.check(), Ok(()));
}

#[tokio::test]
async fn a_changed_policy_does_not_wait_for_another_one() {
    let mut fixture = start().await;
    let all: Vec<_> = ["a", "b"].iter().map(|name| policy(name, 1, &injecting("shop", "a/b"))).collect();
    fixture.server.answer(LIST, &list(&all)).await;
    let watch = fixture.server.watch(WATCH).await;
    fixture.until("two policies", |set| set.len() == 2).await;
    watch.send("DELETED", &all[0]).await;
    watch.send("MODIFIED", &policy("b", 2, &injecting("shop", "a/c"))).await;
    fixture.until("the change", |set| set.iter().any(|policy| policy.generation() == 2)).await;
    assert_eq!(fixture.memory.policies.as_ref().unwrap().in_force().unwrap().len(), 2);
    let refusal = "discovery is forbidden";
    fixture.server.refuse(DISCOVERY, StatusCode::FORBIDDEN, refusal).await;
    fixture.until_counted("held").await;
    fixture.server.answer(DISCOVERY, &discovery(&["create"])).await;
    fixture.until("the end of one", |set| set.len() == 1).await;
}

#[tokio::test]
async fn a_policy_that_had_no_room_is_read_when_it_has() {
    let mut fixture = start().await;
    let spec = injecting("shop", "a/b");
    *fixture.memory.policies.as_ref().unwrap().cache.store() = Store::with_limit(spec.to_string().len() + 10);
    let all: Vec<_> = ["a", "b"].iter().map(|name| policy(name, 1, &spec)).collect();
    fixture.server.answer(LIST, &list(&all)).await;
    let watch = fixture.server.watch(WATCH).await;
    fixture.until("one policy", |set| set.len() == 1).await;
    watch.send("DELETED", &all[0]).await;
    fixture.server.answer(DISCOVERY, &discovery(&["create"])).await;
    fixture.server.answer("/apis/scaivault.scailabs.ai/v1alpha1/injectionpolicies/b", &all[1]).await;
    fixture.until("the other one", |set| set.iter().any(|policy| &**policy.name() == "b")).await;
}

#[tokio::test]
async fn a_slow_clock_extends_no_exception() {
    const WRITTEN: i64 = 1_801_353_600;
    let mut fixture = start().await;
    let mut late = policy("late", 1, &injecting("shop", "a/b"));
    late["metadata"]["creationTimestamp"] = json!("2027-01-31T00:00:00Z");
    fixture.server.answer(LIST, &list(&[late])).await;
    let _watch = fixture.server.watch(WATCH).await;
    fixture.until("the policy", |set| set.len() == 1).await;
    let now =
        |seconds: i64| fixture.memory.clock.now(UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs()));
    assert_eq!([now(0), now(WRITTEN + 7)], [WRITTEN, WRITTEN + 7]);
}

/// Measures consecutive decisions during another activity and returns the 99th percentile of their
/// duration.
fn p99(context: &AdmissionContext, is_over: impl Fn(usize) -> bool) -> Duration {
    let mut times = Vec::new();
    while !is_over(times.len()) {
        let started = Instant::now();
        let answer = review_to_response(Endpoint::Mutate, REVIEW.as_bytes(), context);
        times.push(started.elapsed());
        assert!(answer.status.is_success());
    }
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_edits_does_not_slow_decisions() {
    const POLICIES: u64 = 1_000;
    const EDITS: u64 = 1_000;
    let mut fixture = start().await;
    let items: Vec<_> = (0..POLICIES)
        .map(|n| policy(&format!("p-{n}"), 1, &injecting(&format!("team-{n}"), "a/b")))
        .collect();
    let mut all = items.clone();
    all.push(policy("used", 1, &injecting("shop", "a/used")));
    fixture.server.answer(LIST, &list(&all)).await;
    let watch = fixture.server.watch(WATCH).await;
    fixture.until("all policies", |set| set.len() > 1_000).await;
    let context = Arc::new(fixture.context());
    let before = p99(&context, |count| count >= 2_000);

    let (over, is_over) = std::sync::mpsc::channel::<()>();
    let asked = Arc::clone(&context);
    let decisions = thread::spawn(move || p99(&asked, |count| count >= 2_000 && is_over.try_recv().is_ok()));
    let started = Instant::now();
    for edit in 0..EDITS {
        let name = format!("p-{}", edit % POLICIES);
        watch.send("MODIFIED", &policy(&name, edit + 2, &injecting("elsewhere", "a/c"))).await;
    }
    fixture
        .until("the last edit", |set| {
            set.iter().any(|policy| policy.generation() > i64::try_from(EDITS).unwrap())
        })
        .await;
    let took = started.elapsed();
    over.send(()).unwrap();
    let during = tokio::task::spawn_blocking(move || decisions.join().unwrap()).await.unwrap();
    let text = fixture.metrics.encode().unwrap();
    let sets =
        text.lines().find_map(|line| line.strip_prefix("scaivault_injector_policy_set_changes_total "));
    let sets: u64 = sets.unwrap().parse().unwrap();
    eprintln!(
        "p99 of decisions: {before:?} before, {during:?} during {EDITS} edits in {took:?}; {sets} sets were built"
    );
    assert!(during < before * 20 + Duration::from_millis(20), "{during:?} instead of {before:?}");
    assert!(sets < 100, "{sets} sets were built: changes are gathered");
}
