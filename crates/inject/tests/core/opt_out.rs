//! Opting out: which layers can opt out, the effect, the precedence, and opting in again.

use scaivault_inject::InjectorConfig;
use scaivault_testkit::{PodBuilder, inspect, pod};
use serde_json::{Value, json};

use crate::support::{Cluster, DATABASE, after, cluster, config};

fn annotated() -> PodBuilder {
    pod().annotate("inject-secret-db.json", DATABASE)
}

fn injected() -> PodBuilder {
    PodBuilder::from(cluster().inject(&annotated().json()))
}

#[test]
fn a_pod_without_requests() {
    cluster().expect_untouched(&pod().json(), "not-annotated");
    cluster().expect_untouched(&pod().annotate("role", "billing").json(), "not-annotated");
    cluster().expect_untouched(
        &pod().annotation("other.example/inject-secret-db", DATABASE).json(),
        "not-annotated",
    );
}

#[test]
fn inject_false_leaves_the_pod_alone() {
    cluster().expect_untouched(&annotated().annotate("inject", "false").json(), "opted-out");
}

#[test]
fn inject_true_is_the_default_spelt_out() {
    let spelt = cluster().inject(&annotated().annotate("inject", "true").json());
    let silent = cluster().inject(&annotated().json());
    assert_eq!(PodBuilder::from(spelt).without("inject").json(), silent);
}

#[test]
fn ignore_on_the_pod_changes_nothing() {
    cluster().expect_untouched(&annotated().annotate("mutation-mode", "ignore").json(), "ignored-by-pod");
    let changed = injected().annotate("inject-secret-new", DATABASE).annotate("mutation-mode", "ignore");
    cluster().expect_untouched(&changed.json(), "ignored-by-pod");
}

#[test]
fn ignore_on_the_workload() {
    cluster().workload_mode("ignore").expect_untouched(&annotated().json(), "ignored-by-workload");
    let from_template = annotated().annotate("workload-mutation-mode", "ignore");
    cluster().expect_untouched(&from_template.json(), "ignored-by-workload");
}

#[test]
fn ignore_on_the_namespace() {
    let cluster = cluster().namespace("mutation-mode", "ignore");
    cluster.expect_untouched(&annotated().json(), "ignored-by-namespace");
    cluster.expect_untouched(&annotated().annotate("inject", "true").json(), "ignored-by-namespace");
}

#[test]
fn other_mistakes_of_an_opted_out_pod_are_ignored() {
    let wrong = annotated().annotate("refresh-interval", "soon").annotate("mutation-mode", "ignore");
    cluster().expect_untouched(&wrong.json(), "ignored-by-pod");
    cluster().expect_untouched(
        &annotated().annotate("pattern", "x").annotate("inject", "false").json(),
        "opted-out",
    );
}

#[test]
fn detach_removes_the_injection() {
    let plain = annotated().json();
    for (what, decision) in [
        ("pod", cluster().decide(&injected().annotate("mutation-mode", "ignore-and-detach").json())),
        (
            "template",
            cluster().decide(&injected().annotate("workload-mutation-mode", "ignore-and-detach").json()),
        ),
        ("workload", cluster().workload_mode("ignore-and-detach").decide(&injected().json())),
        ("namespace", cluster().namespace("mutation-mode", "ignore-and-detach").decide(&injected().json())),
    ] {
        assert_eq!((decision.outcome(), decision.reason()), ("detached", "mutation-mode"), "{what}");
        assert_eq!(after(&injected().json(), &decision), plain, "{what}");
    }
}

#[test]
fn detach_works_on_a_live_pod_with_the_api_servers_defaults() {
    let mut live = injected().annotate("mutation-mode", "ignore-and-detach").json();
    live["spec"]["initContainers"][0]["terminationMessagePath"] = json!("/dev/termination-log");
    live["spec"]["initContainers"][0]["image"] = json!("mirror.example/scaivault-init:1.0");
    for volume in live["spec"]["volumes"].as_array_mut().unwrap() {
        if volume["projected"].is_object() {
            volume["projected"]["defaultMode"] = json!(420);
        }
    }
    let detached = PodBuilder::from(cluster().outcome(&live)).without("mutation-mode");
    assert_eq!(detached.json(), annotated().json());
}

