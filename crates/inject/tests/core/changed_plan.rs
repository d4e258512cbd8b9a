//! Injected pods whose settings, platform or agent environment has changed since.

use scaivault_inject::{
    Decision, InjectorConfig, Layer,
    annotations::{Group, Key, REGISTRY},
};
use scaivault_testkit::{PodBuilder, inspect, key, pod};
use serde_json::{Value, json};

use crate::support::{Cluster, DATABASE, after, agent, cluster, config};

fn annotated() -> PodBuilder {
    pod().annotate("inject-secret-db.json", DATABASE).annotate("refresh-interval", "5m")
}

fn platform(config: InjectorConfig) -> Cluster {
    Cluster::with(config)
}

fn receipt(pod: &Value) -> Value {
    serde_json::from_str(inspect::injector_annotation(pod, "receipt").unwrap()).unwrap()
}

fn with_receipt(mut pod: Value, receipt: &Value) -> Value {
    pod["metadata"]["annotations"][key("receipt")] = receipt.to_string().into();
    pod
}

/// Checks that a second call replaces the injection with that of `expected`, and that a third one
/// changes nothing.
#[track_caller]
fn expect_replaced(cluster: &Cluster, pod: &Value, expected: &Value) {
    let injection = cluster.injection(pod);
    assert!(injection.replaced);
    let replaced = cluster.outcome(pod);
    assert_eq!(replaced, *expected);
    cluster.expect_untouched(&replaced, "already-injected");
}

/// Every example of every key that a pod may set, added to a pod that was injected without it,
/// gives the injection of a new pod.
#[test]
fn every_changed_setting_causes_a_new_injection() {
    let mut tried = 0;
    let sections = REGISTRY.iter().filter(|section| !matches!(section.group, Group::Secrets | Group::Mode));
    for spec in sections.flat_map(|section| section.specs).filter(|spec| spec.setters.include(&Layer::Pod)) {
        let key = match spec.key {
            Key::Exact(key) => key.text().to_owned(),
            Key::Named(key) => format!("{key}db.json"),
        };
        for (before, example) in
            bases(&key).iter().flat_map(|base| spec.examples.iter().map(move |e| (base, e)))
        {
            let changed = before.clone().annotate(&key, example).json();
            let (Decision::Inject(_), Decision::Inject(_)) =
                (cluster().decide(&before.clone().json()), cluster().decide(&changed))
            else {
                continue;
            };
            tried += 1;
            let edited =
                PodBuilder::from(cluster().inject(&before.clone().json())).annotate(&key, example).json();
            let fresh = cluster().inject(&changed);
            assert_eq!(cluster().outcome(&edited), fresh, "{key}: {example}");
            // And the reverse: the annotation is removed again.
            let removed = PodBuilder::from(fresh).without(&key).json();
            let before = before.clone().without(&key).json();
            assert_eq!(cluster().outcome(&removed), cluster().outcome(&before), "{key}: {example} removed");
        }
    }
    assert!(tried > 80, "{tried}");
}

/// Pods whose other keys give a key an effect.
fn bases(key: &str) -> Vec<PodBuilder> {
    let plain = pod().annotate("inject-secret-db.json", DATABASE);
    let field = pod().annotate("inject-secret-db.json", "environments/production/stripe#secret_key");
    let sidecar = annotated().annotate("inject-dynamic-pg.json", "engine=postgres-prod role=readonly");
    let trust = sidecar
        .clone()
        .annotate("ca-configmap", "scaivault-ca")
        .annotate("client-credentials-secret", "billing-client");
    let job = sidecar.clone().spec("restartPolicy", "Never");
    let reload = match key {
        "reload-target" => annotated().annotate("reload-signal", "SIGHUP"),
        _ => annotated().annotate("reload-target", "nginx"),
    };
    vec![plain, field, sidecar, trust, job, reload.spec("securityContext", json!({"runAsUser": 1000}))]
}

#[test]
fn a_new_image_of_the_platform_reaches_injected_manifests() {
    let newer = || {
        platform(InjectorConfig { sidecar_image: Some("scailabs/scaivault-sidecar:1.1".into()), ..config() })
    };
    let committed = cluster().inject(&annotated().json());
    expect_replaced(&newer(), &committed, &newer().inject(&annotated().json()));
    // The image of a container that the pod does not have makes no difference.
    let other =
        platform(InjectorConfig { init_image: Some("scailabs/scaivault-init:1.1".into()), ..config() });
    other.expect_untouched(&committed, "already-injected");
}

