//! Further calls for the same pod, after changes by other webhooks, the API server or a user.

use scaivault_testkit::{PodBuilder, container, inspect, pod};
use serde_json::{Map, Value, json};

use crate::support::{API_TOKEN, DATABASE, after, cluster, mount_api_token, paths};

fn annotated() -> PodBuilder {
    pod().annotate("inject-secret-db.json", DATABASE).annotate("refresh-interval", "5m")
}

fn injected(annotated: PodBuilder) -> Value {
    cluster().inject(&annotated.json())
}

const RECEIPT: &str = "/metadata/annotations/scaivault.scailabs.ai~1receipt";

#[test]
fn a_later_container_only_gets_its_mount() {
    let mut between = injected(annotated());
    let sidecar = &mut between["spec"]["initContainers"][0];
    sidecar["image"] = json!("mirror.example/scailabs/scaivault-sidecar:1.0");
    sidecar["resources"] = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    sidecar["securityContext"]["seLinuxOptions"] = json!({"level": "s0:c1,c2"});
    between["spec"]["containers"].as_array_mut().unwrap().push(container("late"));

    let injection = cluster().injection(&between);
    // The receipt must record that the container that was added later had no mounts.
    let touched: Vec<_> = paths(&injection).into_iter().filter(|path| *path != RECEIPT).collect();
    assert_eq!(touched, ["/spec/containers/1/volumeMounts"]);
    assert!(!injection.replaced);

    let after = cluster().outcome(&between);
    let late = inspect::app_container(&after, "late").unwrap();
    assert_eq!(late["volumeMounts"], inspect::app_container(&after, "app").unwrap()["volumeMounts"]);
    cluster().expect_untouched(&after, "already-injected");
}

#[test]
fn a_late_container_is_detached_like_the_others() {
    let mut between = injected(annotated());
    between["spec"]["containers"].as_array_mut().unwrap().push(container("late"));
    let changed =
        PodBuilder::from(cluster().outcome(&between)).annotate("mutation-mode", "ignore-and-detach").json();
    let detached = PodBuilder::from(cluster().outcome(&changed)).without("mutation-mode").json();
    assert_eq!(detached, annotated().container(container("late")).json());
}

#[test]
fn a_late_container_gets_the_variables_too() {
    let mut between =
        injected(annotated().annotate("inject-env-STRIPE_KEY", "environments/production/stripe#secret_key"));
    let mut late = container("late");
    late["env"] = json!([{"name": "OWN", "value": "$(STRIPE_KEY)"}]);
    between["spec"]["containers"].as_array_mut().unwrap().push(late);
    let after = cluster().outcome(&between);
    assert_eq!(inspect::env_names(inspect::app_container(&after, "late").unwrap()), ["STRIPE_KEY", "OWN"]);
}

#[test]
fn a_later_mesh_proxy_gets_no_mount() {
    let mut between = injected(annotated());
    between["spec"]["containers"].as_array_mut().unwrap().push(container("istio-proxy"));
    cluster().expect_untouched(&between, "already-injected");
}

#[test]
fn a_removed_mount_is_restored() {
    let whole = injected(annotated());
    let mut between = whole.clone();
    between["spec"]["containers"][0]["volumeMounts"] = json!([]);
    let after = cluster().outcome(&between);
    assert_eq!(after["spec"], whole["spec"]);
}

#[test]
fn a_removed_agent_is_restored() {
    let whole = injected(annotated());
    let mut between = whole.clone();
    between["spec"]["initContainers"] = json!([]);
    let after = cluster().outcome(&between);
    assert_eq!(after["spec"], whole["spec"]);
}

/// Fields that the API server, the service account plugin and a `LimitRange` default do not change
/// the intent.
#[test]
fn defaults_that_were_filled_in_are_no_new_plan() {
    let everything = annotated()
        .annotate("inject-env-STRIPE_KEY", "environments/production/stripe#secret_key")
        .annotate("inject-dynamic-pg.json", "engine=postgres-prod role=readonly")
        .annotate("ca-configmap", "scaivault-ca")
        .annotate("client-credentials-secret", "billing-client")
        .annotate("client-credentials-id-key", "clientId")
        .annotate("refresh-on-event", "true")
        .annotate("start-gate", "probe");
    for annotated in [annotated(), everything.clone(), everything.spec("restartPolicy", "Never")] {
        let mut stored = injected(annotated);
        fill_in_defaults(&mut stored);
        cluster().expect_untouched(&stored, "already-injected");
    }
}