#[test]
fn detach_where_nothing_is_attached() {
    let changed = annotated().annotate("mutation-mode", "ignore-and-detach");
    cluster().expect_untouched(&changed.json(), "nothing-to-detach");
}

#[test]
fn detach_without_a_receipt_leaves_everything_and_warns() {
    let changed = injected().without("receipt").annotate("mutation-mode", "ignore-and-detach").json();
    cluster().expect_untouched(&changed, "no-receipt");
    assert!(!cluster().decide(&changed).warnings().is_empty());
}

/// A tenant cannot override a platform team, and a platform team cannot override a tenant's
/// opt-out.
#[test]
fn the_strictest_mode_wins() {
    let ignored = |reason: &str| reason.starts_with("ignored-by-") || reason == "opted-out";
    for (on_pod, on_workload, on_namespace, detached) in [
        (Some("ignore"), None, Some("ignore-and-detach"), true),
        (Some("ignore-and-detach"), None, Some("ignore"), true),
        (Some("ignore-and-detach"), Some("ignore"), None, true),
        (None, Some("ignore-and-detach"), Some("ignore"), true),
        (Some("ignore"), Some("ignore"), Some("ignore"), false),
        (None, Some("ignore"), Some("ignore"), false),
    ] {
        let mut cluster = cluster();
        let mut pod = injected();
        if let Some(mode) = on_pod {
            pod = pod.annotate("mutation-mode", mode);
        }
        if let Some(mode) = on_workload {
            cluster = cluster.workload_mode(mode);
        }
        if let Some(mode) = on_namespace {
            cluster = cluster.namespace("mutation-mode", mode);
        }
        let decision = cluster.decide(&pod.json());
        let case = (on_pod, on_workload, on_namespace);
        if detached {
            assert_eq!(decision.outcome(), "detached", "{case:?}");
        } else {
            assert!(ignored(decision.reason()), "{case:?}: {}", decision.reason());
        }
    }
    let refused = injected().annotate("inject", "false");
    let platform = cluster().namespace("mutation-mode", "ignore-and-detach");
    assert_eq!(platform.decide(&refused.json()).outcome(), "detached");
    let tenant = injected().annotate("inject", "true");
    assert_eq!(platform.decide(&tenant.json()).outcome(), "detached");
}

#[test]
fn without_the_annotation_everything_is_attached_again() {
    let changed = injected().annotate("mutation-mode", "ignore-and-detach").json();
    let detached = cluster().outcome(&changed);
    let back = PodBuilder::from(detached).without("mutation-mode").json();
    assert_eq!(cluster().inject(&back), injected().json());

    let ignored = annotated().annotate("mutation-mode", "ignore");
    assert_eq!(cluster().inject(&ignored.without("mutation-mode").json()), injected().json());
}

#[test]
fn a_misspelt_mode_is_a_problem_and_not_an_injection() {
    let refusal = cluster().refusal(&annotated().annotate("mutation-mode", "ignored").json());
    for word in ["mutation-mode", "\"ignored\"", "ignore-and-detach"] {
        assert!(refusal.contains(word), "{word} is not in: {refusal}");
    }
}

#[test]
fn excluded_namespaces_and_mirror_pods() {
    let excluded =
        Cluster::with(InjectorConfig { excluded_namespaces: vec!["billing".to_owned()], ..config() });
    excluded.expect_untouched(&annotated().json(), "excluded-namespace");
    let mirror = annotated().annotation("kubernetes.io/config.mirror", "1f2e3d").json();
    cluster().expect_untouched(&mirror, "mirror-pod");
}