#[test]
fn changed_defaults_of_the_platform_reach_injected_manifests() {
    for (name, value) in [
        ("limits-memory", "128Mi"),
        ("limits-cpu", "200m"),
        ("requests-cpu", "20m"),
        ("requests-memory", "32Mi"),
        ("run-as-user", "1000"),
        ("run-as-group", "1000"),
        ("position", "last"),
        ("log-level", "debug"),
    ] {
        let mut changed = config();
        changed.defaults.insert(name.to_owned(), value.to_owned());
        let changed = platform(changed);
        let committed = cluster().inject(&annotated().json());
        expect_replaced(&changed, &committed, &changed.inject(&annotated().json()));
    }
}

/// The application's user is edited in a manifest. The agent has to use the same one, or the
/// application cannot read its files.
#[test]
fn the_agent_follows_the_user_of_the_application() {
    let as_user = |uid: i64| annotated().spec("securityContext", json!({"runAsUser": uid})).json();
    let mut edited = cluster().inject(&as_user(1000));
    edited["spec"]["securityContext"]["runAsUser"] = json!(2000);
    expect_replaced(&cluster(), &edited, &cluster().inject(&as_user(2000)));
}

/// Two versions of the injector answer calls for the same request in turn during a rollout.
#[test]
fn two_versions_of_the_injector_converge() {
    let newer = || {
        platform(InjectorConfig { sidecar_image: Some("scailabs/scaivault-sidecar:1.1".into()), ..config() })
    };
    let first = cluster().inject(&annotated().json());
    let second = newer().outcome(&first);
    assert_eq!(agent(&second)["image"], "scailabs/scaivault-sidecar:1.1");
    newer().expect_untouched(&second, "already-injected");
    assert_eq!(cluster().outcome(&second), first);
}

type Rewrite = fn(&mut Value);

/// Changes that other webhooks make between two calls, to the injected containers and to others.
#[test]
fn rewrites_by_other_webhooks_are_no_new_plan() {
    let injected = cluster().inject(&annotated().json());
    let rewrites: [(&str, Rewrite); 5] = [
        ("registry", |pod| pod["spec"]["initContainers"][0]["image"] = json!("mirror.example/sidecar:1.0")),
        ("pull policy", |pod| pod["spec"]["initContainers"][0]["imagePullPolicy"] = json!("Always")),
        ("resources", |pod| {
            let amounts = json!({"cpu": "1", "memory": "1Gi"});
            for list in ["initContainers", "containers"] {
                pod["spec"][list][0]["resources"] = json!({"limits": amounts, "requests": amounts});
            }
        }),
        ("security context", |pod| {
            pod["spec"]["initContainers"][0]["securityContext"]["seLinuxOptions"] =
                json!({"level": "s0:c1,c2"});
            pod["spec"]["initContainers"][0]["securityContext"]["runAsUser"] = json!(1_000_680_000);
            pod["spec"]["securityContext"] =
                json!({"fsGroup": 2000, "seccompProfile": {"type": "RuntimeDefault"}});
        }),
        ("neighbours", |pod| {
            let proxy = json!({"name": "istio-proxy", "restartPolicy": "Always", "image": "istio"});
            pod["spec"]["initContainers"].as_array_mut().unwrap().insert(0, proxy);
        }),
    ];
    for (name, rewrite) in rewrites {
        let mut between = injected.clone();
        rewrite(&mut between);
        assert_eq!(cluster().decide(&between).reason(), "already-injected", "{name}");
    }
}

#[test]
fn a_receipt_without_a_digest_causes_one_upgrade() {
    let injected = cluster().inject(&annotated().json());
    let mut old = receipt(&injected);
    assert!(old.as_object_mut().unwrap().remove("plan").is_some());
    expect_replaced(&cluster(), &with_receipt(injected.clone(), &old), &injected);
}

