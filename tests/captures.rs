//! Reviews that a real API server (Kubernetes 1.36.2) sent, byte for byte, with their expected
//! results.
//!
//! They run through the core alone and through the program over TLS.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod server;

use std::{collections::BTreeSet, fs, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use scaivault_inject::{
    Context, InjectorConfig, KubeVersion, Namespace, PodView, Settings, decide, workload::WorkloadKind,
};
use scaivault_testkit::{apply, inspect, users_content};
use serde_json::{Value, json};

use crate::server::Server;

/// Outcome and reason in the answer's audit annotations.
type Words = (&'static str, &'static str);

const INJECTED: Words = ("injected", "init");
const NOT_ANNOTATED: Words = ("skipped", "not-annotated");
const OPTED_OUT: Words = ("skipped", "opted-out");
const UPDATE: Words = ("ignored", "update");
const DELETE: Words = ("ignored", "delete");
const SUBRESOURCE: Words = ("ignored", "subresource");
const NOT_A_POD: Words = ("ignored", "not-a-pod");

const CAPTURES: &[(&str, Words)] = &[
    ("0001-Pod-CREATE-plain.json", NOT_ANNOTATED),
    ("0003-Pod-CREATE-plain-annotated.json", INJECTED),
    ("0005-Pod-CREATE-multi-annotated.json", INJECTED),
    ("0007-Pod-CREATE-with-init.json", INJECTED),
    ("0009-Pod-CREATE-native-sidecar.json", INJECTED),
    ("0011-Pod-CREATE-secured.json", INJECTED),
    ("0013-Pod-CREATE-hostnet.json", INJECTED),
    ("0015-Pod-CREATE-gen-GEN.json", INJECTED),
    ("0017-Pod-CREATE-opted-out.json", OPTED_OUT),
    ("0019-Pod-CREATE-reinvoked.json", INJECTED),
    ("0020-Pod-CREATE-reinvoked.json", INJECTED),
    ("0021-Pod-CREATE-reinvoked.json", INJECTED),
    ("0023-Pod-CREATE-v1beta1.json", INJECTED),
    ("0024-Pod-CREATE-v1beta1.json", INJECTED),
    ("0026-Pod-CREATE-client-apply.json", INJECTED),
    ("0028-Pod-CREATE.dryrun-dry.json", INJECTED),
    ("0029-Pod-CREATE.dryrun-dry-ssa.json", INJECTED),
    ("0030-Pod-CREATE-ssa.json", INJECTED),
    ("0032-Pod-UPDATE-plain-annotated.json", UPDATE),
    ("0033-Pod-UPDATE-plain.json", UPDATE),
    ("0034-Pod-UPDATE-plain-annotated.json", UPDATE),
    ("0035-Pod.ephemeralcontainers-UPDATE-plain-annotated.json", SUBRESOURCE),
    ("0036-Pod.resize-UPDATE-plain-annotated.json", SUBRESOURCE),
    ("0037-TokenRequest.token-CREATE-billing.json", SUBRESOURCE),
    ("0038-Eviction.eviction-CREATE-opted-out.json", SUBRESOURCE),
    ("0039-Deployment-CREATE-dep.json", NOT_A_POD),
    ("0040-ReplicaSet-CREATE-dep-6cbf7bd9cc.json", NOT_A_POD),
    ("0041-Pod-CREATE-dep-6cbf7bd9cc-GEN.json", INJECTED),
    ("0042-Pod-CREATE-dep-6cbf7bd9cc-GEN.json", INJECTED),
    ("0045-Deployment-CREATE-dep-plain.json", NOT_A_POD),
    ("0046-ReplicaSet-CREATE-dep-plain-c6667c56c.json", NOT_A_POD),
    ("0047-Pod-CREATE-dep-plain-c6667c56c-GEN.json", NOT_ANNOTATED),
    ("0049-StatefulSet-CREATE-sts.json", NOT_A_POD),
    ("0050-Pod-CREATE-sts-0.json", INJECTED),
    ("0052-DaemonSet-CREATE-ds.json", NOT_A_POD),
    ("0053-Job-CREATE-job.json", NOT_A_POD),
    ("0054-Pod-CREATE-job-GEN.json", INJECTED),
    ("0056-Job-CREATE-job-indexed.json", NOT_A_POD),
    ("0057-Pod-CREATE-job-indexed-0-GEN.json", INJECTED),
    ("0059-Pod-CREATE-job-indexed-1-GEN.json", INJECTED),
    ("0061-CronJob-CREATE-cron.json", NOT_A_POD),
    ("0062-Job-CREATE-cron-manual.json", NOT_A_POD),
    ("0063-Pod-CREATE-cron-manual-GEN.json", INJECTED),
    ("0065-Pod-CREATE-ds-GEN.json", INJECTED),
    ("0085-ReplicaSet-UPDATE-dep-6cbf7bd9cc.json", NOT_A_POD),
    ("0086-Pod-CREATE-dep-6cbf7bd9cc-GEN.json", INJECTED),
    ("0088-Deployment-UPDATE-dep.json", NOT_A_POD),
    ("0089-ReplicaSet-CREATE-dep-5b68fc5c79.json", NOT_A_POD),
    ("0090-Pod-CREATE-dep-5b68fc5c79-GEN.json", INJECTED),
    ("0092-Deployment-UPDATE-dep-plain.json", NOT_A_POD),
    ("0093-ReplicaSet-CREATE-dep-plain-595b878958.json", NOT_A_POD),
    ("0094-Pod-CREATE-dep-plain-595b878958-GEN.json", INJECTED),
    ("0095-Pod-DELETE-hostnet.json", DELETE),
    ("0097-Pod-DELETE-hostnet.json", DELETE),
    ("0100-Job-CREATE-cron-29922661.json", NOT_A_POD),
    ("0101-Pod-CREATE-cron-29922661-GEN.json", INJECTED),
];

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

fn read(name: &str) -> String {
    fs::read_to_string(directory().join(name)).unwrap()
}

/// Parses the capture whose name has this start.
fn parsed(name: &str) -> Value {
    serde_json::from_str(&read(name)).unwrap()
}

#[test]
fn every_capture_is_in_the_table() {
    let files: BTreeSet<_> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let table: BTreeSet<_> = CAPTURES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, table);
}

