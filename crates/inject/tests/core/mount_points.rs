//! Mounts of other volumes below the read-only mount path: the agent creates their mount points.

use scaivault_testkit::{PodBuilder, container, inspect, pod};
use serde_json::{Value, json};

use crate::support::{API_TOKEN, DATABASE, agent, cluster, mount_api_token, paths};

const IRSA: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";

fn annotated() -> PodBuilder {
    pod().annotate("inject-secret-db.json", DATABASE)
}

fn token(path: &str) -> Value {
    json!({"name": "cloud-token", "mountPath": path, "readOnly": true})
}

fn projected(name: &str) -> Value {
    json!({"name": name, "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}})
}

/// Adds a mount to every container, as the webhook of a cloud provider does.
fn mount_everywhere(pod: &mut Value, path: &str) {
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            if !container["volumeMounts"].is_array() {
                container["volumeMounts"] = json!([]);
            }
            container["volumeMounts"].as_array_mut().unwrap().push(token(path));
        }
    }
    if !pod["spec"]["volumes"].is_array() {
        pod["spec"]["volumes"] = json!([]);
    }
    pod["spec"]["volumes"].as_array_mut().unwrap().push(projected("cloud-token"));
}

fn mount_points(pod: &Value) -> Vec<Option<&str>> {
    inspect::injected_containers(pod).into_iter().map(|agent| inspect::env(agent, "MOUNT_POINTS")).collect()
}

