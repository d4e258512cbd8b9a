//! Properties of every pod. `PROPTEST_CASES` sets the number of cases.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, EnvVar, Volume, VolumeMount};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{FileFailurePersistence, TestRunner},
};
use scaivault_inject::Decision;
use scaivault_testkit::{
    PodBuilder, inspect, key, path_not_allowed, pod_security,
    qos::{self, Class},
    random::{
        annotated_pods, any_pods, arbitrary_json, arbitrary_pod_json, colliding_pods, garbled_pods,
        ordinary_pods, two_selections,
    },
    shuffle_keys, users_content,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::support::{after, cluster, detached_by_name, keys, mount_api_token};

fn cases() -> ProptestConfig {
    // By default, proptest looks for a `lib.rs` above the test. Failures are stored next to the
    // test and tried first in the next run.
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

/// The patch of a decision as JSON; an empty list if there is none.
fn patch_of(decision: &Decision) -> Value {
    decision.patch().map_or_else(|| Value::Array(Vec::new()), |patch| serde_json::to_value(patch).unwrap())
}

fn injected(pod: &Value) -> Option<Value> {
    let decision = cluster().decide(pod);
    matches!(decision, Decision::Inject(_)).then(|| after(pod, &decision))
}

/// Whether a typed Kubernetes object reads all of this JSON and would write the same.
fn is_typed<T: DeserializeOwned + Serialize>(json: &Value) -> bool {
    serde_json::from_value::<T>(json.clone())
        .is_ok_and(|object| serde_json::to_value(object).is_ok_and(|written| written == *json))
}

fn any_annotated_pod() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => annotated_pods(ordinary_pods(), keys()),
        2 => annotated_pods(any_pods(), keys()),
        1 => annotated_pods(colliding_pods(), keys()),
        2 => garbled_pods(any_pods(), keys()),
    ]
}

/// Injected objects are written without the types of `k8s-openapi`, which know every field.
#[test]
fn added_objects_are_those_of_kubernetes() {
    type IsTyped = fn(&Value) -> bool;
    let kinds: [(&str, IsTyped); 4] = [
        ("volumes", is_typed::<Volume>),
        ("initContainers", is_typed::<Container>),
        ("volumeMounts", is_typed::<VolumeMount>),
        ("env", is_typed::<EnvVar>),
    ];
    let mut runner = TestRunner::deterministic();
    let mut checked = [0; 4];
    for _ in 0..400 {
        let pod = any_annotated_pod().new_tree(&mut runner).unwrap().current();
        let Some(Value::Array(operations)) = injected_patch(&pod) else { continue };
        for operation in &operations {
            let (path, value) = (operation["path"].as_str().unwrap(), &operation["value"]);
            let list = path.trim_end_matches(|c: char| c == '/' || c == '-' || c.is_ascii_digit());
            let Some(kind) = kinds.iter().position(|(name, _)| list.ends_with(&format!("/{name}"))) else {
                continue;
            };
            for object in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
                assert!(kinds[kind].1(object), "{path}: {object}");
                checked[kind] += 1;
            }
        }
    }
    assert!(checked.iter().all(|count| *count > 20), "{checked:?}");
}

fn injected_patch(pod: &Value) -> Option<Value> {
    let decision = cluster().decide(pod);
    matches!(&decision, Decision::Inject(injection) if !injection.replaced).then(|| patch_of(&decision))
}

/// The properties below say nothing about rejected pods, so most of the random ones must be
/// injected.
#[test]
fn most_ordinary_pods_are_injected() {
    let mut runner = TestRunner::deterministic();
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut refusals = Vec::new();
    for _ in 0..200 {
        let pod = annotated_pods(ordinary_pods(), keys()).new_tree(&mut runner).unwrap().current();
        let decision = cluster().decide(&pod);
        *outcomes.entry(decision.outcome()).or_default() += 1;
        if let Decision::Deny(denial) = decision {
            refusals.push(denial.problems.to_string());
        }
    }
    assert!(
        outcomes.get("injected").is_some_and(|injected| *injected > 140),
        "{outcomes:?}\n{}",
        refusals.join("\n")
    );
}

