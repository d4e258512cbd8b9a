//! The user of the agent, its permissions, its resources and its position.

use scaivault_testkit::{
    PodBuilder, container, inspect, pod,
    pod_security::{baseline_violations, restricted_violations},
    qos::{self, Class, quantity_nano},
};
use serde_json::{Value, json};

use crate::support::{DATABASE, agent, cluster};

fn annotated() -> PodBuilder {
    pod().annotate("inject-secret-db.json", DATABASE)
}

fn reloading() -> PodBuilder {
    annotated().annotate("reload-signal", "SIGHUP").annotate("reload-target", "billing")
}

fn user(id: u64) -> Value {
    json!({"runAsUser": id})
}

fn uid_of_agent(pod: PodBuilder) -> Value {
    agent(&cluster().inject(&pod.json()))["securityContext"]["runAsUser"].clone()
}

#[test]
fn every_agent_is_restricted_as_it_is() {
    let all = annotated()
        .annotate("inject-dynamic-pg.json", "engine=postgres-prod role=readonly")
        .annotate("inject-env-PASSWORD", "a/b#password")
        .annotate("ca-configmap", "scaivault-ca");
    for pod in [
        annotated(),
        annotated().annotate("pattern", "sidecar"),
        annotated().annotate("run-as-user", "unset"),
        annotated().annotate("start-gate", "probe").annotate("refresh-on-event", "true"),
        all.clone(),
        all.spec("restartPolicy", "Never"),
        reloading().app_field(0, "securityContext", user(1000)),
    ] {
        let injected = cluster().inject(&pod.json());
        for container in inspect::injected_containers(&injected) {
            assert_eq!(restricted_violations(container), [""; 0], "{container}");
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        }
    }
}

#[test]
fn the_agents_user() {
    let app = |context: Value| annotated().app_field(0, "securityContext", context);
    let mut other = container("other");
    other["securityContext"] = user(2000);
    for (what, pod, uid) in [
        ("nothing is known", annotated(), json!(65532)),
        ("of the one container", app(user(1000)), json!(1000)),
        ("of the pod", annotated().spec("securityContext", user(1000)), json!(1000)),
        ("the container's wins", app(user(1000)).spec("securityContext", user(3000)), json!(1000)),
        ("two containers differ", app(user(1000)).container(other.clone()), json!(65532)),
        ("one container is silent", annotated().container(other), json!(65532)),
        ("root is not followed", app(user(0)), json!(65532)),
        ("said", app(user(1000)).annotate("run-as-user", "4000"), json!(4000)),
        ("left to the platform", app(user(1000)).annotate("run-as-user", "unset"), Value::Null),
    ] {
        assert_eq!(uid_of_agent(pod), uid, "{what}");
    }
}

#[test]
fn the_signalling_agent_runs_as_the_target() {
    let mut other = container("other");
    other["securityContext"] = user(2000);
    let two = || annotated().app_field(0, "securityContext", user(1000)).container(other.clone());
    let target = |target: &str| two().annotate("reload-signal", "SIGHUP").annotate("reload-target", target);
    assert_eq!(uid_of_agent(target("other/nginx")), 2000);
    assert_eq!(uid_of_agent(target("app/billing")), 1000);
    // The only reader is the target.
    assert_eq!(uid_of_agent(target("nginx").annotate("containers", "other")), 2000);
    let ambiguous = cluster().refusal(&target("billing").json());
    assert!(
        ambiguous.contains("reload-target") && ambiguous.contains("<container>/<process>"),
        "{ambiguous}"
    );
    let refusal = cluster().refusal(&target("absent/billing").json());
    assert!(refusal.contains("absent"), "{refusal}");
}

#[test]
fn a_target_whose_user_is_only_in_its_image() {
    let injection = cluster().injection(&reloading().json());
    assert!(!injection.warnings.is_empty());
    let injected = cluster().inject(&reloading().json());
    let sidecar = agent(&injected);
    assert_eq!(sidecar["securityContext"]["runAsUser"], 0);
    assert_ne!(sidecar["securityContext"]["runAsNonRoot"], true);
    assert_eq!(sidecar["securityContext"]["capabilities"], json!({"drop": ["ALL"], "add": ["KILL"]}));
    assert_eq!(baseline_violations(sidecar), [""; 0]);
    assert_eq!(injected["spec"]["shareProcessNamespace"], true);

    let non_root = reloading().spec("securityContext", json!({"runAsNonRoot": true}));
    let refusal = cluster().refusal(&non_root.json());
    assert!(refusal.contains("run-as-user"), "{refusal}");
}

