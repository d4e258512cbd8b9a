//! A tenant who wants a neighbour's secrets, or a denial of service.

use scaivault_inject::{Layer, PodView};
use scaivault_testkit::{PodBuilder, container, pod};
use serde_json::{Value, json};

use crate::support::{Cluster, DATABASE, agent, cluster};

fn annotated() -> PodBuilder {
    pod().annotate("inject-secret-db.json", DATABASE)
}

fn refused(pod: &Value, words: &[&str]) {
    let text = cluster().refusal(pod);
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[test]
fn only_so_many_names_containers_and_bytes_are_handled() {
    let names = (0..300).fold(pod(), |pod, n| pod.annotate(&format!("inject-secret-s{n}"), "a/b"));
    refused(&names.json(), &["300 secrets", "256", "too-large"]);
    let containers = (0..600).fold(annotated(), |pod, n| pod.container(container(&format!("c{n}"))));
    refused(&containers.json(), &["601 containers", "500", "too-large"]);
    let bytes = annotated().annotate("secret-template-db.json", &"x".repeat(300_000));
    refused(&bytes.json(), &["262144", "too-large"]);
}

/// The number of mounts and variables is a product, of which each factor is within its limit.
#[test]
fn the_size_of_a_patch_is_bounded() {
    let variables = (0..100).fold(pod(), |pod, n| pod.annotate(&format!("inject-env-V{n}"), "a/b#c"));
    let both = (0..200).fold(variables, |pod, n| pod.container(container(&format!("c{n}"))));
    refused(&both.json(), &["mounts and variables", "5000", "too-large"]);
}

#[test]
fn a_name_longer_than_any_in_kubernetes_is_refused() {
    let long = "c".repeat(300);
    refused(
        &annotated().container(container(&long)).json(),
        &["a container's name has 300 bytes", "253", "too-large"],
    );
    refused(
        &annotated().init_container(container(&long)).json(),
        &["a container's name has 300 bytes", "too-large"],
    );
    let volume = json!({"name": long, "emptyDir": {}});
    refused(&annotated().volume(volume).json(), &["a volume's name has 300 bytes", "too-large"]);
    cluster().inject(&annotated().container(container(&"c".repeat(253))).json());
}

/// The response is kept in memory until it is written.
#[test]
fn a_patch_has_at_most_so_many_bytes() {
    let variables = (0..250).fold(pod(), |pod, n| pod.annotate(&format!("inject-env-V{n}"), "a/b#c"));
    let both = (0..18).fold(variables, |pod, n| {
        let mut container = container(&format!("c{n}"));
        container["env"] = json!([{"name": "OTHER", "value": "x"}]);
        pod.container(container)
    });
    refused(&both.json(), &["the changes to the pod take", "524288", "too-large"]);
    // Mounts with the injection's name, which would all be removed one by one.
    let mounts: Vec<_> = (0..4_900).map(|_| json!({"name": "scaivault-secrets"})).collect();
    let forged = (0..3).fold(pod(), |pod, n| {
        let mut container = container(&format!("c{n}"));
        container["volumeMounts"] = json!(mounts.clone());
        container["volumeMounts"].as_array_mut().unwrap().push(json!({"name": "other"}));
        pod.container(container)
    });
    let forged = forged
        .annotate("receipt", "{}")
        .annotate("mutation-mode", "ignore-and-detach")
        .volume(json!({"name": "scaivault-secrets"}));
    refused(&forged.json(), &["the changes to the pod take", "524288", "too-large"]);
}

#[test]
fn a_pod_has_at_most_so_many_members() {
    let parse = |items: usize| {
        let items = vec!["{}"; items].join(",");
        PodView::parse(&format!(r#"{{"spec":{{"containers":[{{"volumeMounts":[{items}]}}]}}}}"#)).map(drop)
    };
    assert!(parse(4_900).is_ok());
    let text = parse(21_000).unwrap_err().to_string();
    assert!(text.contains("more than 20000 members"), "{text}");
}

#[test]
fn a_thousand_mistakes_are_counted_and_truncated() {
    let text = cluster().refusal(&annotated().annotate("containers", &names(90)).json());
    assert!(text.starts_with("90 problems") && text.ends_with("and 58 more"), "{text}");
    refused(&annotated().annotate("containers", &names(200)).json(), &["more than 100 names"]);
}

/// Each form costs one scan of the text, and reports a few errors and the number of entries.
#[test]
fn a_list_of_secrets_costs_at_most_its_limit() {
    // The maximum size of all annotations, minus the key.
    let bytes = 256 * 1024 - 64;
    let letter = |n: usize| char::from(b'a' + u8::try_from(n % 26).unwrap());
    let alias = |n: usize| [n / 17_576, n / 676, n / 26, n].map(letter).iter().collect::<String>();
    let distinct = (0..bytes / 7 - 1).map(|n| format!("{}=b", alias(n))).collect::<Vec<_>>().join(",");
    for (form, list, entries, problems) in [
        ("distinct aliases, and one error after the limit", format!("{distinct},!"), bytes / 7, 1),
        ("no aliases", format!("a=b{}", ",!".repeat(bytes / 2 - 2)), bytes / 2 - 1, 9),
        ("the same alias", "a=b,".repeat(bytes / 4), bytes / 4, 9),
        ("two errors in each", "!=!,".repeat(bytes / 4), bytes / 4, 9),
    ] {
        let denial = cluster().denial(&pod().annotate("inject-secret-x", &list).json());
        let text = denial.problems.to_string();
        assert!(
            text.contains(&format!("{entries} secrets are named for one file; allowed: 16")),
            "{form}: {text:.900}"
        );
        assert_eq!(denial.problems.len(), problems, "{form}");
        assert!(text.len() < 8192, "{form}: {} bytes", text.len());
    }
    let paths = pod().annotate("inject-secret-x", &"a/b ".repeat(bytes / 4)).json();
    assert!(cluster().refusal(&paths).len() < 1024);
}

#[test]
fn secrets_of_one_file_count_each() {
    let list = (0..16).map(|n| format!("a{n}=b")).collect::<Vec<_>>().join(" ");
    let files = |count: usize| {
        (0..count).fold(pod(), |pod, n| pod.annotate(&format!("inject-secret-s{n}"), &list)).json()
    };
    refused(&files(17), &["272 secrets", "256", "too-large"]);
    assert_eq!(cluster().injection(&files(16)).secrets, 256);
}

fn names(count: usize) -> String {
    (0..count).map(|n| format!("nobody{n}")).collect::<Vec<_>>().join(",")
}

#[test]
fn thousands_of_unknown_keys_cause_few_warnings() {
    let many = (0..3000).fold(annotated(), |pod, n| pod.annotate(&format!("unknown-{n}"), ""));
    assert_eq!(cluster().injection(&many.json()).warnings.len(), 16);
}

#[test]
fn a_template_that_overflows_the_parsers_stack() {
    let deep = format!("{{{{ {}a }}}}", "-".repeat(20_000));
    refused(&annotated().annotate("secret-template-db.json", &deep).json(), &["operators"]);
}

#[test]
fn a_volume_of_the_injectors_is_not_for_users_to_mount() {
    for volume in ["scaivault-secrets", "scaivault-token", "scaivault-state", "scaivault-credentials"] {
        let mounts = json!([{"name": volume, "mountPath": "/x"}]);
        refused(&annotated().app_field(0, "volumeMounts", mounts).json(), &[volume, "detach --by-name"]);
    }
    let env = json!([{"name": "X", "valueFrom": {"fileKeyRef":
        {"volumeName": "scaivault-env", "path": "variables", "key": "X"}}}]);
    refused(&annotated().app_field(0, "env", env).json(), &["scaivault-env"]);
}

/// Every change that disables the agent is a different intent, so the injection is replaced.
#[test]
fn an_agent_that_was_defused_is_replaced() {
    let whole = cluster().inject(&annotated().annotate("pattern", "sidecar").json());
    for (field, value) in [
        ("command", json!(["true"])),
        ("args", json!(["sidecar", "--help"])),
        ("restartPolicy", Value::Null),
        ("volumeMounts", json!([])),
    ] {
        let mut defused = whole.clone();
        defused["spec"]["initContainers"][0][field] = value;
        assert_eq!(cluster().outcome(&defused)["spec"], whole["spec"], "{field}");
    }
    let mut shadowed = whole.clone();
    let env = shadowed["spec"]["initContainers"][0]["env"].as_array_mut().unwrap();
    env.push(json!({"name": "SCAIVAULT_URL", "value": "https://attacker.example"}));
    assert_eq!(cluster().outcome(&shadowed)["spec"], whole["spec"]);
}

#[test]
fn a_writable_mount_is_replaced() {
    let whole = cluster().inject(&annotated().json());
    let mut writable = whole.clone();
    writable["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false);
    assert_eq!(cluster().outcome(&writable)["spec"], whole["spec"]);
}

/// The kubelet would wait forever for the variables' file.
#[test]
fn a_variable_needs_a_container_after_the_agent() {
    let early = pod()
        .annotate("inject-env-PASSWORD", "a/b#c")
        .annotate("position", "last")
        .annotate("init-containers", "migrate")
        .spec("initContainers", json!([container("migrate")]));
    refused(&early.json(), &["migrate", "position: first"]);
}

#[test]
fn places_that_no_container_could_start_with() {
    refused(&annotated().annotate("mount-path", "/etc").json(), &["mount-path"]);
    // The container runtime creates the directories around the agent's own mounts, so the agent
    // cannot write to them.
    for (mount_path, path) in [
        ("/var", "/var/run/secrets/x"),
        ("/var/run", "/var/run/secrets/x"),
        ("/var/run/secrets", "/run/secrets/kubernetes.io/x"),
    ] {
        let mounts = json!([{"name": "t", "mountPath": path}]);
        let below = annotated().annotate("mount-path", mount_path).app_field(0, "volumeMounts", mounts);
        refused(&below.json(), &["mount-path", path, "own container"]);
    }
    let over_token =
        pod().annotate("mount-path", "/var/run/secrets").annotate("inject-secret-scaivault", "a/b");
    refused(&over_token.json(), &["/var/run/secrets/scaivault"]);
    let in_token = pod()
        .annotate("mount-path", "/var/run/secrets")
        .annotate("inject-secret-x", "a/b")
        .annotate("secret-file-x", "scaivault/token");
    refused(&in_token.json(), &["/var/run/secrets/scaivault"]);
}

/// A default of the platform must not take the permission to signal from the sidecar.
#[test]
fn a_signal_overrides_the_platforms_uid() {
    let reloading =
        annotated().annotate("reload-signal", "SIGHUP").annotate("reload-target", "billing").json();
    let injected = cluster().namespace("run-as-user", "10001").inject(&reloading);
    assert_eq!(agent(&injected)["securityContext"]["runAsUser"], 0);
    assert_eq!(agent(&injected)["securityContext"]["capabilities"]["add"], json!(["KILL"]));
}

#[test]
fn a_problem_names_its_layer() {
    let denial = cluster().namespace("limits-memory", "16Mi").denial(&annotated().json());
    let problem = denial.problems.iter().next().unwrap();
    assert_eq!(problem.layer, Layer::Namespace, "{problem}");
    assert!(problem.to_string().contains("(of the namespace)"), "{problem}");
}

#[test]
fn only_the_pod_divides_up_a_pod_level_budget() {
    let budget = annotated().spec("resources", json!({"limits": {"cpu": "1", "memory": "1Gi"}}));
    let injected = cluster().namespace("limits-memory", "64Mi").inject(&budget.clone().json());
    assert!(agent(&injected)["resources"].is_null());
    let asked = cluster().inject(&budget.annotate("limits-memory", "64Mi").json());
    assert_eq!(agent(&asked)["resources"], json!({"limits": {"memory": "64Mi"}}));
    let empty = cluster().inject(&annotated().spec("resources", json!({})).json());
    assert_eq!(agent(&empty)["resources"]["requests"]["cpu"], "10m");
}

/// Without a problem for a misspelt key, the pod would start without its secrets.
#[test]
fn a_pod_whose_only_asking_key_is_misspelt_is_refused() {
    for (misspelt, meant) in [
        ("inject-secert-db.json", "inject-secret-db.json"),
        ("inject-secrets-db.json", "inject-secret-db.json"),
        ("Inject-Secret-db.json", "inject-secret-db.json"),
        ("inject_secret_db.json", "inject-secret-db.json"),
        ("inject-secret.db.json", "inject-secret-db.json"),
        ("agent-inject-secret-db.json", "inject-secret-db.json"),
        ("inject-secret", "inject-secret-<name>"),
        ("inject-dinamic-pg.json", "inject-dynamic-pg.json"),
        ("inject-envv-KEY", "inject-env-KEY"),
    ] {
        // Also with keys that ask for nothing, and with the key that says that something is asked
        // for.
        for (key, value) in [("team", "billing"), ("refresh-interval", "1m"), ("inject", "true")] {
            let pod = pod().annotate(misspelt, DATABASE).annotate(key, value).json();
            let denial = cluster().denial(&pod);
            let text = denial.problems.to_string();
            assert!(text.contains(&format!("write scaivault.scailabs.ai/{meant}")), "{misspelt}: {text}");
            assert!(text.ends_with("[misspelt-key]"), "{text}");
            assert_eq!(denial.problems.len(), 1, "{text}");
            let said = denial.warnings.iter().filter(|warning| warning.contains(misspelt)).count();
            assert_eq!(said, 0, "repeated: {:?}", denial.warnings);
        }
    }
}

#[test]
fn a_misspelt_key_next_to_a_valid_one_is_a_warning() {
    let injection = cluster().injection(&annotated().annotate("inject-secert-api.json", DATABASE).json());
    assert!(injection.warnings.iter().any(|text| text.contains("inject-secret-api.json")), "{injection:?}");
}

#[test]
fn an_unknown_key_like_no_other_requests_nothing() {
    for key in ["team", "refresh-intervall", "status-page", "secret-fromat-db", "note"] {
        cluster().expect_untouched(&pod().annotate(key, "x").json(), "not-annotated");
    }
}

/// Pods that are opted out or admitted with problems are not rejected for a misspelt key.
#[test]
fn a_misspelt_key_does_not_affect_opted_out_pods() {
    let misspelt = || pod().annotate("inject-secert-db.json", DATABASE);
    cluster().expect_untouched(&misspelt().annotate("mutation-mode", "ignore").json(), "ignored-by-pod");
    cluster().expect_untouched(&misspelt().annotate("inject", "false").json(), "opted-out");
    Cluster::that_warns().expect(&misspelt().json(), "skipped", "problems");
    // No key of a namespace asks for a secret.
    let namespace = || cluster().namespace("inject-secert-db.json", DATABASE);
    namespace().expect_untouched(&pod().annotate("refresh-interval", "1m").json(), "not-annotated");
}

/// Names appear in a status text that terminals show.
#[test]
fn control_characters_in_names_do_not_reach_the_text() {
    let mut odd = annotated().json();
    odd["spec"]["containers"][0]["name"] = json!("a\u{1b}[31m\nb");
    odd["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "x", "mountPath": "/run/secrets/\u{7}"}]);
    let text = cluster().refusal(&odd);
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// Keys of a template that were copied to the namespace, and keys of the pod that come first
/// alphabetically.
#[test]
fn other_keys_do_not_hide_a_misspelt_one() {
    let misspelt = || pod().annotate("inject-secert-db.json", DATABASE);
    let namespace =
        (0..20).fold(cluster(), |cluster, n| cluster.namespace(&format!("inject-secret-s{n}"), "a"));
    let refusal = namespace.refusal(&misspelt().json());
    assert!(refusal.contains("write scaivault.scailabs.ai/inject-secret-db.json"), "{refusal}");
    let strays = (0..40).fold(misspelt(), |pod, n| pod.annotate(&format!("a-stray-{n}"), ""));
    refused(&strays.json(), &["write scaivault.scailabs.ai/inject-secret-db.json", "misspelt-key"]);
}