/// After the webhooks, the API server runs its own plugins again, and calls the webhooks again if
/// these changed the pod.
#[test]
fn the_api_servers_token_is_kept_out_of_the_agent() {
    let lease = annotated().annotate("inject-dynamic-pg.json", "engine=postgres-prod role=readonly");
    for annotated in [
        annotated(),
        annotated().without("refresh-interval"),
        annotated().annotate("mount-path", "/var/run/secrets"),
        annotated().annotate("client-credentials-secret", "billing-client"),
        lease.spec("restartPolicy", "Never"),
    ] {
        let mut called = annotated.json();
        mount_api_token(&mut called);
        let answered = cluster().inject(&called);
        let mut second_look = answered.clone();
        mount_api_token(&mut second_look);
        assert_eq!(second_look, answered);

        let app = inspect::app_container(&answered, "app").unwrap();
        assert_eq!(inspect::volume_at(app, API_TOKEN), Some("kube-api-access-x7k2p"));
        let login = inspect::volume(&answered, "scaivault-credentials")
            .map_or("scaivault-token", |_| "scaivault-credentials");
        for agent in inspect::injected_containers(&answered) {
            assert_eq!(inspect::volume_at(agent, API_TOKEN), Some(login));
            let mounts = agent["volumeMounts"].as_array().unwrap();
            let here = mounts.iter().find(|mount| mount["mountPath"] == API_TOKEN).unwrap();
            assert_eq!(here["readOnly"], true);
        }
    }
}

/// The service account may also decide whether pods have the token, which the injector does not
/// see.
#[test]
fn a_pod_without_the_api_servers_token_gets_the_same_agent() {
    let without = injected(annotated().spec("automountServiceAccountToken", false));
    assert_eq!(without["spec"]["initContainers"], injected(annotated())["spec"]["initContainers"]);
}

/// A template that an older injector without this mount injected on the command line, now created
/// as a pod.
#[test]
fn an_agent_that_got_the_api_servers_token_is_replaced() {
    for annotated in
        [annotated(), annotated().spec("restartPolicy", "Never").annotate("refresh-on-event", "true")]
    {
        let mut pod = injected(annotated);
        for agent in pod["spec"]["initContainers"].as_array_mut().unwrap() {
            agent["volumeMounts"].as_array_mut().unwrap().retain(|mount| mount["mountPath"] != API_TOKEN);
        }
        mount_api_token(&mut pod);
        assert!(cluster().injection(&pod).replaced);
        let answered = cluster().outcome(&pod);
        for agent in inspect::injected_containers(&answered) {
            assert_eq!(inspect::volume_at(agent, API_TOKEN), Some("scaivault-token"));
        }
        assert!(
            inspect::volume(&answered, "kube-api-access-x7k2p").is_some(),
            "the app has it still: {answered}"
        );
        cluster().expect_untouched(&answered, "already-injected");
    }
}

fn fill_in_defaults(pod: &mut Value) {
    let spec = &mut pod["spec"];
    default(
        spec,
        &json!({
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "securityContext": {}, "enableServiceLinks": true,
            "serviceAccountName": "default", "serviceAccount": "default", "tolerations": [],
        }),
    );
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().unwrap() {
            default(
                container,
                &json!({
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "imagePullPolicy": "IfNotPresent", "resources": {},
                }),
            );
            default(&mut container["resources"], &json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}));
            if container["startupProbe"].is_object() {
                default(
                    &mut container["startupProbe"],
                    &json!({
                        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                    }),
                );
            }
            for variable in container["env"].as_array_mut().into_iter().flatten() {
                if variable["valueFrom"]["fieldRef"].is_object() {
                    default(&mut variable["valueFrom"]["fieldRef"], &json!({"apiVersion": "v1"}));
                }
                if variable["valueFrom"]["fileKeyRef"].is_object() {
                    default(&mut variable["valueFrom"]["fileKeyRef"], &json!({"optional": false}));
                }
            }
        }
    }
    for volume in spec["volumes"].as_array_mut().unwrap() {
        for kind in ["projected", "configMap", "secret"] {
            if volume[kind].is_object() {
                default(&mut volume[kind], &json!({"defaultMode": 420}));
            }
        }
    }
    mount_api_token(pod);
}