#[test]
fn the_process_namespace_is_shared_for_a_signal_only() {
    for pod in [
        annotated(),
        annotated().annotate("pattern", "sidecar"),
        annotated().annotate("refresh-on-event", "true"),
    ] {
        assert_eq!(cluster().inject(&pod.json())["spec"].get("shareProcessNamespace"), None);
    }
}

#[test]
fn a_guaranteed_pod_stays_guaranteed() {
    let guaranteed =
        json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}});
    let pod = || annotated().app_field(0, "resources", guaranteed.clone());
    for pod in [
        pod(),
        pod().annotate("pattern", "sidecar"),
        pod().annotate("pattern", "sidecar").spec("restartPolicy", "Never"),
    ] {
        let pod = pod.json();
        assert_eq!(qos::class(&pod), Class::Guaranteed);
        assert_eq!(qos::class(&cluster().inject(&pod)), Class::Guaranteed);
    }
}

#[test]
fn the_agents_memory_holds_two_generations() {
    for size in ["4Mi", "8Mi", "64Mi"] {
        let injected = cluster().inject(&annotated().annotate("volume-size-limit", size).json());
        let volume = &inspect::volume(&injected, "scaivault-secrets").unwrap()["emptyDir"];
        assert_eq!(*volume, json!({"medium": "Memory", "sizeLimit": size}));
        let limit =
            agent(&injected)["resources"]["limits"]["memory"].as_str().and_then(quantity_nano).unwrap();
        let least = quantity_nano(size).unwrap() + quantity_nano("16Mi").unwrap();
        assert!(limit >= least, "{size}: {injected}");
    }
}

#[test]
fn apps_mount_only_the_files_and_read_only() {
    let all = annotated()
        .annotate("inject-dynamic-pg.json", "engine=postgres-prod role=readonly")
        .annotate("client-credentials-secret", "billing-client")
        .annotate("ca-configmap", "scaivault-ca")
        .spec("restartPolicy", "Never");
    let injected = cluster().inject(&all.json());
    let app = inspect::app_container(&injected, "app").unwrap();
    assert_eq!(
        app["volumeMounts"],
        json!([{"name": "scaivault-secrets", "mountPath": "/run/secrets", "readOnly": true}])
    );
    for container in inspect::injected_containers(&injected) {
        for (volume, path, read_only) in [
            ("scaivault-secrets", "/run/secrets", false),
            ("scaivault-state", "/var/run/scaivault/state", false),
            ("scaivault-ca", "/var/run/scaivault/ca", true),
            ("scaivault-credentials", "/var/run/scaivault/credentials", true),
        ] {
            let mount =
                inspect::mount(container, volume).unwrap_or_else(|| panic!("no {volume}: {container}"));
            assert_eq!(mount["mountPath"], path, "{volume}");
            assert_eq!(mount["readOnly"] == true, read_only, "{volume}");
        }
    }
    assert_eq!(inspect::volume(&injected, "scaivault-ca").unwrap()["configMap"]["name"], "scaivault-ca");
    assert_eq!(
        inspect::volume(&injected, "scaivault-credentials").unwrap()["secret"]["secretName"],
        "billing-client"
    );
}

