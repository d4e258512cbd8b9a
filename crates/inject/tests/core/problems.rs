//! Rejections, and whether their text helps the reader to fix the problem.

use std::collections::BTreeSet;

use scaivault_contract::SecretSource;
use scaivault_inject::{Excerpt, Layer, Problem};
use scaivault_testkit::{PodBuilder, container, inspect, pod};
use serde_json::{Value, json};

use crate::support::{Cluster, DATABASE, agent, cluster};

fn annotated() -> PodBuilder {
    pod().annotate("inject-secret-db.json", DATABASE)
}

/// Checks that a pod is rejected with exactly one problem whose text contains all `words`.
#[track_caller]
fn check(pod: PodBuilder, words: &[&str]) {
    check_in(&cluster(), pod, words);
}

#[track_caller]
fn check_in(cluster: &Cluster, pod: PodBuilder, words: &[&str]) {
    let problems = cluster.denial(&pod.json()).problems;
    let text = problems.to_string();
    assert_eq!(problems.len(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    let problem = problems.iter().next().unwrap();
    assert!(!problem.fix.is_empty(), "{text}");
}

#[test]
fn six_mistakes_are_six_problems() {
    let mistakes = [
        ("refresh-interval", "soon"),
        ("secret-mode-db.json", "0999"),
        ("secret-format-db.json", "xml"),
        ("token-expiration-seconds", "5"),
        ("mount-path", "run/secrets"),
        ("volume-size-limit", "much"),
    ];
    let wrong = mistakes.iter().fold(annotated(), |pod, (key, value)| pod.annotate(key, value));
    let denial = cluster().denial(&wrong.json());
    let keys: BTreeSet<_> = denial.problems.iter().filter_map(|problem| problem.key.as_deref()).collect();
    assert_eq!(keys, mistakes.iter().map(|(key, _)| *key).collect());
    assert_eq!(denial.problems.len(), mistakes.len());
    let text = denial.problems.to_string();
    for problem in &denial.problems {
        let Problem { key, layer, value, allowed, fix, message, code: _ } = problem;
        let (_, written) = mistakes.iter().find(|(known, _)| Some(*known) == key.as_deref()).unwrap();
        assert_eq!(*value, Some(Excerpt::new(written)), "{problem}");
        assert_eq!(*layer, Layer::Pod, "{problem}");
        assert!(allowed.as_ref().is_some_and(|allowed| !allowed.is_empty()), "{problem}");
        assert!(!fix.is_empty() && !message.is_empty(), "{problem}");
        assert!(text.contains(&problem.to_string()), "{problem} is not in: {text}");
    }
}

/// Each error of a list is a separate problem with its own accepted values.
#[test]
fn every_error_of_a_list_of_secrets_is_a_problem() {
    let said = |list: &str| -> Vec<_> {
        let denial = cluster().denial(&pod().annotate("inject-secret-app.json", list).json());
        let problems = denial.problems.iter();
        problems
            .map(|problem| (problem.message.to_string(), problem.allowed.clone(), problem.fix.clone()))
            .collect()
    };
    let problems = said("my-db=a/b x=A c/d");
    let [(alias, alias_allowed, fix), (path, path_allowed, _), (no_alias, Some(_), _)] = &problems[..] else {
        panic!("{problems:#?}")
    };
    assert_eq!(alias, "\"my-db\" is not an alias of a secret");
    let alias_allowed = alias_allowed.as_ref().unwrap();
    assert!(
        alias_allowed.starts_with("1 to 64 of") && alias_allowed.contains("no hyphen"),
        "{alias_allowed}"
    );
    assert!(path.starts_with("\"A\" is not a secret path"), "{path}");
    assert!(path_allowed.as_ref().unwrap().starts_with("1 to 10 levels"), "{path_allowed:?}");
    assert!(no_alias.starts_with("\"c/d\" has no alias"), "{no_alias}");
    assert_eq!(fix, "did you mean \"my_db=a/b x=a d=c/d\"?");
    let single = said("A; allowed: b");
    assert_eq!(single.len(), 1);
    assert!(single[0].0.starts_with("\"A; allowed: b\" is not a secret path: "), "{single:?}");
    assert!(SecretSource::ALLOWED.contains("no hyphen"));
}

#[test]
fn every_kind_of_value_has_its_limits() {
    for (key, value) in [
        ("inject-secret-db.json", "Environments/Production"),
        ("inject-secret-db.json", "a//b"),
        ("inject-secret-db.json", "/a"),
        ("inject-secret-db.json", "a@latest"),
        ("inject-secret-db.json", "a\nb -> c"),
        ("inject-secret-db.json", ""),
        ("inject-dynamic-pg.json", "role=readonly"),
        ("inject-dynamic-pg.json", "engine=e role=r ttl=long"),
        ("inject-env-PASSWORD", "environments/production/billing/database"),
        ("inject-env-9X", "a#b"),
        ("inject", "yes please"),
        ("pattern", "daemon"),
        ("containers", "nobody"),
        ("init-containers", "nobody"),
        ("mount-path", "/a/../b"),
        ("mount-path", "/"),
        ("position", "middle"),
        ("start-gate", "none"),
        ("refresh-interval", "-5m"),
        ("refresh-on-event", "maybe"),
        ("secret-file-db.json", "../etc/passwd"),
        ("secret-file-db.json", "/etc/passwd"),
        ("secret-file-db.json", "..data"),
        ("secret-file-db.json", "kubernetes.io/serviceaccount/token"),
        ("secret-mode-db.json", "rw-r--r--"),
        ("token-expiration-seconds", "599"),
        ("client-credentials-secret", "Not_A_Name"),
        ("ca-configmap", "a/b"),
        ("ca-configmap-key", "../ca.crt"),
        ("client-credentials-id-key", "client id"),
        ("client-credentials-secret-key", "a/b"),
        ("ca-trust", "all"),
        ("scaikey-trust", "Private"),
        ("reload-url", "http://scaivault.example/-/reload"),
        ("reload-url", "https://127.0.0.1/-/reload"),
        ("secret-encoding-db.json", "hex"),
        ("secret-optional-db.json", "yes"),
        ("inject-secret-db.json", "a=one/path, a=other/path"),
        ("inject-secret-db.json", "one/path, other/path"),
        ("fail-open", "1.0"),
        ("fetch-timeout", "0s"),
        ("run-as-user", "-1"),
        ("run-as-user", "root"),
        ("run-as-group", "wheel"),
        ("requests-cpu", "fast"),
        ("limits-memory", "-1Mi"),
        ("log-level", "chatty"),
        ("url", "ftp://scaivault.scailabs.ai"),
        ("url", "https://elsewhere.invalid"),
        ("image", "elsewhere.invalid/agent:1"),
    ] {
        let denial = cluster().denial(&annotated().annotate(key, value).json());
        let about = denial.problems.iter().filter(|problem| problem.key.as_deref() == Some(key)).count();
        assert!(about >= 1, "{key}={value}: {}", denial.problems);
    }
}

#[test]
fn a_misspelt_key_is_a_warning_with_the_nearest_key() {
    for (misspelt, meant) in [("refesh-interval", "refresh-interval"), ("mountpath", "mount-path")] {
        let injection = cluster().injection(&annotated().annotate(misspelt, "5m").json());
        let warned = injection.warnings.iter().any(|text| text.contains(misspelt) && text.contains(meant));
        assert!(warned, "{:?}", injection.warnings);
    }
    let injection = cluster().injection(&annotated().annotate("inject-secrets-db", DATABASE).json());
    let warned = injection
        .warnings
        .iter()
        .any(|text| text.contains("inject-secrets-db") && text.contains("inject-secret-"));
    assert!(warned, "{:?}", injection.warnings);
}

#[test]
fn an_option_of_a_missing_secret() {
    check(annotated().annotate("secret-mode-bd.json", "0400"), &["secret-mode-bd.json", "db.json"]);
}

#[test]
fn a_name_is_a_secret_or_a_lease_and_not_both() {
    let both = annotated().annotate("inject-dynamic-db.json", "engine=postgres-prod role=readonly");
    let text = cluster().refusal(&both.json());
    assert!(text.contains("inject-dynamic-db.json") && text.contains("inject-secret-db.json"), "{text}");
}

#[test]
fn a_signal_needs_a_target_and_a_target_a_signal() {
    check(annotated().annotate("reload-signal", "SIGHUP"), &["reload-target"]);
    check(annotated().annotate("reload-target", "billing"), &["reload-signal"]);
}

#[test]
fn a_change_has_one_notification() {
    let url = || annotated().annotate("reload-url", "http://127.0.0.1:9090/-/reload");
    let both = url().annotate("reload-signal", "SIGHUP").annotate("reload-target", "billing");
    check(both, &["reload-url", "reload-signal", "reload-conflict"]);
    check(url().annotate("reload-target", "billing"), &["reload-url", "reload-target", "reload-conflict"]);
    check(url().annotate("pattern", "init"), &["reload-url", "pattern-conflict"]);
}

#[test]
fn a_reload_url_reaches_the_pod_alone() {
    let url = |url: &str| annotated().annotate("reload-url", url);
    for other in [
        "http://169.254.169.254/latest",
        "http://127.0.0.1.evil.example/",
        "http://127.0.0.1@evil.example/",
        "http://0.0.0.0:9090/",
        "http://[::ffff:127.0.0.1]/",
        "http://billing/-/reload",
    ] {
        check(url(other), &["reload-url", "loopback", "invalid-value"]);
    }
    let loopback = || url("http://localhost:9090/-/reload?all=true");
    check(loopback().spec("hostNetwork", true), &["reload-url", "hostNetwork", "network-namespace"]);
    for pod in [loopback(), loopback().spec("hostPID", true), loopback().spec("shareProcessNamespace", false)]
    {
        let injected = cluster().inject(&pod.clone().json());
        assert_eq!(
            inspect::env(agent(&injected), "RELOAD_URL"),
            Some("http://localhost:9090/-/reload?all=true")
        );
        assert_eq!(
            injected["spec"].get("shareProcessNamespace"),
            pod.json()["spec"].get("shareProcessNamespace")
        );
    }
}

#[test]
fn a_private_trust_needs_an_authority() {
    check(annotated().annotate("ca-trust", "private"), &["ca-trust", "ca-configmap", "trust-conflict"]);
    let client = || annotated().annotate("client-credentials-secret", "billing-client");
    check(
        client().annotate("scaikey-trust", "private"),
        &["scaikey-trust", "ca-configmap", "trust-conflict"],
    );
    check_in(&cluster().namespace("ca-trust", "private"), annotated(), &["ca-trust (of the namespace)"]);
    cluster()
        .inject(&annotated().annotate("ca-trust", "private").annotate("ca-configmap", "scaivault-ca").json());
}

#[test]
fn a_setting_without_effect_is_worth_a_warning() {
    for (key, value, needed) in [
        ("ca-configmap-key", "ca-bundle.crt", "ca-configmap"),
        ("ca-trust", "both", "ca-configmap"),
        ("scaikey-trust", "both", "client-credentials-secret"),
        ("scaikey-trust", "private", "client-credentials-secret"),
        ("client-credentials-id-key", "id", "client-credentials-secret"),
        ("client-credentials-secret-key", "secret", "client-credentials-secret"),
    ] {
        let injection = cluster().injection(&annotated().annotate(key, value).json());
        let expected = format!("{key} has no effect without {needed}");
        assert!(injection.warnings.contains(&expected), "{key}: {:?}", injection.warnings);
        // As a default of the platform it is not a problem.
        let injection = cluster().namespace(key, value).injection(&annotated().json());
        assert_eq!(injection.warnings, [""; 0], "{key}");
    }
}

#[test]
fn options_that_contradict_the_file() {
    let option = |source: &str, key: &str, value: &str| {
        pod().annotate("inject-secret-db", source).annotate(&format!("secret-{key}-db"), value)
    };
    check(option(DATABASE, "encoding", "base64"), &["secret-encoding-db", "#field", "format-conflict"]);
    let field = || option("a/b#keystore", "encoding", "base64");
    check(field().annotate("secret-format-db", "json"), &["secret-encoding-db", "format-conflict"]);
    check(
        field().annotate("secret-template-db", "{{ data.keystore }}"),
        &["secret-encoding-db", "b64decode", "format-conflict"],
    );
    let several = "db=a/b api=c/d#key";
    check(option(several, "encoding", "base64"), &["secret-encoding-db", "format-conflict"]);
    check(option(several, "format", "raw"), &["secret-format-db", "several", "format-conflict"]);
    check(option(several, "format", "dotenv"), &["secret-format-db", "write db=path#field"]);
    cluster().inject(&option("db=a/b#password api=c/d#key", "format", "dotenv").json());
    let dynamic = pod().annotate("inject-dynamic-db", "engine=postgres-prod role=readonly");
    check(
        dynamic.annotate("secret-optional-db", "true"),
        &["secret-optional-db", "fail-open", "format-conflict"],
    );
    for key in ["secret-encoding-bd", "secret-optional-bd"] {
        let value = if key == "secret-encoding-bd" { "base64" } else { "true" };
        check(
            pod().annotate("inject-secret-db", DATABASE).annotate(key, value),
            &[key, "did you mean \"db\""],
        );
    }
}

/// Values are quoted so that they can be recognised; rejections appear in Events and logs.
#[test]
fn values_are_quoted_short_and_templates_never() {
    let long = "q".repeat(41);
    let text = cluster().refusal(&annotated().annotate("refresh-interval", &long).json());
    assert!(text.contains(&"q".repeat(40)) && !text.contains(&long), "{text}");

    let template = "{{ data.password_of_the_boss }";
    let denial = cluster().denial(&annotated().annotate("secret-template-db.json", template).json());
    assert!(denial.problems.iter().all(|problem| problem.value.is_none()), "{}", denial.problems);
    let text = denial.problems.to_string();
    assert!(text.contains("secret-template-db.json") && !text.contains("password_of_the_boss"), "{text}");
}

#[test]
fn a_block_written_by_hand_after_the_published_page() {
    let by_hand = |list: &str, name: &str, value: &str| {
        let block = json!({
            "name": name,
            "image": format!("scailabs/{name}:1.0"),
            "env": [{"name": value, "value": "environments/production/billing/database -> /run/secrets/db.json\n"}],
        });
        match list {
            "initContainers" => annotated().init_container(block),
            _ => annotated().container(block),
        }
    };
    check(by_hand("initContainers", "scaivault-init", "SECRETS"), &["scaivault-init", "detach --by-name"]);
    check(
        by_hand("containers", "scaivault-sidecar", "WATCH_PATHS"),
        &["scaivault-sidecar", "detach --by-name"],
    );
    check(
        annotated().volume(json!({"name": "scaivault-secrets", "emptyDir": {"medium": "Memory"}})),
        &["scaivault-secrets", "detach --by-name"],
    );
}

#[test]
fn pods_that_no_agent_can_serve() {
    check(annotated().spec("os", json!({"name": "windows"})), &["indows"]);
    let reload = || annotated().annotate("reload-signal", "SIGHUP").annotate("reload-target", "billing");
    check(reload().spec("hostPID", true), &["hostPID"]);
    check(reload().spec("shareProcessNamespace", false), &["shareProcessNamespace"]);
    cluster().inject(&annotated().spec("hostPID", true).json());
    cluster().inject(&annotated().spec("shareProcessNamespace", false).json());
    cluster().inject(&annotated().spec("os", json!({"name": "linux"})).json());
    cluster().inject(&annotated().spec("hostNetwork", true).json());
    cluster().inject(&annotated().spec("automountServiceAccountToken", false).json());
}

#[test]
fn a_mount_of_the_users_at_the_secrets_path() {
    for path in ["/run/secrets", "/run/secrets/"] {
        let mounts = json!([{"name": "mine", "mountPath": path}]);
        check(annotated().app_field(0, "volumeMounts", mounts), &["/run/secrets", "app", "mount-path"]);
    }
    let elsewhere = json!([{"name": "mine", "mountPath": "/secrets"}]);
    cluster().inject(&annotated().app_field(0, "volumeMounts", elsewhere.clone()).json());
    check(
        annotated().app_field(0, "volumeMounts", elsewhere).annotate("mount-path", "/secrets"),
        &["/secrets", "app"],
    );
    // Only readers are affected.
    let mut other = container("other");
    other["volumeMounts"] = json!([{"name": "mine", "mountPath": "/run/secrets"}]);
    cluster().inject(&annotated().container(other).annotate("containers", "app").json());
}

#[test]
fn conflicting_files() {
    let two =
        |file: &str| annotated().annotate("inject-secret-other", "a/b").annotate("secret-file-other", file);
    check(two("db.json"), &["db.json", "other"]);
    check(two("db.json/below"), &["db.json"]);
    cluster().inject(&two("db.json.d/below").json());
}

#[test]
fn variables_need_kubelets_that_read_them() {
    let pod = || pod().annotate("inject-env-PASSWORD", "environments/production/billing/database#password");
    check_in(&cluster().version(1, 34), pod(), &["inject-env-PASSWORD", "1.35", "1.34"]);
    cluster().version(1, 35).inject(&pod().json());
}

#[test]
fn a_variable_that_exists_already() {
    let env = json!([{"name": "PASSWORD", "value": "x"}]);
    let taken = annotated().annotate("inject-env-PASSWORD", "a/b#c").app_field(0, "env", env);
    check(taken, &["PASSWORD", "app"]);
}

#[test]
fn a_limit_that_the_files_do_not_fit_in() {
    check(annotated().annotate("limits-memory", "20Mi"), &["limits-memory", "24Mi"]);
    cluster().inject(&annotated().annotate("limits-memory", "24Mi").json());
    check(
        annotated().annotate("volume-size-limit", "64Mi").annotate("limits-memory", "64Mi"),
        &["limits-memory", "80Mi"],
    );
}

#[test]
fn mappings_too_long_for_one_variable() {
    let path = ["x"; 10].map(|segment| segment.repeat(48)).join("/");
    let many = (0..200).fold(pod(), |pod, index| pod.annotate(&format!("inject-secret-s{index}"), &path));
    let text = cluster().refusal(&many.json());
    assert!(text.contains("96 KiB"), "{text}");
}

#[test]
fn a_lease_without_renewal_causes_a_warning() {
    let once = pod()
        .annotate("inject-dynamic-pg.json", "engine=postgres-prod role=readonly")
        .annotate("pattern", "init");
    let injection = cluster().injection(&once.json());
    assert!(injection.warnings.iter().any(|text| text.contains("renew")), "{:?}", injection.warnings);
}

#[test]
fn with_warn_the_pod_is_admitted_with_warnings() {
    let wrong = annotated().annotate("refresh-interval", "soon").annotate("start-gate", "none").json();
    let decision = Cluster::that_warns().expect(&wrong, "skipped", "problems");
    let after = crate::support::after(&wrong, &decision);
    assert_eq!(inspect::injector_annotation(&after, "status"), Some("skipped/problems"));
    assert_eq!(PodBuilder::from(after).without("status").json(), wrong);
    let warnings = decision.warnings().join("\n");
    assert!(warnings.contains("refresh-interval") && warnings.contains("start-gate"), "{warnings}");
}

#[test]
fn a_namespace_sets_defaults_for_some_keys_only() {
    let cluster = cluster()
        .namespace("refresh-interval", "10m")
        .namespace("role", "sa:team")
        .namespace("audience", "vault.example")
        .namespace("inject-secret-planted", "environments/production/planted")
        .namespace("secret-mode-db.json", "0777")
        .namespace("image", "registry.example/planted:1");
    cluster.expect_untouched(&pod().json(), "not-annotated");

    let init = cluster.inject(&annotated().json());
    // An interval on a namespace is a default for pods that refresh, and does not request a
    // refresh.
    assert_eq!(agent(&init)["name"], "scaivault-init");
    assert!(!init.to_string().contains("planted") && !init.to_string().contains("0777"), "{init}");
    assert_eq!(inspect::env(agent(&init), "SCAIVAULT_ROLE"), Some("sa:team"));
    let token = inspect::volume(&init, "scaivault-token").unwrap();
    assert_eq!(token["projected"]["sources"][0]["serviceAccountToken"]["audience"], "vault.example");

    let sidecar = annotated().annotate("pattern", "sidecar");
    let defaulted = cluster.inject(&sidecar.clone().json());
    assert_eq!(inspect::env(agent(&defaulted), "REFRESH_INTERVAL"), Some("10m"));
    let own = cluster.inject(&sidecar.annotate("refresh-interval", "1h").annotate("role", "sa:own").json());
    assert_eq!(inspect::env(agent(&own), "REFRESH_INTERVAL"), Some("1h"));
    assert_eq!(inspect::env(agent(&own), "SCAIVAULT_ROLE"), Some("sa:own"));
}

#[test]
fn the_service_account_is_between_namespace_and_pod() {
    let role = |cluster: &Cluster, pod: PodBuilder| {
        inspect::env(agent(&cluster.inject(&pod.json())), "SCAIVAULT_ROLE").map(str::to_owned)
    };
    let cluster = cluster().namespace("role", "sa:team").service_account("sa:billing-prod");
    assert_eq!(role(&cluster, annotated()).as_deref(), Some("sa:billing-prod"));
    assert_eq!(role(&cluster, annotated().annotate("role", "sa:own")).as_deref(), Some("sa:own"));
}

#[test]
fn a_wrong_default_names_the_namespace() {
    let cluster = cluster().namespace("fetch-timeout", "soon");
    let denial = cluster.denial(&annotated().json());
    assert!(denial.problems.iter().all(|problem| problem.layer == Layer::Namespace), "{}", denial.problems);
    assert!(denial.problems.to_string().contains("of the namespace"), "{}", denial.problems);
}

/// The kubelet expands `$(NAME)` in a container's variables and reads `$$` as `$`.
#[test]
fn a_dollar_survives_the_kubelet() {
    let template = "$(HOME) $$ {{ data.user }}\n-> next";
    let injected = cluster().inject(&annotated().annotate("secret-template-db.json", template).json());
    let written = inspect::env(agent(&injected), "SECRETS").unwrap();
    assert_eq!(written.lines().count(), 1, "{written}");
    let read = expand(written);
    assert!(read.contains("$(HOME) $$ {{ data.user }}"), "{read}");
    assert!(!written.replace("$$", "").contains('$'), "{written}");
}

/// The kubelet's expansion of a value without resolvable references.
fn expand(value: &str) -> String {
    value.replace("$$", "$")
}

#[test]
fn a_pod_without_annotations_requests_nothing() {
    let bare = json!({"spec": {"containers": [container("app")]}});
    cluster().expect_untouched(&bare, "not-annotated");
    let null = json!({"metadata": {"annotations": Value::Null}, "spec": {"containers": []}});
    cluster().expect_untouched(&null, "not-annotated");
}