#[track_caller]
fn refused(pod: PodBuilder, words: &[&str]) {
    let problems = cluster().denial(&pod.json()).problems;
    let text = problems.to_string();
    assert_eq!(problems.len(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[test]
fn cloud_tokens_are_mounted_next_to_the_secrets() {
    for (path, expected) in [
        (IRSA, "/run/secrets/eks.amazonaws.com/serviceaccount/\n"),
        (
            "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount",
            "/run/secrets/pods.eks.amazonaws.com/serviceaccount/\n",
        ),
        ("/var/run/secrets/azure/tokens", "/run/secrets/azure/tokens/\n"),
        ("/run/secrets/tokens/gcp-ksa/", "/run/secrets/tokens/gcp-ksa/\n"),
        ("/var/run//secrets/./a/../b", "/run/secrets/b/\n"),
    ] {
        let mut called = annotated().json();
        mount_api_token(&mut called);
        mount_everywhere(&mut called, path);
        let injected = cluster().inject(&called);
        assert_eq!(mount_points(&injected), [Some(expected)], "{path}");
        let app = inspect::app_container(&injected, "app").unwrap();
        assert_eq!(inspect::volume_at(app, "/run/secrets"), Some("scaivault-secrets"));
        assert_eq!(inspect::volume_at(app, path), Some("cloud-token"));
        assert_eq!(inspect::volume_at(app, API_TOKEN), Some("kube-api-access-x7k2p"));
        cluster().expect_untouched(&injected, "already-injected");
    }
}

/// The other webhook runs after the injector, and the API server calls the injector again.
#[test]
fn a_later_mount_is_added_to_the_agents() {
    let kinds = [
        annotated(),
        annotated().annotate("refresh-interval", "5m"),
        annotated().annotate("refresh-interval", "5m").spec("restartPolicy", "Never"),
    ];
    for kind in kinds {
        let mut first_call = kind.json();
        mount_api_token(&mut first_call);
        let mut between = cluster().inject(&first_call);
        assert!(mount_points(&between).iter().all(Option::is_none));
        between["spec"]["initContainers"][0]["image"] = json!("mirror.example/scaivault-init:1.0");
        mount_everywhere(&mut between, IRSA);

        let injection = cluster().injection(&between);
        assert!(!injection.replaced);
        let touched = paths(&injection);
        assert!(
            touched.iter().all(|path| path.starts_with("/spec/initContainers/") && path.ends_with("/env/-"))
        );

        let after = cluster().outcome(&between);
        let agents = mount_points(&after);
        assert!(!agents.is_empty());
        for points in agents {
            assert_eq!(points, Some("/run/secrets/eks.amazonaws.com/serviceaccount/\n"));
        }
        assert_eq!(after["spec"]["initContainers"][0]["image"], "mirror.example/scaivault-init:1.0");
        cluster().expect_untouched(&after, "already-injected");
    }
}

#[test]
fn a_second_mount_is_added_to_the_first() {
    let mut called = annotated().json();
    mount_everywhere(&mut called, IRSA);
    let mut between = cluster().inject(&called);
    let more = json!({"name": "LOG_LEVEL_OF_OTHERS", "value": "x"});
    between["spec"]["initContainers"][0]["env"].as_array_mut().unwrap().push(more);
    let app = between["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
    app.push(json!({"name": "cloud-token", "mountPath": "/run/secrets/azure/tokens"}));
    let after = cluster().outcome(&between);
    let expected = "/run/secrets/azure/tokens/\n/run/secrets/eks.amazonaws.com/serviceaccount/\n";
    assert_eq!(mount_points(&after), [Some(expected)]);
    assert_eq!(inspect::env_names(agent(&after)), inspect::env_names(agent(&between)));
    cluster().expect_untouched(&after, "already-injected");
    // A removed mount leaves an empty directory and does not change the plan.
    let mut without = after;
    without["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().pop();
    cluster().expect_untouched(&without, "already-injected");
}

#[test]
fn detach_restores_a_pod_with_mount_points() {
    let mut called = annotated().json();
    mount_everywhere(&mut called, IRSA);
    let changed =
        PodBuilder::from(cluster().inject(&called)).annotate("mutation-mode", "ignore-and-detach").json();
    let detached = PodBuilder::from(cluster().outcome(&changed)).without("mutation-mode").json();
    assert_eq!(detached, called);
}

#[test]
fn only_readers_share_the_mount_points() {
    let mount = |name: &str, path: &str| {
        let mut container = container(name);
        container["volumeMounts"] = json!([token(path)]);
        container
    };
    let pod = || {
        annotated().container(mount("a", "/run/secrets/a/token")).init_container(mount("b", "/run/secrets/b"))
    };
    let injected = cluster().inject(&pod().json());
    assert_eq!(mount_points(&injected), [Some("/run/secrets/a/token/\n/run/secrets/b/\n")]);
    let injected =
        cluster().inject(&pod().annotate("containers", "app").annotate("init-containers", "").json());
    assert_eq!(mount_points(&injected), [None]);
    // Without files, nothing is mounted at the mount path.
    let variable = pod().without("inject-secret-db.json").annotate("inject-env-X", "a/b#c");
    assert_eq!(mount_points(&cluster().inject(&variable.json())), [None]);
}

#[test]
fn a_mount_at_the_path_itself_is_refused() {
    for path in ["/run/secrets", "/run/secrets/", "/var/run/secrets", "/run/./secrets", "/run/secrets/a/.."] {
        let pod = annotated().app_field(0, "volumeMounts", json!([token(path)]));
        refused(pod, &["container \"app\"", path, "mount path itself", "mount-conflict"]);
    }
}

#[test]
fn a_file_cannot_have_the_path_of_a_mount() {
    let mounted = |path: &str| annotated().app_field(0, "volumeMounts", json!([token(path)]));
    refused(mounted("/run/secrets/db.json"), &["db.json", "\"app\"", "secret-file-", "mount-conflict"]);
    refused(mounted("/run/secrets/db.json/x"), &["db.json/x", "mount-conflict"]);
    let file = |file: &str| mounted("/var/run/secrets/azure/tokens").annotate("secret-file-db.json", file);
    refused(file("azure/tokens/db.json"), &["/run/secrets/azure/tokens/db.json", "mount-conflict"]);
    refused(file("azure"), &["/run/secrets/azure", "mount-conflict"]);
    cluster().inject(&file("azure/db.json").json());
    // The agent's own names.
    refused(mounted("/run/secrets/..data"), &["..data", "no segment may start with ..", "mount-conflict"]);
    refused(mounted("/run/secrets/a\nb"), &["control character", "mount-conflict"]);
}

#[test]
fn a_mounted_file_gets_an_empty_file_to_be_mounted_at() {
    let mount =
        |volume: Value, mount: Value| annotated().app_field(0, "volumeMounts", json!([mount])).volume(volume);
    let key = |path: &str, sub_path: &str| json!({"name": "v", "mountPath": path, "subPath": sub_path});
    let secret = json!({"name": "v", "secret": {"secretName": "license"}});
    let items =
        json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "tls/ca.crt"}]}});
    let socket = |kind: &str| json!({"name": "v", "hostPath": {"path": "/run/x", "type": kind}});
    let whole = json!({"name": "v", "mountPath": "/run/secrets/x"});
    let claim = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
    for (volume, mounted, expected) in [
        (secret, key("/run/secrets/license.key", "license.key"), "/run/secrets/license.key\n"),
        (projected("v"), key("/run/secrets/aws/token", "token"), "/run/secrets/aws/token\n"),
        (projected("v"), key("/run/secrets/aws/token", "./token"), "/run/secrets/aws/token\n"),
        (projected("v"), key("/run/secrets/x", "."), "/run/secrets/x/\n"),
        (claim.clone(), key("/run/secrets/x", "./"), "/run/secrets/x/\n"),
        (socket("File"), key("/run/secrets/x", "."), "/run/secrets/x\n"),
        (items.clone(), key("/run/secrets/ca", ".//tls/"), "/run/secrets/ca/\n"),
        (items.clone(), key("/run/secrets/ca", "tls"), "/run/secrets/ca/\n"),
        (items, key("/run/secrets/ca.crt", "tls/ca.crt"), "/run/secrets/ca.crt\n"),
        (socket("Socket"), whole.clone(), "/run/secrets/x\n"),
        (socket("Directory"), whole.clone(), "/run/secrets/x/\n"),
        (json!({"name": "v", "csi": {"driver": "d"}}), whole.clone(), "/run/secrets/x/\n"),
        (json!({"name": "v", "emptyDir": {}}), whole.clone(), "/run/secrets/x/\n"),
    ] {
        let injected = cluster().inject(&mount(volume, mounted).json());
        assert_eq!(mount_points(&injected), [Some(expected)]);
    }
    for (volume, mounted, fix) in [
        (claim.clone(), key("/run/secrets/x", "sub"), "mount the whole volume"),
        (
            claim,
            json!({"name": "v", "mountPath": "/run/secrets/x", "subPathExpr": "$(POD)"}),
            "mount the whole volume",
        ),
        (
            json!({"name": "v", "hostPath": {"path": "/run/x"}}),
            whole,
            "set hostPath.type to Directory or File",
        ),
    ] {
        refused(mount(volume, mounted), &["/run/secrets/x", "a file or a directory", fix, "mount-conflict"]);
    }
}

