use scaivault_inject::{KubeVersion, Settings};
use serde_json::json;

use super::*;

fn collector() -> Collector {
    Collector::new(OfflineCluster::new(Settings::default(), KubeVersion::OLDEST))
}

fn note(collector: &mut Collector, value: &Value) {
    for object in crate::object::objects(value) {
        collector.note(&object, None);
    }
}

fn finish(collector: Collector) -> Audit {
    collector.finish(Source::Manifests { files: 1 }, String::new())
}

fn deployment(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"template": {"spec": spec}}})
}

fn mounting(secret: &str) -> Value {
    json!({
        "serviceAccountName": "robot",
        "containers": [{"name": "app", "image": "app:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "secret": {"secretName": secret}}],
    })
}

#[test]
fn a_secret_is_joined_with_its_writer_and_its_token() {
    let mut collector = collector();
    for object in [
        json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "es", "namespace": "shop"},
            "spec": {"target": {"name": "db"}}}),
        // In another namespace.
        json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "other", "namespace": "x"},
            "spec": {"target": {"name": "db"}}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": "shop"},
            "automountServiceAccountToken": false, "secrets": [{"name": "robot-token-abcde"}, {"name": "robot-dockercfg-x"}]}),
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "data": {"token": "bm90IHJlYWQ="},
            "metadata": {"name": "ci", "namespace": "shop", "annotations": {"kubernetes.io/service-account.name": "robot"}}}),
    ] {
        note(&mut collector, &object);
    }
    for (name, secret) in [("web", "db"), ("ci", "ci")] {
        collector.document(&deployment(name, &mounting(secret)), None);
    }
    let audit = finish(collector);
    let [ci, web] = audit.workloads.as_slice() else { panic!("{audit:?}") };
    assert_eq!(web.native_secrets[0].written_by, [Writer { kind: "ExternalSecret", name: "es".to_owned() }]);
    assert_eq!(ci.native_secrets[0].token_of.as_deref(), Some("robot"));
    assert_eq!((web.tokens.api_token, web.stage), (Some(false), Stage::Native));
    let tokens: Vec<_> =
        audit.long_lived_tokens.iter().map(|t| (t.secret.as_str(), t.used_by.as_slice())).collect();
    assert_eq!(tokens, [("ci", ["deployment/ci".to_owned()].as_slice()), ("robot-token-abcde", &[])]);
    assert!(!format!("{audit:?}").contains("bm90IHJlYWQ="));
}

#[test]
fn the_problems_are_those_of_check() {
    let mut collector = collector();
    let mut document = deployment("web", &mounting("db"));
    document["spec"]["template"]["metadata"] = json!({"annotations": {"scaivault.scailabs.ai/inject-secret-db": "../x", "scaivault.scailabs.ai/refresh-interval": "x"}});
    collector.document(&document, None);
    let audit = finish(collector);
    assert_eq!((audit.workloads[0].stage, audit.workloads[0].becomes.problems.len()), (Stage::Refused, 2));
    assert!(audit.has_problems());
}

fn policy(generation: i64, path: &str) -> Value {
    json!({"apiVersion": "scaivault.scailabs.ai/v1alpha1", "kind": "InjectionPolicy",
        "metadata": {"name": "shop", "generation": generation},
        "spec": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}},
            "inject": {"secrets": [{"name": "db.json", "path": path}]}}})
}

#[test]
fn a_workload_is_moved_by_a_policy_without_annotations() {
    let mut collector = collector();
    note(&mut collector, &policy(3, "environments/production/db"));
    collector.settle_policies();
    collector.document(&deployment("web", &json!({"containers": [{"name": "app", "image": "app:1"}]})), None);
    let audit = finish(collector);
    let web = &audit.workloads[0];
    let row = PolicyRow {
        name: "shop".to_owned(),
        generation: 3,
        effect: "injected".to_owned(),
        message: Some("db.json".to_owned()),
    };
    assert_eq!((web.stage, web.policies.as_slice()), (Stage::Moved, [row].as_slice()));
}

#[test]
fn the_generation_in_force_replaces_an_invalid_one() {
    let mut collector = collector();
    let mut broken = policy(4, "../x");
    let mut good = policy(3, "environments/production/db");
    broken["status"] = json!({"inForce": {"generation": 3, "spec": good["spec"].take()}});
    note(&mut collector, &broken);
    collector.settle_policies();
    collector.document(&deployment("web", &json!({"containers": [{"name": "app", "image": "app:1"}]})), None);
    let audit = finish(collector);
    assert_eq!(audit.workloads[0].policies[0].generation, 3);
    assert_eq!(audit.errors[0].what, "injectionpolicy/shop");
    assert_eq!(audit.errors[0].fix.as_deref(), Some("correct it; generation 3 is in force"));
}

