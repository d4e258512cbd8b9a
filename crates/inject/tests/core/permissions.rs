//! Which users can read the files, which image has which user, and which resources the agent
//! requests under a quota.

use scaivault_inject::InjectorConfig;
use scaivault_testkit::{PodBuilder, container, inspect, pod};
use serde_json::{Value, json};

use crate::support::{Cluster, DATABASE, agent, cluster, config};

fn annotated() -> PodBuilder {
    pod().annotate("inject-secret-db.json", DATABASE)
}

fn user(uid: i64) -> Value {
    json!({"runAsUser": uid})
}

/// A pod whose application runs as uid 1000, with an agent of another uid.
fn reader(mode: &str) -> PodBuilder {
    annotated()
        .app_field(0, "securityContext", user(1000))
        .annotate("run-as-user", "2000")
        .annotate("secret-mode-db.json", mode)
}

#[test]
fn a_mode_that_a_known_reader_cannot_read_is_refused() {
    for pod in [
        reader("0400"),
        reader("0600"),
        // The pod's own user, and one of two readers.
        annotated()
            .spec("securityContext", user(1000))
            .annotate("run-as-user", "0")
            .annotate("secret-mode-db.json", "0400"),
        reader("0440").annotate("run-as-group", "3000").spec("securityContext", json!({"runAsGroup": 4000})),
    ] {
        let problems = cluster().denial(&pod.json()).problems;
        let text = problems.to_string();
        assert_eq!(problems.len(), 1, "{text}");
        for word in ["secret-mode-db.json", "\"app\"", "uid 1000", "run-as-user: \"1000\"", "unreadable-file"]
        {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
    }
}

#[test]
fn a_mode_that_all_known_readers_can_read_is_accepted() {
    let group = |gid: i64| json!({"runAsGroup": gid});
    for pod in [
        reader("0444"),
        reader("0404"),
        reader("0400").annotate("run-as-user", "1000"),
        reader("0400").without("run-as-user"),
        reader("0400").app_field(0, "securityContext", user(0)),
        reader("0440").spec("securityContext", json!({"fsGroup": 3000})),
        reader("0440").spec("securityContext", json!({"supplementalGroups": [3000]})),
        reader("0440").annotate("run-as-group", "3000").spec("securityContext", group(3000)),
        reader("0440"),
        reader("0400").annotate("run-as-user", "unset"),
        reader("0400").annotate("containers", ""),
    ] {
        let injection = cluster().injection(&pod.json());
        assert!(
            !injection.warnings.iter().any(|text| text.contains("secret-mode")),
            "{:?}",
            injection.warnings
        );
    }
    let unknown = annotated().annotate("secret-mode-db.json", "0400");
    let warnings = cluster().injection(&unknown.json()).warnings;
    assert!(
        warnings.iter().any(|text| text.contains("secret-mode-db.json") && text.contains("65532")),
        "{warnings:?}"
    );
}

#[test]
fn a_container_that_refuses_root_has_an_image_with_a_user() {
    let default = Cluster::with(InjectorConfig { init_image: None, sidecar_image: None, ..config() });
    let image = |cluster: &Cluster, pod: PodBuilder| agent(&cluster.inject(&pod.json()))["image"].clone();
    for pod in [annotated(), annotated().annotate("refresh-interval", "5m")] {
        let built_in = image(&default, pod);
        assert!(built_in.as_str().unwrap().starts_with("scailabs/scaivault-init:"), "{built_in}");
    }
    // The configured sidecar image may be the published one, whose user is root.
    let sidecar = || annotated().annotate("refresh-interval", "5m");
    assert_eq!(image(&cluster(), sidecar()), "scailabs/scaivault-sidecar:1.0");
    let unset = cluster().inject(&sidecar().annotate("run-as-user", "unset").json());
    assert_eq!(agent(&unset)["image"], "scailabs/scaivault-init:1.0");
    assert_eq!(agent(&unset)["securityContext"]["runAsNonRoot"], true);
    assert_eq!(agent(&unset)["securityContext"].get("runAsUser"), None);
    let mirror =
        InjectorConfig { init_image: Some("mirror.example/a:1".into()), sidecar_image: None, ..config() };
    assert_eq!(image(&Cluster::with(mirror), sidecar()), "mirror.example/a:1");
}

/// OpenShift's admission sets this in every container of a namespace.
#[test]
fn the_uid_of_a_namespace_is_used() {
    let assigned = json!({"runAsUser": 1_000_650_000, "runAsNonRoot": true});
    let pod = annotated().app_field(0, "securityContext", assigned);
    let injected = cluster().inject(&pod.json());
    assert_eq!(agent(&injected)["securityContext"]["runAsUser"], 1_000_650_000);
    assert!(inspect::env(agent(&injected), "SECRETS").unwrap().contains("mode=0400"));
}

fn resources(pod: PodBuilder) -> Value {
    agent(&cluster().inject(&pod.json()))["resources"].clone()
}

#[test]
fn a_pod_with_cpu_limits_keeps_to_its_quota() {
    let app = |resources: Value| annotated().app_field(0, "resources", resources);
    let limited = || {
        app(json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}}))
    };
    assert_eq!(resources(limited())["limits"], json!({"cpu": "50m", "memory": "32Mi"}));
    assert_eq!(resources(limited())["requests"], json!({"cpu": "10m", "memory": "16Mi"}));
    assert_eq!(resources(limited().annotate("requests-cpu", "80m"))["limits"]["cpu"], "80m");
    assert_eq!(resources(limited().annotate("limits-cpu", "20m"))["limits"]["cpu"], "20m");
    // One container without a limit: there cannot be such a quota.
    assert_eq!(resources(limited().container(container("other")))["limits"].get("cpu"), None);
    assert_eq!(resources(annotated())["limits"].get("cpu"), None);
}