/// Sets absent fields to defaults.
fn default(object: &mut Value, defaults: &Value) {
    let Value::Object(object) = object else { panic!("no object: {object}") };
    let absent: Map<_, _> = defaults
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !object.contains_key(*key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    object.extend(absent);
}

/// A template that was injected on the command line, edited by hand, and is now created as a pod.
#[test]
fn an_edited_template_is_replanned_in_one_patch() {
    let template = injected(annotated());
    let edit = |pod: PodBuilder| pod.annotate("inject-secret-stripe.json", "environments/production/stripe");
    let edited = edit(PodBuilder::from(template)).json();
    let injection = cluster().injection(&edited);
    assert!(injection.replaced);
    assert_eq!(cluster().outcome(&edited), injected(edit(annotated())));
}

#[test]
fn every_setting_of_the_agent_is_part_of_the_intent() {
    for (key, value) in [
        ("pattern", "init"),
        ("mount-path", "/secrets"),
        ("refresh-interval", "1h"),
        ("refresh-on-event", "true"),
        ("role", "sa:other"),
        ("url", "https://scaivault.example"),
        ("audience", "vault.example"),
        ("token-expiration-seconds", "7200"),
        ("fail-open", "true"),
        ("fetch-timeout", "10s"),
        ("volume-size-limit", "4Mi"),
        ("containers", "app"),
        ("ca-configmap", "scaivault-ca"),
        ("ca-configmap-key", "ca-bundle.crt"),
        ("ca-trust", "both"),
        ("scaikey-trust", "public"),
        ("client-credentials-id-key", "clientId"),
        ("client-credentials-secret-key", "clientSecret"),
        ("reload-url", "http://127.0.0.1:9090/-/reload"),
        ("inject-secret-db.json", "db=environments/production/billing/database api=a/b#key"),
        ("secret-optional-db.json", "true"),
        ("secret-format-db.json", "dotenv"),
    ] {
        let annotated = if key == "pattern" { annotated().without("refresh-interval") } else { annotated() };
        let mut before =
            annotated.clone().annotate("inject-dynamic-pg.json", "engine=postgres-prod role=readonly");
        if key.starts_with("ca-") && key != "ca-configmap" || key == "scaikey-trust" {
            before = before.annotate("ca-configmap", "scaivault-ca");
        }
        if key.starts_with("client-credentials-") || key == "scaikey-trust" {
            before = before.annotate("client-credentials-secret", "billing-client");
        }
        let edited = PodBuilder::from(injected(before.clone())).annotate(key, value).json();
        let decision = cluster().decide(&edited);
        assert_eq!(after(&edited, &decision), injected(before.annotate(key, value)), "{key}");
    }
}

/// The pod's name comes from the kubelet, so a variable of that name with another source differs.
#[test]
fn the_pods_name_is_compared_by_its_source() {
    let with_events = || annotated().annotate("refresh-on-event", "true");
    let whole = injected(with_events());
    let variables = whole["spec"]["initContainers"][0]["env"].as_array().unwrap();
    let place = variables.iter().position(|variable| variable["name"] == "SCAIVAULT_POD").unwrap();
    assert_eq!(
        variables[place],
        json!({"name": "SCAIVAULT_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    );
    for other in [
        json!({"name": "SCAIVAULT_POD", "value": "billing-0"}),
        json!({"name": "SCAIVAULT_POD", "value": ""}),
        json!({"name": "SCAIVAULT_POD", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}),
        json!({"name": "SCAIVAULT_POD", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}),
    ] {
        let mut edited = whole.clone();
        edited["spec"]["initContainers"][0]["env"][place] = other;
        assert!(cluster().injection(&edited).replaced);
        assert_eq!(cluster().outcome(&edited)["spec"], whole["spec"]);
    }
    let polling = injected(annotated());
    assert!(!inspect::env_names(&polling["spec"]["initContainers"][0]).contains(&"SCAIVAULT_POD"));
}

/// Whether a container starts after the agent, and so can read the files, depends on the new
/// position of the agent.
#[test]
fn a_moved_agent_is_checked_at_its_new_place() {
    let mut migrate = container("migrate");
    migrate["volumeMounts"] = json!([{"name": "data", "mountPath": "/run/secrets"}]);
    let first = pod().annotate("inject-secret-db.json", DATABASE).init_container(migrate);
    let last = first.clone().annotate("position", "last");
    let template = injected(first.annotate("mount-path", "/secrets"));
    let edited = PodBuilder::from(template).without("mount-path").annotate("position", "last").json();
    assert_eq!(cluster().outcome(&edited), injected(last));
}

#[test]
fn an_unneeded_sidecar_is_removed() {
    let template = injected(annotated());
    let edited = PodBuilder::from(template).without("refresh-interval").json();
    let after = cluster().outcome(&edited);
    assert_eq!(inspect::names(inspect::entries(&after, "initContainers")), ["scaivault-init"]);
}

#[test]
fn a_process_namespace_that_we_shared_is_unshared_again() {
    let reload = annotated().annotate("reload-signal", "SIGHUP").annotate("reload-target", "billing");
    let template = injected(reload);
    assert_eq!(template["spec"]["shareProcessNamespace"], true);
    let edited = PodBuilder::from(template).without("reload-signal").without("reload-target").json();
    assert_eq!(cluster().outcome(&edited), injected(annotated()));
}

#[test]
fn a_process_namespace_that_the_user_shared_stays_shared() {
    let shared = || annotated().spec("shareProcessNamespace", true);
    let template =
        injected(shared().annotate("reload-signal", "SIGHUP").annotate("reload-target", "billing"));
    let edited = PodBuilder::from(template).without("reload-signal").without("reload-target").json();
    assert_eq!(cluster().outcome(&edited), injected(shared()));
}