#[test]
fn the_core_decides_every_created_pod() {
    let settings = Settings::try_from(InjectorConfig::default()).unwrap();
    let namespace = Namespace { name: "capture".to_owned(), ..Namespace::default() };
    let context = Context::new(&settings, &namespace, KubeVersion::new(1, 36));
    for (name, words) in CAPTURES.iter().filter(|(_, (outcome, _))| *outcome != "ignored") {
        let object = &parsed(name)["request"]["object"];
        let text = object.to_string();
        let decision = decide(&PodView::parse(&text).unwrap(), &context);
        assert_eq!((decision.outcome(), decision.reason()), *words, "{name}");
        let patch = decision.patch().map(|patch| serde_json::to_value(patch).unwrap());
        check_effect(name, object, patch.as_ref(), *words);
    }
}

#[test]
fn the_program_answers_every_review() {
    let server = Server::start();
    let mut connection = server.connect();
    for (name, words) in CAPTURES {
        let review = read(name);
        let answer = connection.post("/mutate?timeout=5s", &review);
        let review: Value = serde_json::from_str(&review).unwrap();
        let response = &answer["response"];
        assert_eq!(
            (&answer["apiVersion"], &answer["kind"]),
            (&review["apiVersion"], &review["kind"]),
            "{name}"
        );
        assert_eq!(response["uid"], review["request"]["uid"], "{name}");
        assert_eq!(response["allowed"], true, "{name}: {answer}");
        let audit = &response["auditAnnotations"];
        assert_eq!((&audit["outcome"], &audit["reason"]), (&json!(words.0), &json!(words.1)), "{name}");
        check_effect(name, &review["request"]["object"], patch(response).as_ref(), *words);
    }
}

#[test]
fn a_dry_run_gets_the_same_answer() {
    let server = Server::start();
    let mut connection = server.connect();
    let real = read("0003-Pod-CREATE-plain-annotated.json");
    let dry = real.replacen("\"dryRun\":false", "\"dryRun\":true", 1);
    assert_ne!(real, dry);
    assert_eq!(connection.post("/mutate", &dry), connection.post("/mutate", &real));
}

#[test]
fn the_answer_to_v1beta1_differs_in_its_version_alone() {
    let server = Server::start();
    let mut connection = server.connect();
    let old = read("0024-Pod-CREATE-v1beta1.json");
    let new = old.replacen("admission.k8s.io/v1beta1", "admission.k8s.io/v1", 1);
    assert_ne!(old, new);
    let (mut old, new) = (connection.post("/mutate", &old), connection.post("/mutate", &new));
    assert_eq!(old["apiVersion"], "admission.k8s.io/v1beta1");
    old["apiVersion"] = "admission.k8s.io/v1".into();
    assert_eq!(old, new);
}

/// The kind of the workload in a review, if it is one.
fn workload_kind(review: &Value) -> Option<WorkloadKind> {
    let kind = &review["request"]["kind"];
    let api_version = format!("{}/{}", kind["group"].as_str()?, kind["version"].as_str()?);
    WorkloadKind::parse(&api_version, kind["kind"].as_str()?)
}

