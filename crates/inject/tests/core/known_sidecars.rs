//! Containers of other products in `containers: "*"`, in `init-containers: "*"` and with a reload
//! target.

use scaivault_inject::{InjectorConfig, SidecarsConfig};
use scaivault_testkit::{PodBuilder, container, inspect, pod};
use serde_json::{Value, json};

use crate::support::{Cluster, DATABASE, agent, cluster, config};

fn annotated() -> PodBuilder {
    pod().annotate("inject-secret-db.json", DATABASE)
}

fn with_image(name: &str, image: &str) -> Value {
    let mut container = container(name);
    container["image"] = json!(image);
    container
}

fn readers(cluster: &Cluster, pod: PodBuilder) -> Vec<String> {
    let injected = cluster.inject(&pod.json());
    let all = ["initContainers", "containers"].into_iter().flat_map(|list| inspect::entries(&injected, list));
    all.filter(|container| {
        inspect::mount(container, "scaivault-secrets").is_some_and(|mount| mount["readOnly"] == true)
    })
    .map(|container| container["name"].as_str().unwrap().to_owned())
    .collect()
}

#[test]
fn sidecars_of_other_products_get_nothing_unless_named() {
    let pod = || {
        annotated()
            .container(container("daprd"))
            .container(container("csql-billing-db"))
            .container(with_image("collector", "registry.example/otel/opentelemetry-collector:0.1"))
            .container(with_image("logs", "registry.example/team/log-shipper:1"))
            .init_container(container("datadog-lib-java-init"))
            .init_container(container("vault-agent-init"))
            .init_container(container("migrate"))
    };
    assert_eq!(readers(&cluster(), pod()), ["migrate", "app", "logs"]);
    assert_eq!(
        readers(
            &cluster(),
            pod().annotate("containers", "app, daprd").annotate("init-containers", "vault-agent-init")
        ),
        ["vault-agent-init", "app", "daprd"]
    );
    let sidecars = SidecarsConfig { containers: Vec::new(), images: vec!["team/log-shipper".to_owned()] };
    let configured = Cluster::with(InjectorConfig { sidecars, ..config() });
    assert_eq!(readers(&configured, pod()), ["migrate", "app"]);
}

#[test]
fn a_pod_of_sidecars_alone_has_an_application_among_them() {
    let alone = |names: &[&str]| {
        let mut pod = annotated().json();
        pod["spec"]["containers"] = names.iter().map(|name| container(name)).collect();
        pod
    };
    for (names, expected) in
        [(&["istio-proxy"] as &[&str], "istio-proxy"), (&["istio-proxy", "otc-container"], "otc-container")]
    {
        assert_eq!(readers(&cluster(), PodBuilder::from(alone(names))), [expected]);
        let warnings = cluster().injection(&alone(names)).warnings;
        assert!(warnings.iter().any(|text| text.contains(expected)), "{warnings:?}");
    }
    assert_eq!(cluster().injection(&annotated().container(container("envoy")).json()).warnings, [""; 0]);
}

/// A pod of these containers, in this order.
fn only(containers: &[Value]) -> PodBuilder {
    let mut pod = annotated().json();
    pod["spec"]["containers"] = json!(containers);
    PodBuilder::from(pod)
}

