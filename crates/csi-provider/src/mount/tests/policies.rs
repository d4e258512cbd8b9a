//! Mounts under `InjectionPolicies` from an API server with scripted answers.

use axum::http::StatusCode;
use scaivault_testkit::api_server::WatchAnswer;

use super::*;

const PODS: &str = "/api/v1/pods?";
const NAMESPACES: &str = "/api/v1/namespaces?";
const POLICIES: &str = "/apis/scaivault.scailabs.ai/v1alpha1/injectionpolicies?";
const DISCOVERY: &str = "/apis/scaivault.scailabs.ai/v1alpha1";

fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "scaivault.scailabs.ai/v1alpha1", "kind": "InjectionPolicy",
        "metadata": {"name": name, "uid": name, "generation": 1, "resourceVersion": "1"}, "spec": spec,
    })
}

/// A policy for namespaces of the team `billing`.
fn limiting(name: &str, paths: &[&str]) -> Value {
    policy(
        name,
        &json!({"namespaceSelector": {"matchLabels": {"team": "billing"}}, "allow": {"paths": paths}}),
    )
}

fn pod(labels: &Value) -> Value {
    json!({"metadata": {
        "namespace": "billing", "name": "web-0", "uid": "u-0", "labels": labels, "annotations": {"tier": "gold"},
    }})
}

fn namespace(labels: &Value) -> Value {
    json!({"metadata": {"name": "billing", "labels": labels}})
}

fn list(items: &[Value]) -> Value {
    json!({"metadata": {"resourceVersion": "7"}, "items": items})
}