#[test]
fn keys_of_any_name_become_the_files_that_the_agent_reads() {
    let named = annotated()
        .annotate("client-credentials-secret", "billing-client")
        .annotate("client-credentials-secret-key", "clientSecret")
        .annotate("ca-configmap", "trusted-ca")
        .annotate("ca-configmap-key", "ca-bundle.crt");
    let injected = cluster().inject(&named.json());
    assert_eq!(
        inspect::volume(&injected, "scaivault-credentials").unwrap()["secret"]["items"],
        json!([{"key": "client_id", "path": "client_id"}, {"key": "clientSecret", "path": "client_secret"}])
    );
    assert_eq!(
        inspect::volume(&injected, "scaivault-ca").unwrap()["configMap"]["items"],
        json!([{"key": "ca-bundle.crt", "path": "ca.crt"}])
    );
    let sidecar = agent(&injected);
    assert_eq!(inspect::env(sidecar, "SCAIVAULT_CA_FILE"), Some("/var/run/scaivault/ca/ca.crt"));
    assert_eq!(inspect::env(sidecar, "SCAIVAULT_CREDENTIALS_DIR"), Some("/var/run/scaivault/credentials"));
}

#[test]
fn trust_is_set_if_it_is_not_the_agents_default() {
    let trust = |keys: &[(&str, &str)]| {
        let pod = keys.iter().fold(annotated(), |pod, (key, value)| pod.annotate(key, value));
        let injected = cluster().inject(&pod.json());
        ["SCAIVAULT_TRUST", "SCAIKEY_TRUST"]
            .map(|name| inspect::env(agent(&injected), name).map(str::to_owned))
    };
    let ca = ("ca-configmap", "scaivault-ca");
    let client = ("client-credentials-secret", "billing-client");
    for (keys, scaivault, scaikey) in [
        (&[ca, client][..], None, None),
        (&[ca, client, ("ca-trust", "private")], None, None),
        (&[ca, client, ("ca-trust", "both")], Some("both"), None),
        (&[ca, client, ("ca-trust", "both"), ("scaikey-trust", "both")], Some("both"), None),
        (&[ca, client, ("scaikey-trust", "public")], None, Some("public")),
        (
            &[ca, client, ("ca-trust", "public"), ("scaikey-trust", "private")],
            Some("public"),
            Some("private"),
        ),
        (&[ca, ("scaikey-trust", "public")], None, None),
        (&[client, ("ca-trust", "both"), ("scaikey-trust", "public")], None, None),
    ] {
        assert_eq!(trust(keys), [scaivault, scaikey].map(|text| text.map(str::to_owned)), "{keys:?}");
    }
}

#[test]
fn the_token_is_for_scaivault_and_short() {
    let injected = cluster().inject(&annotated().json());
    assert_eq!(
        inspect::volume(&injected, "scaivault-token").unwrap()["projected"]["sources"],
        json!([{"serviceAccountToken": {"audience": "scaivault", "expirationSeconds": 3600, "path": "token"}}])
    );
    let mount = inspect::mount(agent(&injected), "scaivault-token").unwrap();
    assert_eq!(
        (&mount["mountPath"], &mount["readOnly"]),
        (&json!("/var/run/secrets/scaivault"), &json!(true))
    );
    assert_eq!(
        inspect::env(agent(&injected), "SCAIVAULT_TOKEN_FILE"),
        Some("/var/run/secrets/scaivault/token")
    );
}

/// A native sidecar alone would be restarted forever, and the Job would never fail.
#[test]
fn a_job_gets_both_containers() {
    let lease = || pod().annotate("inject-dynamic-pg.json", "engine=postgres-prod role=readonly");
    let injected = cluster().inject(&lease().spec("restartPolicy", "Never").json());
    let agents = inspect::injected_containers(&injected);
    assert_eq!(
        agents.iter().map(|agent| &agent["name"]).collect::<Vec<_>>(),
        ["scaivault-init", "scaivault-sidecar"]
    );
    assert_eq!(agents[0].get("restartPolicy"), None);
    assert_eq!(agents[1]["restartPolicy"], "Always");
    assert_eq!(agents[0]["args"], json!(["init"]));
    assert_eq!(agents[1]["args"], json!(["sidecar"]));
    for agent in agents {
        assert!(inspect::mount(agent, "scaivault-state").is_some(), "{agent}");
        assert_eq!(inspect::env(agent, "SCAIVAULT_STATE_DIR"), Some("/var/run/scaivault/state"));
    }
    assert_eq!(inspect::volume(&injected, "scaivault-state").unwrap()["emptyDir"]["medium"], "Memory");

    for policy in ["Always", "OnFailure"] {
        let injected = cluster().inject(&lease().spec("restartPolicy", policy).json());
        assert_eq!(agent(&injected)["name"], "scaivault-sidecar", "{policy}");
    }
    let fetched_once = annotated().spec("restartPolicy", "Never").json();
    assert_eq!(agent(&cluster().inject(&fetched_once))["name"], "scaivault-init");
}