/// The captured reviews of workloads for that operation.
fn workloads(operation: &str) -> Vec<(&'static str, WorkloadKind, Value)> {
    let reviews = CAPTURES.iter().map(|(name, _)| (*name, parsed(name)));
    let workloads = reviews.filter(|(_, review)| review["request"]["operation"] == operation);
    let workloads: Vec<_> =
        workloads.filter_map(|(name, review)| Some((name, workload_kind(&review)?, review))).collect();
    assert!(!workloads.is_empty(), "no {operation}");
    workloads
}

fn annotations<'v>(object: &'v mut Value, pointer: &str) -> &'v mut serde_json::Map<String, Value> {
    object.pointer_mut(&format!("{pointer}/metadata/annotations")).unwrap().as_object_mut().unwrap()
}

#[test]
fn workloads_without_requests_pass_both_endpoints() {
    let server = Server::start();
    let mut connection = server.connect();
    for (name, _) in CAPTURES {
        let review = parsed(name);
        let is_object = review["request"]["subResource"].is_null();
        for (path, reason) in [("/validate", "valid"), ("/mode", "in-step")] {
            let words = match workload_kind(&review) {
                _ if !is_object => SUBRESOURCE,
                Some(_) => ("accepted", reason),
                None => ("ignored", "not-a-workload"),
            };
            let response = connection.post(path, &read(name))["response"].clone();
            let audit = &response["auditAnnotations"];
            assert_eq!((&audit["outcome"], &audit["reason"]), (&json!(words.0), &json!(words.1)), "{name}");
            assert_eq!(response["allowed"], true, "{name}");
            assert!(response["patch"].is_null() && response["warnings"].is_null(), "{name}: {response}");
        }
    }
}

#[test]
fn a_created_workload_carries_its_mode_in_its_template() {
    let server = Server::start();
    let mut connection = server.connect();
    for (name, kind, mut review) in workloads("CREATE") {
        let object = &mut review["request"]["object"];
        let own = object["metadata"].as_object_mut().unwrap();
        let own = own.entry("annotations").or_insert_with(|| json!({})).as_object_mut().unwrap();
        own.insert("scaivault.scailabs.ai/mutation-mode".to_owned(), "ignore-and-detach".into());
        let answer = connection.post("/mode", &review.to_string());
        let object = &mut review["request"]["object"];
        let changed = apply(object, &patch(&answer["response"]).unwrap()).unwrap();
        let template = kind.template_pointer();
        let path = format!("{template}/metadata");
        if object.pointer(&path).unwrap()["annotations"].is_null() {
            object.pointer_mut(&path).unwrap()["annotations"] = json!({});
        }
        let carried = "scaivault.scailabs.ai/workload-mutation-mode".to_owned();
        annotations(object, template).insert(carried, "ignore-and-detach".into());
        assert_eq!(changed, *object, "{name}");
    }
}

#[test]
fn a_frozen_deployment_gets_a_warning_about_omissions() {
    let server = Server::start();
    let mut connection = server.connect();
    for (name, kind, mut review) in workloads("UPDATE") {
        let former = review["request"]["oldObject"].clone();
        let object = &mut review["request"]["object"];
        annotations(object, "").insert("scaivault.scailabs.ai/mutation-mode".to_owned(), "ignore".into());
        let template = kind.template_pointer();
        let key = "scaivault.scailabs.ai/inject-secret-new".to_owned();
        annotations(object, template).insert(key, "environments/production/new".into());
        let response = connection.post("/mode", &review.to_string())["response"].clone();
        assert_eq!(response["auditAnnotations"]["reason"], "frozen", "{name}");
        let warnings = response["warnings"].to_string();
        assert!(
            warnings.contains("not added: ") && warnings.contains("inject-secret-new"),
            "{name}: {warnings}"
        );
        let changed = apply(&review["request"]["object"], &patch(&response).unwrap()).unwrap();
        let injected = |object: &Value| {
            let annotations = object.pointer(&format!("{template}/metadata/annotations")).cloned();
            let mut annotations: serde_json::Map<_, _> = annotations
                .map(|annotations| serde_json::from_value(annotations).unwrap())
                .unwrap_or_default();
            annotations.retain(|key, _| key.starts_with("scaivault.scailabs.ai/"));
            annotations
        };
        assert_eq!(injected(&changed), injected(&former), "{name}");
    }
}