/// Charts of collectors and proxies add helper containers after the application.
#[test]
fn a_product_in_front_of_the_pod_is_the_application() {
    let alloy = || with_image("alloy", "docker.io/grafana/alloy:v1");
    let reloader =
        || with_image("config-reloader", "quay.io/prometheus-operator/prometheus-config-reloader:1");
    for (containers, expected) in [
        (vec![alloy(), reloader()], vec!["alloy", "config-reloader"]),
        (vec![container("istio-proxy"), alloy(), reloader()], vec!["alloy", "config-reloader"]),
        (vec![container("fluent-bit"), container("exporter")], vec!["fluent-bit", "exporter"]),
        (vec![container("fluent-bit"), container("istio-proxy")], vec!["fluent-bit"]),
        (vec![container("daprd"), container("fluent-bit")], vec!["fluent-bit"]),
        (vec![container("envoy"), container("shutdown-manager")], vec!["envoy", "shutdown-manager"]),
        (
            vec![with_image("agent", "datadog/agent:7"), with_image("trace-agent", "datadog/agent:7")],
            vec!["agent", "trace-agent"],
        ),
    ] {
        assert_eq!(readers(&cluster(), only(&containers)), expected);
        assert_eq!(cluster().injection(&only(&containers).json()).warnings, [""; 0], "{expected:?}");
    }
    let reload =
        only(&[alloy(), reloader()]).annotate("reload-signal", "SIGHUP").annotate("reload-target", "alloy");
    let ambiguous = cluster().refusal(&reload.json());
    assert!(ambiguous.contains(r#""alloy", "config-reloader" read the secrets"#), "{ambiguous}");
}

#[test]
fn a_warning_names_containers_excluded_by_image() {
    let collector = || with_image("collector", "registry.example/otel/opentelemetry-collector:0.1");
    for left_out in [collector(), container("fluent-bit"), with_image("sql", "cloud-sql-proxy:2")] {
        let pod = only(&[container("app"), container("istio-proxy"), left_out.clone()]);
        assert_eq!(readers(&cluster(), pod), ["app"]);
        let pod = only(&[container("app"), container("istio-proxy"), left_out.clone()]).json();
        let warnings = cluster().injection(&pod).warnings;
        let name = left_out["name"].as_str().unwrap();
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        for words in [format!("* leaves out \"{name}\""), format!("containers: \"app,{name}\"")] {
            assert!(warning.contains(&words), "{words} is not in: {warning}");
        }
        let named = PodBuilder::from(pod).annotate("containers", &format!("app, {name}"));
        assert_eq!(cluster().injection(&named.json()).warnings, [""; 0]);
    }
    let early = annotated().init_container(with_image("ship", "fluent/fluent-bit:3")).json();
    let warnings = cluster().injection(&early).warnings;
    assert!(
        warnings.iter().any(|text| text.starts_with("init-containers: * leaves out \"ship\"")),
        "{warnings:?}"
    );
}

/// Another webhook inserts a container before it, and the API server calls the injector again.
#[test]
fn an_application_that_has_its_mount_keeps_it() {
    let called = only(&[container("fluent-bit")]).json();
    let mut between = cluster().inject(&called);
    between["spec"]["containers"].as_array_mut().unwrap().insert(0, container("stranger"));
    let after = cluster().outcome(&between);
    let mounts = |name: &str| {
        inspect::mount(inspect::app_container(&after, name).unwrap(), "scaivault-secrets").is_some()
    };
    assert!(mounts("fluent-bit") && mounts("stranger"));
    // A different selection is a different intent.
    let named =
        |names: &str| only(&[container("app"), container("fluent-bit")]).annotate("containers", names);
    let both = cluster().inject(&named("app, fluent-bit").json());
    let changed = PodBuilder::from(both).annotate("containers", "*").json();
    let fresh = cluster().inject(&named("*").json());
    assert_eq!(cluster().outcome(&changed)["spec"], fresh["spec"]);
}

#[test]
fn a_later_sidecar_does_not_change_the_plan() {
    let mut app = container("app");
    app["securityContext"] = json!({"runAsUser": 1000});
    let mut called = annotated().json();
    called["spec"]["containers"][0] = app;
    let mut between = cluster().inject(&called);
    assert_eq!(agent(&between)["securityContext"]["runAsUser"], 1000);
    let mut proxy = container("istio-proxy");
    proxy["securityContext"] = json!({"runAsUser": 1337});
    between["spec"]["containers"].as_array_mut().unwrap().push(proxy);
    between["spec"]["containers"].as_array_mut().unwrap().push(container("queue-proxy"));
    cluster().expect_untouched(&between, "already-injected");
}

#[test]
fn a_reload_target_is_not_searched_in_sidecars() {
    let reload = |containers: &str| {
        annotated()
            .container(container("istio-proxy"))
            .container(container("fluent-bit"))
            .container(container("worker"))
            .annotate("containers", containers)
            .annotate("reload-signal", "SIGHUP")
            .annotate("reload-target", "billing")
            .json()
    };
    assert_eq!(
        inspect::env(agent(&cluster().inject(&reload("app, istio-proxy, fluent-bit"))), "RELOAD_TARGET"),
        Some("billing")
    );
    let ambiguous = cluster().refusal(&reload("*"));
    assert!(ambiguous.contains("\"app\", \"worker\" read the secrets"), "{ambiguous}");
}

#[test]
fn the_agent_starts_behind_a_mesh_known_by_its_image() {
    let mut proxy = with_image("proxy", "registry.example/istio/proxyv2:1.24");
    proxy["restartPolicy"] = json!("Always");
    let mut collector = container("otc-container");
    collector["restartPolicy"] = json!("Always");
    let injected = cluster().inject(&annotated().init_container(proxy).init_container(collector).json());
    let order = inspect::names(inspect::entries(&injected, "initContainers"));
    assert_eq!(order, ["proxy", "scaivault-init", "otc-container"]);
}

#[test]
fn mistakes_in_configured_sidecars_are_reported_at_start() {
    let text = "{\"sidecars\": {\"containers\": [\"*\"], \"images\": [\"a:1\"]}}";
    let wrong: InjectorConfig = serde_json::from_str(text).unwrap();
    let problems = scaivault_inject::Settings::try_from(wrong).unwrap_err().to_string();
    assert!(problems.contains("sidecars.containers") && problems.contains("sidecars.images"), "{problems}");
    assert!(serde_json::from_str::<InjectorConfig>("{\"sidecars\": {\"names\": []}}").is_err());
}