/// Users can write the receipt, so it is only trusted for facts that cannot be seen in the pod.
#[test]
fn a_forged_receipt_skips_nothing() {
    let real = inspect::injector_annotation(&injected().json(), "receipt").unwrap().to_owned();
    for receipt in [real.as_str(), "", "{}", "not JSON", "null", "[1]", "{\"containers\":[\"app\"]}"] {
        let forged = annotated().annotate("receipt", receipt).annotate("status", "injected").json();
        let decision = cluster().decide(&forged);
        assert_eq!(decision.outcome(), "injected", "{receipt}: {}", decision.reason());
        let secrets = inspect::init_container(&after(&forged, &decision), "scaivault-init").cloned();
        assert!(secrets.is_some(), "{receipt}");
    }
}

#[test]
fn a_forged_receipt_removes_nothing_of_the_users() {
    let real = inspect::injector_annotation(&injected().json(), "receipt").unwrap().to_owned();
    let mine = pod()
        .init_container(json!({"name": "migrate", "image": "registry.invalid/migrate:1", "args": ["init"]}))
        .volume(json!({"name": "data", "emptyDir": {}}))
        .spec("shareProcessNamespace", Value::Bool(false))
        .annotate("receipt", &real);
    for changed in [
        mine.clone().annotate("mutation-mode", "ignore-and-detach").json(),
        mine.clone().annotate("inject-secret-db.json", DATABASE).json(),
        mine.annotate("receipt", "{\"containers\":[\"app\",\"migrate\"],\"volumes\":[\"data\"]}")
            .annotate("mutation-mode", "ignore-and-detach")
            .json(),
    ] {
        let outcome = cluster().outcome(&changed);
        assert!(inspect::init_container(&outcome, "migrate").is_some(), "{outcome}");
        assert!(inspect::app_container(&outcome, "app").is_some(), "{outcome}");
        assert!(inspect::volume(&outcome, "data").is_some(), "{outcome}");
        assert_eq!(outcome["spec"]["shareProcessNamespace"], false);
    }
}

#[test]
fn a_users_container_with_a_reserved_name_is_not_removed() {
    let real = inspect::injector_annotation(&injected().json(), "receipt").unwrap().to_owned();
    let mine = json!({"name": "scaivault-init", "image": "registry.invalid/mine:1", "args": ["serve"]});
    let changed = pod()
        .init_container(mine.clone())
        .annotate("receipt", &real)
        .annotate("mutation-mode", "ignore-and-detach");
    let outcome = cluster().outcome(&changed.json());
    assert_eq!(inspect::init_container(&outcome, "scaivault-init"), Some(&mine));
}

/// The pod would be injected although its author opted out.
#[test]
fn an_opt_out_that_is_not_read_is_a_problem() {
    for (name, value, meant) in [
        ("injct", "false", "write scaivault.scailabs.ai/inject,"),
        ("Inject", "no", "write scaivault.scailabs.ai/inject,"),
        ("mutation_mode", "ignore", "write scaivault.scailabs.ai/mutation-mode,"),
    ] {
        let refusal = cluster().refusal(&annotated().annotate(name, value).json());
        assert!(refusal.contains(meant) && refusal.contains("[misspelt-key]"), "{refusal}");
        // If nothing would be injected, the key is harmless.
        cluster().expect(&pod().annotate(name, value).json(), "skipped", "not-annotated");
    }
    for (name, value) in [("inject", "false"), ("injct", "false"), ("mutation-mod", "ignore")] {
        let platform = cluster().namespace(name, value);
        let refusal = platform.refusal(&annotated().json());
        assert!(refusal.contains("mutation-mode") && refusal.contains("(of the namespace)"), "{refusal}");
        platform.expect_untouched(&annotated().annotate("inject", "false").json(), "opted-out");
    }
    let opted_in = annotated().annotate("injct", "true");
    assert_eq!(cluster().decide(&opted_in.json()).outcome(), "injected");
}