#[test]
fn secrets_that_need_renewal_need_a_sidecar() {
    let name = |pod: PodBuilder| agent(&cluster().inject(&pod.json()))["name"].as_str().unwrap().to_owned();
    assert_eq!(name(annotated()), "scaivault-init");
    for (key, value) in [
        ("refresh-interval", "5m"),
        ("refresh-on-event", "true"),
        ("reload-url", "http://127.0.0.1:9090/-/reload"),
        ("inject-dynamic-pg.json", "engine=postgres-prod role=readonly"),
        ("pattern", "sidecar"),
    ] {
        assert_eq!(name(annotated().annotate(key, value)), "scaivault-sidecar", "{key}");
    }
    assert_eq!(name(reloading()), "scaivault-sidecar");
    assert_eq!(name(annotated().annotate("refresh-on-event", "false")), "scaivault-init");
}

#[test]
fn the_gate_is_a_hook_or_a_probe() {
    let sidecar = |gate: &str| annotated().annotate("pattern", "sidecar").annotate("start-gate", gate).json();
    let injected = cluster().inject(&sidecar("hook"));
    assert_eq!(agent(&injected)["command"], json!(["/scaivault-agent"]));
    assert_eq!(
        agent(&injected)["lifecycle"]["postStart"]["exec"]["command"],
        json!(["/scaivault-agent", "wait"])
    );
    assert_eq!(agent(&injected).get("startupProbe"), None);
    assert_eq!(
        injected["spec"],
        cluster().inject(&annotated().annotate("pattern", "sidecar").json())["spec"]
    );

    let injected = cluster().inject(&sidecar("probe"));
    assert_eq!(agent(&injected)["startupProbe"]["exec"]["command"], json!(["/scaivault-agent", "healthz"]));

    let init = cluster().inject(&annotated().json());
    assert_eq!((agent(&init).get("lifecycle"), agent(&init).get("startupProbe")), (None, None));
}

fn native_sidecar(name: &str) -> Value {
    let mut sidecar = container(name);
    sidecar["restartPolicy"] = json!("Always");
    sidecar
}