#[test]
fn a_mistake_is_refused_once_and_later_a_warning() {
    let server = Server::start();
    let mut connection = server.connect();
    for (name, kind, mut review) in workloads("UPDATE") {
        let template = kind.template_pointer();
        let wrong = || ("scaivault.scailabs.ai/refresh-interval".to_owned(), json!("soon"));
        annotations(&mut review["request"]["object"], template).extend([wrong()]);
        let response = connection.post("/validate", &review.to_string())["response"].clone();
        assert_eq!(
            (&response["allowed"], &response["status"]["code"]),
            (&json!(false), &json!(403)),
            "{name}"
        );
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains("refresh-interval") && message.ends_with("[invalid-value]"), "{message}");

        review["request"]["oldObject"] = review["request"]["object"].clone();
        let response = connection.post("/validate", &review.to_string())["response"].clone();
        assert_eq!(response["allowed"], true, "{name}");
        // The API server truncates longer warnings.
        let [warning] = response["warnings"].as_array().unwrap().as_slice() else { panic!("{response}") };
        let shown = warning.as_str().unwrap().trim_end_matches('…');
        assert!(message.starts_with(shown) && shown.len() > 200, "{name}: {warning}");
    }
}

/// The decoded patch; `patch` and `patchType` must be either both present or both absent.
fn patch(response: &Value) -> Option<Value> {
    let patch = response.get("patch");
    assert_eq!(patch.is_some(), response.get("patchType").is_some(), "{response}");
    let text = patch?.as_str().unwrap();
    assert_eq!(response["patchType"], "JSONPatch");
    Some(serde_json::from_slice(&BASE64_STANDARD.decode(text).unwrap()).unwrap())
}

fn check_effect(name: &str, object: &Value, patch: Option<&Value>, words: Words) {
    if words != INJECTED {
        assert_eq!(patch, None, "{name}");
        return;
    }
    let injected = apply(object, patch.unwrap_or_else(|| panic!("{name}: no patch"))).unwrap();
    assert_eq!(users_content(&injected), users_content(object), "{name}");
    assert_eq!(inspect::injector_annotation(&injected, "status"), Some("injected"), "{name}");
    check_volumes(name, &injected);
    check_containers(name, object, &injected);
}

fn check_volumes(name: &str, injected: &Value) {
    let volumes = inspect::names(inspect::entries(injected, "volumes"));
    let added: BTreeSet<_> = volumes.into_iter().filter(|volume| volume.starts_with("scaivault-")).collect();
    assert_eq!(added, BTreeSet::from(["scaivault-secrets", "scaivault-token"]), "{name}");
    let secrets = &inspect::volume(injected, "scaivault-secrets").unwrap()["emptyDir"];
    assert_eq!(*secrets, json!({"medium": "Memory", "sizeLimit": "8Mi"}), "{name}");
}

fn check_containers(name: &str, object: &Value, injected: &Value) {
    let mut expected = vec!["scaivault-init"];
    expected.extend(inspect::names(inspect::entries(object, "initContainers")));
    assert_eq!(inspect::names(inspect::entries(injected, "initContainers")), expected, "{name}");

    let agent = inspect::init_container(injected, "scaivault-init").unwrap();
    assert_eq!(inspect::env(agent, "SCAIVAULT_URL"), Some("https://scaivault.scailabs.ai"), "{name}");
    assert_eq!(inspect::env(agent, "SCAIVAULT_ROLE"), Some("billing"), "{name}");
    assert_eq!(inspect::env(agent, "SECRETS"), Some(mapping(object).as_str()), "{name}");

    for list in ["initContainers", "containers"] {
        for container in inspect::entries(object, list) {
            let container =
                inspect::named(inspect::entries(injected, list), container["name"].as_str().unwrap())
                    .unwrap();
            let mount = inspect::mount(container, "scaivault-secrets")
                .unwrap_or_else(|| panic!("{name}: {container}"));
            let expected =
                json!({"name": "scaivault-secrets", "mountPath": "/run/secrets", "readOnly": true});
            assert_eq!(*mount, expected, "{name}");
        }
    }
}

/// One line for each secret in the pod's annotations. If all containers run as the same user, only
/// that user may read the files.
fn mapping(object: &Value) -> String {
    let mode = if object["spec"]["securityContext"]["runAsUser"].is_null() { "" } else { " mode=0400" };
    let annotations = object["metadata"]["annotations"].as_object().unwrap();
    let mut lines: Vec<_> = annotations
        .iter()
        .filter_map(|(key, path)| {
            let name = key.strip_prefix("scaivault.scailabs.ai/inject-secret-")?;
            Some((name, format!("{} -> /run/secrets/{name}{mode}\n", path.as_str()?)))
        })
        .collect();
    lines.sort_unstable();
    lines.into_iter().map(|(_, line)| line).collect()
}