/// The answers of the API server and its open watches. Lists and watches of three kinds arrive in any order.
struct Cluster {
    api: ApiServer,
    watches: Vec<(&'static str, WatchAnswer)>,
}

impl Cluster {
    /// Answers the first list and the first watch of each of these kinds.
    async fn bring(&mut self, mut lists: Vec<(&'static str, Value)>) {
        let kinds: Vec<_> = lists.iter().map(|(kind, _)| *kind).collect();
        let mut watches = lists.iter().filter(|(_, list)| list["code"].is_null()).count();
        while !lists.is_empty() || watches > 0 {
            let request = self.api.request().await;
            let kind = kinds.iter().find(|kind| request.target().starts_with(**kind));
            let kind = *kind.unwrap_or_else(|| panic!("asked for {}", request.target()));
            if request.target().contains("watch=true") {
                self.watches.push((kind, request.watch()));
                watches -= 1;
            } else {
                let at = lists.iter().position(|(found, _)| *found == kind).unwrap();
                match lists.remove(at).1 {
                    missing if missing["code"] == 404 => request.refuse(StatusCode::NOT_FOUND, "not found"),
                    list => request.answer(&list),
                }
            }
        }
    }

    async fn send(&self, kind: &str, event: &str, object: &Value) {
        let (_, watch) = self.watches.iter().find(|(found, _)| *found == kind).unwrap();
        watch.send(event, object).await;
    }
}

/// A node whose provider applies policies and whose API server has not answered yet.
async fn start(deadlines: Deadlines) -> (Node, Cluster) {
    let mut node = Node::new().await;
    let api = ApiServer::start().await;
    node.follow(&api.client(), deadlines).await;
    (node, Cluster { api, watches: Vec::new() })
}

/// The same with these policies, the pod `web-0` and its namespace.
async fn start_with(policies: &[Value]) -> (Node, Cluster) {
    bring_policies(start(DEADLINES).await, policies).await
}

async fn bring_policies((node, mut cluster): (Node, Cluster), policies: &[Value]) -> (Node, Cluster) {
    let lists = vec![
        (PODS, list(&[pod(&json!({"app": "web"}))])),
        (NAMESPACES, list(&[namespace(&json!({"team": "billing"}))])),
        (POLICIES, list(policies)),
    ];
    cluster.bring(lists).await;
    until(|| node.is_ready()).await;
    (node, cluster)
}

fn objects(path: &str) -> String {
    format!("[{{path: '{path}', file: f}}]")
}

async fn until_refused(node: &Node, path: &str, is_refused: bool) {
    eventually(LIMIT, path, async || {
        (node.mount_objects(&objects(path)).await.is_err() == is_refused).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_path_outside_of_the_list_is_refused_by_name() {
    let (node, _cluster) = start_with(&[limiting("team-billing", &["app/**"])]).await;
    assert!(node.mount_objects(OBJECTS).await.is_ok());
    let status = node.mount_objects(&objects("pods/web-0")).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let expected = "objects[0] (f): \"pods/web-0\": policy team-billing does not allow this path; allowed: app/**; to fix: name another \
                    path, or have it added to allow.paths of the policy or to an exception [policy-limit]";
    assert_eq!(status.message(), expected);
    let metrics = node.provider.metrics();
    for line in [
        "mounts_total{outcome=\"policy\"} 1",
        "policies{state=\"in_force\"} 1",
        "policy_effects_total{policy=\"team-billing\",effect=\"refused\"} 1",
    ] {
        assert!(metrics.contains(&format!("scaivault_csi_provider_{line}\n")), "{line}: {metrics}");
    }
    node.check_requests(1, 2);
}

#[tokio::test]
async fn a_changed_policy_applies_at_the_next_call() {
    let (node, cluster) = start_with(&[limiting("p", &["app/**"])]).await;
    assert!(node.mount_objects(&objects("app/stripe")).await.is_ok());
    let mut changed = limiting("p", &["pods/${pod}"]);
    changed["metadata"]["generation"] = json!(2);
    cluster.send(POLICIES, "MODIFIED", &changed).await;
    until_refused(&node, "app/stripe", true).await;
    assert!(node.mount_objects(&objects("pods/web-0")).await.is_ok());
    // An invalid version: the last valid one stays in force.
    let mut broken = policy("p", &json!({"namespaceSelector": {}, "enforcement": "sometimes"}));
    broken["metadata"]["generation"] = json!(3);
    cluster.send(POLICIES, "MODIFIED", &broken).await;
    until(|| node.provider.metrics().contains("policies{state=\"kept\"} 1\n")).await;
    assert!(node.mount_objects(&objects("app/stripe")).await.is_err());
    assert!(node.mount_objects(&objects("pods/web-0")).await.is_ok());
}

#[tokio::test]
async fn nothing_is_mounted_before_all_is_known() {
    let (node, mut cluster) = start(DEADLINES).await;
    assert!(!node.is_ready());
    let refused = async |missing: &str| {
        let status = node.mount_objects(&objects("app/stripe")).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(status.message().starts_with(missing), "{status}");
    };
    refused("the InjectionPolicies of the mount for billing/web-0 is not known").await;
    cluster.bring(vec![(NAMESPACES, list(&[])), (POLICIES, list(&[])), (PODS, list(&[]))]).await;
    until(|| node.is_ready()).await;
    refused("the pod of the mount").await;
    // A new pod with the same name is another pod.
    let mut other = pod(&json!({}));
    other["metadata"]["uid"] = json!("u-9");
    cluster.send(PODS, "ADDED", &other).await;
    refused("the pod of the mount").await;
    cluster.send(PODS, "ADDED", &pod(&json!({}))).await;
    refused("the pod's namespace of the mount").await;
    node.check_requests(0, 0);
    cluster.send(NAMESPACES, "ADDED", &namespace(&json!({}))).await;
    until_refused(&node, "app/stripe", false).await;
}

#[tokio::test]
async fn a_mount_waits_for_an_unknown_pod() {
    let patient = Deadlines { facts: Duration::from_mins(1), mount: Duration::from_mins(1), ..DEADLINES };
    let (node, cluster) = bring_policies(start(patient).await, &[]).await;
    let attributes = node.attributes(("web-1", "u-1"), &objects("app/stripe"));
    let mut new = pod(&json!({}));
    new["metadata"]["name"] = json!("web-1");
    new["metadata"]["uid"] = json!("u-1");
    let (answer, ()) = tokio::join!(node.mount(attributes), cluster.send(PODS, "ADDED", &new));
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn without_the_crd_nothing_is_limited() {
    let (node, mut cluster) = start(DEADLINES).await;
    let missing = json!({"code": 404});
    let lists = vec![
        (NAMESPACES, list(&[namespace(&json!({}))])),
        (PODS, list(&[pod(&json!({}))])),
        (POLICIES, missing),
    ];
    cluster.bring(lists).await;
    until(|| node.is_ready()).await;
    assert!(node.mount_objects(&objects("app/stripe")).await.is_ok());
}

#[tokio::test]
async fn a_deleted_crd_lifts_no_limit() {
    let limits = limiting("p", &["pods/**"]);
    let (node, mut cluster) = start_with(std::slice::from_ref(&limits)).await;
    cluster.send(POLICIES, "DELETED", &limits).await;
    let leaving =
        json!({"kind": "APIResourceList", "groupVersion": "scaivault.scailabs.ai/v1alpha1", "resources": []});
    cluster.api.answer(DISCOVERY, &leaving).await;
    until(|| node.provider.metrics().contains("policies{state=\"held\"} 1\n")).await;
    assert!(node.mount_objects(&objects("app/stripe")).await.is_err());
}

#[tokio::test]
async fn variables_come_from_pod_node_and_namespace() {
    let environment = json!({"namespaceSelector": {}, "environment": "app"});
    let (node, cluster) = start_with(&[policy("environments", &environment)]).await;
    for path in ["${environment}/stripe", "pods/${pod}", "pods/${label:app}-0"] {
        assert!(node.mount_objects(&objects(path)).await.is_ok(), "{path}");
    }
    for (path, read) in [("${node}/x", "node-a/x"), ("${annotation:tier}/x", "gold/x")] {
        let status = node.mount_objects(&objects(path)).await.unwrap_err();
        assert!(status.message().contains(read), "{path}: {status}");
    }
    // Text that a pod's author writes into a label never becomes a part of a path.
    for value in ["../other", "web/../../other", "a b", "web#key", "*"] {
        let mut forged = pod(&json!({"app": value}));
        forged["metadata"]["resourceVersion"] = json!("9");
        cluster.send(PODS, "MODIFIED", &forged).await;
        let path = objects("pods/${label:app}-0");
        let refused = eventually(LIMIT, "a refusal", async || node.mount_objects(&path).await.err());
        let status = refused.await;
        assert!(
            status.code() == Code::InvalidArgument && status.message().contains("${label:app}"),
            "{status}"
        );
    }
}

#[tokio::test]
async fn warn_and_audit_mount_and_are_counted() {
    let under = |name: &str, enforcement: &str| {
        let mut policy = limiting(name, &["app/**"]);
        policy["spec"]["enforcement"] = json!(enforcement);
        policy
    };
    let (node, _cluster) = start_with(&[under("w", "warn"), under("a", "audit")]).await;
    assert!(node.mount_objects(&objects("pods/web-0")).await.is_ok());
    let metrics = node.provider.metrics();
    for line in ["{policy=\"a\",effect=\"audited\"} 1", "{policy=\"w\",effect=\"warned\"} 1"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

/// Pods that request secrets of another pod's policies: by a class in their own namespace, by attributes of
/// the volume, or by dynamic credentials.
#[tokio::test]
async fn a_tenant_cannot_leave_the_policies() {
    let mut limits = limiting("p", &["app/stripe"]);
    limits["spec"]["allow"]["dynamic"] = json!(["postgres/readwrite"]);
    limits["spec"]["allow"]["roles"] = json!([]);
    let (node, _cluster) = start_with(&[limits]).await;
    for (objects, said) in [
        ("[{path: app/stripe, file: a}, {path: other/secret, file: b}]", "objects[1] (b): \"other/secret\""),
        ("[{path: 'x=app/stripe y=other/secret', file: a, template: '{{ 1 }}'}]", "\"other/secret\""),
        ("[{path: other/secret, file: a, optional: true}]", "\"other/secret\""),
        ("[{path: 'app/${POD_NAMESPACE}', file: a}]", "\"app/billing\""),
        (
            "[{engine: postgres, role: readonly, file: a}]",
            "\"postgres/readonly\": policy p does not allow this engine",
        ),
    ] {
        let status = node.mount_objects(objects).await.unwrap_err();
        assert!(
            status.code() == Code::PermissionDenied && status.message().contains(said),
            "{objects}: {status}"
        );
    }
    node.check_requests(0, 0);
    // The kubelet's attributes cannot be overridden, and a pod of another namespace is not known by that
    // name.
    let mut attributes = node.attributes(("web-0", "u-0"), &objects("app/stripe"));
    attributes.insert("csi.storage.k8s.io/pod.namespace".to_owned(), json!("free"));
    assert_eq!(node.mount(attributes).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_pod_with_too_many_labels_is_not_mounted() {
    let (node, cluster) = start_with(&[limiting("p", &["app/**"])]).await;
    let labels: Map<_, _> = (0..1_000).map(|n| (format!("label-{n}"), json!("x".repeat(60)))).collect();
    cluster.send(PODS, "MODIFIED", &pod(&Value::from(labels))).await;
    until_refused(&node, "app/stripe", true).await;
    let status = node.mount_objects(&objects("app/stripe")).await.unwrap_err();
    assert!(status.message().contains("the pod has more than 32768 bytes of labels"), "{status}");
}