#[test]
fn ephemeral_storage_is_named_where_every_container_names_it() {
    let app = |resources: Value| annotated().app_field(0, "resources", resources);
    let both = resources(app(json!({"limits": {"ephemeral-storage": "1Gi"}})));
    assert_eq!(
        (&both["limits"]["ephemeral-storage"], &both["requests"]["ephemeral-storage"]),
        (&json!("64Mi"), &json!("16Mi"))
    );
    let request = resources(app(json!({"requests": {"ephemeral-storage": "1Gi"}})));
    assert_eq!(request["requests"]["ephemeral-storage"], "16Mi");
    assert_eq!(request["limits"].get("ephemeral-storage"), None);
    let one = app(json!({"limits": {"ephemeral-storage": "1Gi"}})).container(container("other"));
    assert!(!resources(one).to_string().contains("ephemeral-storage"));
}

#[test]
fn a_wrong_unit_of_memory_or_cpu_has_a_hint() {
    for (key, value, hint) in [
        ("volume-size-limit", "8m", "did you mean \"8M\"?"),
        ("volume-size-limit", "8k", "did you mean \"8M\"?"),
        ("volume-size-limit", "8mi", "did you mean \"8Mi\"?"),
        ("volume-size-limit", "8MB", "did you mean \"8M\"?"),
        ("volume-size-limit", "8 MiB", "did you mean \"8Mi\"?"),
        ("volume-size-limit", "1", "4Ki"),
        ("volume-size-limit", "2G", "at most 1Gi"),
        ("limits-memory", "64m", "did you mean \"64M\"?"),
        ("requests-memory", "16m", "did you mean \"16M\"?"),
        ("limits-memory", "1g", "did you mean \"1G\"?"),
        ("limits-cpu", "100M", "did you mean \"100m\"?"),
        ("requests-cpu", "10Mi", "CPUs"),
        ("requests-cpu", "0", "greater than zero"),
    ] {
        let text = cluster().refusal(&annotated().annotate(key, value).json());
        assert!(text.contains(key) && text.contains(hint), "{key}: {value}: {text}");
    }
    for (key, value) in [("limits-cpu", "100m"), ("volume-size-limit", "16Ki"), ("volume-size-limit", "8M")] {
        cluster().inject(&annotated().annotate(key, value).json());
    }
}