#[test]
fn the_agent_starts_first_but_behind_a_mesh() {
    let order = |pod: PodBuilder| {
        let injected = cluster().inject(&pod.json());
        inspect::names(inspect::entries(&injected, "initContainers"))
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(order(annotated().init_container(container("migrate"))), ["scaivault-init", "migrate"]);
    assert_eq!(order(annotated().init_container(native_sidecar("logs"))), ["scaivault-init", "logs"]);
    for mesh in ["istio-proxy", "linkerd-proxy"] {
        let meshed = annotated()
            .init_container(container("istio-init"))
            .init_container(native_sidecar(mesh))
            .init_container(container("migrate"));
        assert_eq!(order(meshed), ["istio-init", mesh, "scaivault-init", "migrate"]);
    }
    // A mesh proxy among the app containers does not route an init container's traffic.
    let with_sidecar = annotated().init_container(container("migrate")).container(container("istio-proxy"));
    assert_eq!(order(with_sidecar), ["scaivault-init", "migrate"]);
    let last = annotated().init_container(container("migrate")).annotate("position", "last");
    assert_eq!(order(last), ["migrate", "scaivault-init"]);
}

#[test]
fn only_readers_mount_the_secrets() {
    let readers = |pod: PodBuilder| {
        let injected = cluster().inject(&pod.json());
        let users =
            ["initContainers", "containers"].into_iter().flat_map(|list| inspect::entries(&injected, list));
        users
            .filter(|container| {
                inspect::mount(container, "scaivault-secrets").is_some_and(|mount| mount["readOnly"] == true)
            })
            .map(|container| container["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let pod = || {
        annotated()
            .init_container(native_sidecar("istio-proxy"))
            .init_container(container("migrate"))
            .container(container("side"))
            .container(container("linkerd-proxy"))
    };
    assert_eq!(readers(pod()), ["migrate", "app", "side"]);
    assert_eq!(readers(pod().annotate("containers", "app")), ["migrate", "app"]);
    assert_eq!(
        readers(pod().annotate("containers", "app, linkerd-proxy").annotate("init-containers", "")),
        ["app", "linkerd-proxy"]
    );
    assert_eq!(readers(pod().annotate("position", "last")), ["app", "side"]);
}

#[test]
fn variables_come_first_so_that_others_may_use_them() {
    let variables = pod()
        .annotate("inject-env-PASSWORD", "environments/production/billing/database#password")
        .annotate("inject-env-KEY", "environments/production/billing/stripe#secret_key@3")
        .app_field(0, "env", json!([{"name": "DSN", "value": "pg://billing:$(PASSWORD)@db"}]));
    let injected = cluster().inject(&variables.json());
    let app = inspect::app_container(&injected, "app").unwrap();
    assert_eq!(inspect::env_names(app), ["KEY", "PASSWORD", "DSN"]);
    for variable in &app["env"].as_array().unwrap()[..2] {
        let reference = &variable["valueFrom"]["fileKeyRef"];
        assert_eq!(reference["volumeName"], "scaivault-env");
        assert_eq!(reference["path"], "variables");
        assert_eq!(reference["key"], variable["name"]);
        assert_ne!(reference["optional"], true);
    }
    let written = inspect::env(agent(&injected), "SECRET_ENV").unwrap();
    assert_eq!(
        written.lines().collect::<Vec<_>>(),
        [
            "environments/production/billing/stripe#secret_key@3 -> KEY",
            "environments/production/billing/database#password -> PASSWORD",
        ]
    );
    // The kubelet only reads the file from an emptyDir.
    assert!(inspect::volume(&injected, "scaivault-env").unwrap()["emptyDir"].is_object());
}

#[test]
fn optional_variables_only_where_the_app_may_start_without() {
    let variables = pod().annotate("inject-env-PASSWORD", "a/b#password").annotate("fail-open", "true");
    let injected = cluster().inject(&variables.json());
    let app = inspect::app_container(&injected, "app").unwrap();
    assert_eq!(app["env"][0]["valueFrom"]["fileKeyRef"]["optional"], true);
    assert_eq!(inspect::env(agent(&injected), "FAIL_OPEN"), Some("true"));
}

#[test]
fn options_follow_the_file_and_defaults_are_omitted() {
    let options = annotated()
        .annotate("inject-secret-stripe.key", "environments/production/billing/stripe#secret_key")
        .annotate("secret-format-stripe.key", "raw")
        .annotate("secret-mode-db.json", "0444")
        .annotate("inject-secret-a.env", "environments/production/billing/a@7")
        .annotate("secret-format-a.env", "env")
        .annotate("secret-mode-a.env", "0400")
        .annotate("secret-file-a.env", "etc/a.env")
        .annotate("inject-secret-keystore.p12", "environments/production/billing/tls#keystore")
        .annotate("secret-encoding-keystore.p12", "base64")
        .annotate("secret-optional-keystore.p12", "true")
        .annotate(
            "inject-secret-several.json",
            "db=environments/production/a,\n api=environments/production/b#key@2",
        )
        .annotate("secret-optional-several.json", "false");
    let injected = cluster().inject(&options.json());
    assert_eq!(
        inspect::env(agent(&injected), "SECRETS").unwrap().lines().collect::<Vec<_>>(),
        [
            "environments/production/billing/a@7 -> /run/secrets/etc/a.env format=env mode=0400",
            "environments/production/billing/database -> /run/secrets/db.json",
            "environments/production/billing/tls#keystore -> /run/secrets/keystore.p12 encoding=base64 optional=true",
            "db=environments/production/a api=environments/production/b#key@2 -> /run/secrets/several.json",
            "environments/production/billing/stripe#secret_key -> /run/secrets/stripe.key",
        ]
    );
    assert_eq!(
        inspect::env_names(agent(&injected)),
        ["SCAIVAULT_URL", "SCAIVAULT_TOKEN_FILE", "SECRETS"],
        "defaults of the agent are not spelt out"
    );
}