/// A pod injected with an older generation of its policy, and a pod that is older than the policy.
#[test]
fn pods_of_an_older_policy_have_drifted() {
    let pod = json!({"metadata": {"name": "a", "namespace": "shop"},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]}, "status": {"phase": "Running"}});
    let mut before = collector();
    note(&mut before, &policy(3, "environments/production/db"));
    before.settle_policies();
    let (text, shop) = (pod.to_string(), before.cluster.namespace("shop"));
    let view = scaivault_inject::PodView::parse(&text).unwrap();
    let decision = scaivault_inject::decide(&view, &before.context(&shop, None));
    let mut injected = pod.clone();
    crate::apply::apply(&mut injected, decision.patch().unwrap()).unwrap();
    for (generation, path, expected) in [
        (3, "environments/production/db", vec![]),
        (4, "environments/production/db", vec!["policy shop@3 is now shop@4", "the injection is the same"]),
        (5, "environments/production/new", vec!["policy shop@3 is now shop@5", "SECRETS of scaivault-init"]),
    ] {
        let mut now = collector();
        note(&mut now, &policy(generation, path));
        now.settle_policies();
        now.live_pod(&injected.to_string(), &injected);
        now.live_pod(
            &pod.to_string().replace("\"a\"", "\"old\""),
            &serde_json::from_str(&pod.to_string().replace("\"a\"", "\"old\"")).unwrap(),
        );
        let audit = finish(now);
        let drifted: Vec<_> =
            audit.workloads.iter().flat_map(|workload| &workload.pods.as_ref().unwrap().drifted).collect();
        let by_name = |name: &str| drifted.iter().find(|pod| pod.name == name);
        assert_eq!(by_name("a").map(|pod| pod.differences.clone()).unwrap_or_default(), expected);
        assert_eq!(by_name("old").unwrap().state, scaivault_audit::PodState::NotInjected);
    }
}

#[test]
fn objects_without_pods_are_no_workloads() {
    let mut collector = collector();
    for object in [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}),
        json!({"not": "an object"}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "patch"}, "spec": {"replicas": 2}}),
    ] {
        collector.document(&object, None);
    }
    assert!(finish(collector).workloads.is_empty());
}

fn live_pod(collector: &mut Collector, name: &str, phase: &str, owner: Option<(&str, &str, &str)>) {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        "status": {"phase": phase},
    });
    if let Some((api_version, kind, name)) = owner {
        pod["metadata"]["ownerReferences"] =
            json!([{"apiVersion": api_version, "kind": kind, "name": name, "controller": true, "uid": "1"}]);
    }
    collector.live_pod(&pod.to_string(), &pod);
}

#[test]
fn pods_are_counted_for_their_topmost_owner() {
    let mut collector = collector();
    let key = |version: &str, kind: &str, name: &str| ObjectKey::new("shop", version, kind, name);
    collector.live_workload(&deployment("web", &mounting("db")), key("apps/v1", "Deployment", "web"));
    let set = json!({"metadata": {"name": "web-1", "namespace": "shop", "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "controller": true}]}});
    assert!(collector.is_owned(&set, key("apps/v1", "ReplicaSet", "web-1")));
    for (name, phase, owner) in [
        ("web-1-a", "Running", Some(("apps/v1", "ReplicaSet", "web-1"))),
        ("web-1-b", "Pending", Some(("apps/v1", "ReplicaSet", "web-1"))),
        ("web-1-c", "Succeeded", Some(("apps/v1", "ReplicaSet", "web-1"))),
        ("flow-a", "Running", Some(("argoproj.io/v1alpha1", "Workflow", "flow"))),
        ("flow-b", "Running", Some(("argoproj.io/v1alpha1", "Workflow", "flow"))),
        ("static-node-1", "Running", Some(("v1", "Node", "node-1"))),
        ("alone", "Running", None),
    ] {
        live_pod(&mut collector, name, phase, owner);
    }
    let audit = finish(collector);
    let rows: Vec<_> = audit
        .workloads
        .iter()
        .map(|workload| (workload.display_name(), workload.pods.as_ref().map_or(0, |pods| pods.total)))
        .collect();
    let expected = [("deployment/web", 2), ("pod/alone", 1), ("pod/static-node-1", 1), ("workflow/flow", 2)];
    assert_eq!(rows, expected.map(|(name, number)| (name.to_owned(), number)));
}