#[test]
fn pods_of_any_kind_meet_every_outcome() {
    let mut runner = TestRunner::deterministic();
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..300 {
        let pod = any_annotated_pod().new_tree(&mut runner).unwrap().current();
        *outcomes.entry(cluster().decide(&pod).outcome()).or_default() += 1;
    }
    for outcome in ["injected", "denied"] {
        assert!(outcomes.contains_key(outcome), "no pod is {outcome}: {outcomes:?}");
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_patch_applies_and_keeps_to_the_allowed_paths(pod in any_annotated_pod()) {
        let decision = cluster().decide(&pod);
        let patch = patch_of(&decision);
        prop_assert_eq!(path_not_allowed(&patch), None);
        after(&pod, &decision);
    }

    #[test]
    fn a_first_injection_only_adds(pod in annotated_pods(any_pods(), keys())) {
        if let Decision::Inject(injection) = cluster().decide(&pod) {
            let patch = serde_json::to_value(&injection.patch).unwrap();
            prop_assert!(patch.as_array().unwrap().iter().all(|operation| operation["op"] == "add"), "{}", patch);
            prop_assert!(!injection.replaced);
        }
    }

    #[test]
    fn the_users_fields_do_not_change(pod in any_annotated_pod()) {
        let decision = cluster().decide(&pod);
        prop_assert_eq!(users_content(&after(&pod, &decision)), users_content(&pod));
    }

    #[test]
    fn equal_input_gives_equal_bytes_in_any_order_of_keys(pod in any_annotated_pod(), seed: u64) {
        let cluster = cluster();
        let (one, other) = (cluster.decide(&pod), cluster.decide(&shuffle_keys(&pod, seed)));
        prop_assert_eq!(patch_of(&one).to_string(), patch_of(&other).to_string());
        prop_assert_eq!(one, other);
    }

    #[test]
    fn decide_is_total(object in prop_oneof![arbitrary_json(), arbitrary_pod_json()]) {
        let text = object.to_string();
        if let Some(decision) = cluster().decide_text(&text) {
            after(&object, &decision);
            detached_by_name(&object);
        }
    }

    #[test]
    fn decide_is_total_over_pods_with_one_thing_wrong(pod in annotated_pods(any_pods(), keys()), json in arbitrary_json(), place: prop::sample::Index) {
        let mut pod = pod;
        let pointers = pointers(&pod);
        *pod.pointer_mut(place.get(&pointers).as_str()).unwrap() = json;
        if let Some(decision) = cluster().decide_text(&pod.to_string()) {
            after(&pod, &decision);
        }
    }

    /// The agent's own parsers accept every line that the injector writes.
    #[test]
    fn the_agent_parses_its_environment(pod in annotated_pods(any_pods(), keys())) {
        for agent in injected(&pod).iter().flat_map(inspect::injected_containers) {
            let variable = |name: &str| scaivault_contract::expand_env_value(inspect::env(agent, name).unwrap_or_default());
            let secrets = ["SECRETS", "WATCH_PATHS"].map(|name| scaivault_contract::parse_secrets(&variable(name)));
            prop_assert!(secrets.iter().all(Result::is_ok), "{:?}", secrets);
            prop_assert!(scaivault_contract::parse_dynamic(&variable("DYNAMIC")).is_ok());
            prop_assert!(scaivault_contract::parse_variables(&variable("SECRET_ENV")).is_ok());
            for url in [variable("RELOAD_URL")].iter().filter(|url| !url.is_empty()) {
                prop_assert!(url.parse::<scaivault_contract::ReloadUrl>().is_ok(), "{}", url);
            }
        }
    }

    #[test]
    fn injecting_twice_is_injecting_once(pod in annotated_pods(any_pods(), keys())) {
        if let Some(injected) = injected(&pod) {
            let again = cluster().decide(&injected);
            prop_assert_eq!((again.outcome(), again.reason()), ("skipped", "already-injected"));
            prop_assert_eq!(again.patch().map_or(0, |patch| patch.operations().len()), 0);
        }
    }

    #[test]
    fn detach_is_the_inverse_of_inject(pod in annotated_pods(any_pods(), keys())) {
        if let Some(injected) = injected(&pod) {
            let opted_out = PodBuilder::from(injected.clone()).annotate("mutation-mode", "ignore-and-detach").json();
            let decision = cluster().decide(&opted_out);
            prop_assert_eq!(decision.outcome(), "detached");
            let detached = PodBuilder::from(after(&opted_out, &decision)).without("mutation-mode").json();
            prop_assert_eq!(&detached, &pod);
            prop_assert_eq!(&detached_by_name(&injected), &pod);
        }
    }

    #[test]
    fn a_detached_pod_can_be_injected_again(pod in annotated_pods(ordinary_pods(), keys())) {
        if let Some(injected) = injected(&pod) {
            let detached = detached_by_name(&injected);
            prop_assert_eq!(cluster().outcome(&detached), injected);
        }
    }

    #[test]
    fn changed_annotations_equal_a_fresh_injection((before, changed) in two_selections(any_pods(), keys())) {
        let Some(injected) = injected(&before) else { return Ok(()) };
        let edited = edited(&injected, &changed);
        let decision = cluster().decide(&edited);
        let fresh = cluster().decide(&changed);
        prop_assert_eq!(decision.outcome(), fresh.outcome());
        let patch = patch_of(&decision);
        prop_assert_eq!(path_not_allowed(&patch), None);
        if let Decision::Inject(injection) = &decision {
            prop_assert!(injection.replaced);
            prop_assert_eq!(after(&edited, &decision), after(&changed, &fresh));
        }
    }

    #[test]
    fn every_injected_container_is_restricted_or_root_with_kill(pod in annotated_pods(any_pods(), keys())) {
        let Decision::Inject(injection) = cluster().decide(&pod) else { return Ok(()) };
        let injected = after(&pod, &Decision::Inject(injection.clone()));
        prop_assert!(!inspect::injected_containers(&injected).is_empty());
        for container in inspect::injected_containers(&injected) {
            let context = &container["securityContext"];
            prop_assert_eq!(&context["readOnlyRootFilesystem"], true);
            if context["runAsUser"] == 0 {
                prop_assert_eq!(pod_security::baseline_violations(container), Vec::<&str>::new());
                prop_assert_eq!(&context["capabilities"]["drop"], &serde_json::json!(["ALL"]));
                // The capability is only allowed for a container that sends a signal. An init
                // container shares the uid 0 of its sidecar, because they share files.
                let signals = inspect::env(container, "RELOAD_SIGNAL").is_some();
                let added = &context["capabilities"]["add"];
                prop_assert!(added.is_null() || signals && *added == serde_json::json!(["KILL"]), "{}", added);
                prop_assert!(!injection.warnings.is_empty());
            } else {
                prop_assert_eq!(pod_security::restricted_violations(container), Vec::<&str>::new());
            }
        }
        for volume in inspect::entries(&injected, "volumes") {
            let is_injected = volume["name"].as_str().is_some_and(|name| name.starts_with("scaivault-"));
            prop_assert!(!is_injected || pod_security::is_restricted_volume(volume), "{}", volume);
        }
    }

    #[test]
    fn a_guaranteed_pod_stays_guaranteed(pod in annotated_pods(ordinary_pods(), keys())) {
        if qos::class(&pod) == Class::Guaranteed && let Some(injected) = injected(&pod) {
            prop_assert_eq!(qos::class(&injected), Class::Guaranteed);
        }
    }

    /// Otherwise it would call the webhook again for every pod.
    #[test]
    fn no_injected_container_gets_the_api_servers_token(mut pod in annotated_pods(any_pods(), keys())) {
        mount_api_token(&mut pod);
        let Some(answered) = injected(&pod) else { return Ok(()) };
        let mut second_look = answered.clone();
        mount_api_token(&mut second_look);
        prop_assert_eq!(second_look, answered);
    }

    /// The container runtime cannot create a mount point in a read-only mount.
    #[test]
    fn every_mount_below_the_secrets_has_a_mount_point(pod in annotated_pods(any_pods(), keys())) {
        let Some(injected) = injected(&pod) else { return Ok(()) };
        let made: Vec<&str> = inspect::injected_containers(&injected)
            .into_iter()
            .flat_map(|agent| inspect::env(agent, "MOUNT_POINTS").unwrap_or_default().lines())
            .collect();
        let readers = ["containers", "initContainers"].into_iter().flat_map(|list| inspect::entries(&injected, list));
        for container in readers.filter(|container| !inspect::injected_containers(&injected).contains(container)) {
            let Some(own) = inspect::mount(container, "scaivault-secrets") else { continue };
            let mount_path: scaivault_contract::MountPath = own["mountPath"].as_str().unwrap().parse().unwrap();
            for mount in container["volumeMounts"].as_array().unwrap().iter().filter(|mount| *mount != own) {
                let Some(below) = mount_path.below(mount["mountPath"].as_str().unwrap()) else { continue };
                let is_token = format!("{mount_path}/{below}").ends_with("/run/secrets/kubernetes.io/serviceaccount");
                prop_assert!(is_token || made.contains(&format!("{mount_path}/{below}/").as_str()), "{below}: {made:?}");
            }
        }
    }

    #[test]
    fn every_reader_sees_every_mount_once(pod in annotated_pods(any_pods(), keys())) {
        let Some(injected) = injected(&pod) else { return Ok(()) };
        for list in ["containers", "initContainers"] {
            for container in inspect::entries(&injected, list) {
                let mounts = container["volumeMounts"].as_array().map_or(&[][..], Vec::as_slice);
                let paths: Vec<_> = mounts.iter().filter_map(|mount| mount["mountPath"].as_str()).collect();
                let own = mounts.iter().filter(|mount| mount["name"] == "scaivault-secrets");
                prop_assert!(own.clone().count() <= 1, "{}", container);
                for mount in own {
                    prop_assert_eq!(paths.iter().filter(|path| **path == mount["mountPath"]).count(), 1);
                }
                let distinct = paths.iter().collect::<BTreeSet<_>>().len();
                let is_agent = inspect::injected_containers(&injected).iter().any(|agent| agent["name"] == container["name"]);
                let reads_token = inspect::mount(container, "scaivault-token").is_some()
                    || inspect::mount(container, "scaivault-state").is_some()
                    || inspect::mount(container, "scaivault-credentials").is_some();
                prop_assert!(!is_agent || distinct == paths.len(), "the API server refuses two mounts at one path: {}", container);
                prop_assert!(is_agent || !reads_token, "an app mounts the agent's volumes: {}", container);
            }
        }
    }
}

/// The edits of a user to a template that the command line injected: the annotations become those
/// of `changed`, and the injector's own remain.
fn edited(injected: &Value, changed: &Value) -> Value {
    let mut edited = injected.clone();
    let mut annotations = changed["metadata"]["annotations"].clone();
    for written in ["status", "receipt"] {
        annotations[key(written)] = injected["metadata"]["annotations"][key(written)].clone();
    }
    edited["metadata"]["annotations"] = annotations;
    edited
}

/// A pointer to every value of a document except the document itself.
fn pointers(value: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, child)| (key.replace('~', "~0").replace('/', "~1"), child)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, child)| (index.to_string(), child)).collect()
        }
        _ => Vec::new(),
    };
    let mut all = Vec::new();
    for (segment, child) in children {
        all.extend(pointers(child).into_iter().map(|below| format!("/{segment}{below}")));
        all.push(format!("/{segment}"));
    }
    all
}