/// Container runtimes mount paths with fewer segments first, and otherwise in the order of the
/// list.
#[test]
fn the_secrets_are_mounted_before_mounts_below_them() {
    let order = |path: &str, mount_path: &str| {
        let pod =
            annotated().app_field(0, "volumeMounts", json!([token(path)])).annotate("mount-path", mount_path);
        let injected = cluster().inject(&pod.json());
        inspect::names(injected["spec"]["containers"][0]["volumeMounts"].as_array().unwrap())
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(order("/run/secrets/x", "/var/run/secrets"), ["scaivault-secrets", "cloud-token"]);
    assert_eq!(order("/var/run/secrets/x", "/run/secrets"), ["cloud-token", "scaivault-secrets"]);
    assert_eq!(order("/data", "/run/secrets"), ["cloud-token", "scaivault-secrets"]);
}

/// Its mount points would not exist when it starts.
#[test]
fn an_early_init_container_cannot_mount_below_the_path() {
    let migrate = |mounts: Value| {
        let mut migrate = container("migrate");
        migrate["volumeMounts"] = mounts;
        annotated()
            .init_container(migrate)
            .annotate("position", "last")
            .annotate("init-containers", "migrate")
    };
    for path in [IRSA, API_TOKEN] {
        refused(
            migrate(json!([token(path)])),
            &["init-containers", "\"migrate\"", "position: first", "mount-conflict"],
        );
        cluster().inject(&migrate(json!([token(path)])).annotate("mount-path", "/secrets").json());
        cluster().inject(&migrate(json!([token(path)])).annotate("position", "first").json());
        cluster().inject(&migrate(json!([token(path)])).annotate("init-containers", "*").json());
    }
    let injection = cluster().injection(&migrate(json!([token("/data")])).json());
    assert!(injection.warnings.iter().any(|text| text.contains("migrate")), "{:?}", injection.warnings);
}

#[test]
fn a_read_only_mount_around_the_secrets_is_worth_a_warning() {
    let warnings = |read_only: bool| {
        let mount = json!({"name": "run", "mountPath": "/run", "readOnly": read_only});
        cluster().injection(&annotated().app_field(0, "volumeMounts", json!([mount])).json()).warnings
    };
    assert!(warnings(true).iter().any(|text| text.contains("\"/run\"")), "{:?}", warnings(true));
    assert_eq!(warnings(false), [""; 0]);
}