/// A digest can be copied from another pod. It neither preserves visible differences nor removes
/// fields of the user.
#[test]
fn a_forged_digest_changes_nothing() {
    let fresh = cluster().inject(&annotated().json());
    let mut forged = receipt(&fresh);
    for digest in [json!("0000000000000000"), json!(""), json!("x".repeat(100_000)), json!(null), json!(7)] {
        forged["plan"] = digest;
        expect_replaced(&cluster(), &with_receipt(fresh.clone(), &forged), &fresh);
    }
    // The correct digest on a pod without an injection, and on one whose agent has other variables.
    let bare = with_receipt(annotated().json(), &receipt(&fresh));
    assert_eq!(cluster().outcome(&bare)["spec"], fresh["spec"]);
    let mut elsewhere = fresh.clone();
    elsewhere["spec"]["initContainers"][0]["env"][0]["value"] = json!("https://evil.example");
    expect_replaced(&cluster(), &elsewhere, &fresh);
    // A user's container is neither removed nor treated as the agent.
    let mut users = with_receipt(annotated().json(), &receipt(&fresh));
    users["spec"]["initContainers"] =
        json!([{"name": "scaivault-sidecar", "image": "users", "args": ["serve"]}]);
    assert_eq!(cluster().decide(&users).outcome(), "denied");
}

#[test]
fn variables_that_only_observe_are_left_to_other_webhooks() {
    let plain = annotated();
    for (annotated, name, value) in [
        (&plain, "LOG_LEVEL", "debug"),
        (&plain, "LOG_LEVEL", "WARN"),
        (&plain, "LOG_FORMAT", "text"),
        (&plain, "SCAIVAULT_METRICS_LISTEN", "0.0.0.0:9102"),
        (&plain, "HTTPS_PROXY", "http://proxy.example:3128"),
        (&plain, "OTEL_SERVICE_NAME", "billing"),
        (&plain.clone().annotate("log-level", "debug"), "LOG_LEVEL", "info"),
    ] {
        let mut between = cluster().inject(&annotated.clone().json());
        for list in ["initContainers", "containers"] {
            let variables = &mut between["spec"][list][0]["env"];
            if !variables.is_array() {
                *variables = json!([]);
            }
            variables.as_array_mut().unwrap().push(json!({"name": name, "value": value}));
        }
        cluster().expect_untouched(&between, "already-injected");
        // A container that was added later gets its mount, and the variable remains.
        let late = scaivault_testkit::container("late");
        between["spec"]["containers"].as_array_mut().unwrap().push(late);
        let added = cluster().injection(&between);
        assert!(!added.replaced, "{name}");
        let completed = cluster().outcome(&between);
        let variables = agent(&completed)["env"].as_array().unwrap();
        let last = variables.iter().rfind(|variable| variable["name"] == name).unwrap();
        assert_eq!(last["value"], value);
    }
}

#[test]
fn variables_that_redirect_the_agent_are_removed() {
    let fresh = cluster().inject(&annotated().json());
    for variable in [
        json!({"name": "SCAIVAULT_URL", "value": "https://evil.example"}),
        json!({"name": "SCAIVAULT_ALLOW_HTTP", "value": "true"}),
        json!({"name": "SCAIVAULT_TENANT_ID", "value": "tnt_other"}),
        json!({"name": "SCAIVAULT_ROLE", "value": "sa:other"}),
        json!({"name": "SCAIVAULT_CA_FILE", "value": "/tmp/ca.crt"}),
        json!({"name": "SCAIKEY_TOKEN_URL", "value": "https://evil.example"}),
        json!({"name": "FAIL_OPEN", "value": "true"}),
        json!({"name": "RELOAD_URL", "value": "http://127.0.0.1:1/"}),
        // With these values the agent would not start.
        json!({"name": "LOG_LEVEL", "value": "notice"}),
        json!({"name": "LOG_FORMAT", "value": "logfmt"}),
        json!({"name": "LOG_LEVEL", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}),
    ] {
        let mut forged = fresh.clone();
        forged["spec"]["initContainers"][0]["env"].as_array_mut().unwrap().push(variable);
        expect_replaced(&cluster(), &forged, &fresh);
    }
}

/// Keys that only change the digest, and the pod that remains after the injection is detached
/// again.
#[test]
fn a_replaced_injection_is_detached_like_the_first() {
    let committed = cluster().inject(&annotated().json());
    let changed = PodBuilder::from(committed).annotate("limits-memory", "128Mi").json();
    let replaced = after(&changed, &cluster().decide(&changed));
    let changed = PodBuilder::from(replaced).annotate("mutation-mode", "ignore-and-detach").json();
    let detached = PodBuilder::from(cluster().outcome(&changed)).without("mutation-mode").json();
    assert_eq!(detached, annotated().annotate("limits-memory", "128Mi").json());
}
