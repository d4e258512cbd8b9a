//! The injector's configuration, and the layer that each setting comes from.

use std::collections::BTreeMap;

use scaivault_inject::{
    Context, DefaultsReport, InjectorConfig, KubeVersion, Layer, Namespace, PodView, Settings,
    check_namespace, check_service_account_role, explain,
};
use scaivault_testkit::{inspect, key, pod};

use crate::support::{Cluster, DATABASE, agent, cluster, config};

fn defaults<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// All problems of a configuration, each as one text.
fn problems(config: InjectorConfig) -> Vec<String> {
    let problems = Settings::try_from(config).expect_err("a configuration with problems");
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let texts = problems(InjectorConfig {
        defaults: defaults([
            ("refresh-intervall", "5m"),
            ("fetch-timeout", "soon"),
            ("image", "r.example/a:1"),
        ]),
        init_image: Some("not an image".to_owned()),
        allowed_urls: vec!["vault.example".to_owned()],
        token_url: Some("http://scaikey.example/token".to_owned()),
        ..InjectorConfig::default()
    });
    for words in [
        ["refresh-intervall", "refresh-interval"],
        ["fetch-timeout", "duration"],
        ["image is not taken from", "the pod"],
        ["initImage", "not an image"],
        ["allowedUrls", "https://"],
        ["tokenUrl", "allowHttp"],
    ] {
        assert!(
            texts.iter().any(|text| words.iter().all(|word| text.contains(word))),
            "nothing says {words:?}: {texts:#?}"
        );
    }
    assert_eq!(texts.len(), 6, "{texts:#?}");
}

#[test]
fn plain_http_needs_the_operators_permission() {
    let plain = || InjectorConfig {
        defaults: defaults([("url", "http://127.0.0.1:8200")]),
        ..InjectorConfig::default()
    };
    assert!(problems(plain())[0].contains("allowHttp"));
    let allowed = Cluster::with(InjectorConfig { allow_http: true, ..plain() });
    let injected = allowed.inject(&pod().annotate("inject-secret-db.json", DATABASE).json());
    assert_eq!(inspect::env(agent(&injected), "SCAIVAULT_ALLOW_HTTP"), Some("true"));
}

#[test]
fn a_tenant_cannot_downgrade_to_http() {
    let listed = Cluster::with(InjectorConfig {
        allowed_urls: vec!["http://scaivault.example".to_owned()],
        ..config()
    });
    let plain = pod().annotate("inject-secret-db.json", DATABASE).annotate("url", "http://scaivault.example");
    assert!(listed.refusal(&plain.json()).contains("in the clear"));
}

#[test]
fn the_later_layer_wins_and_explain_names_it() {
    let settings = Settings::try_from(InjectorConfig {
        defaults: defaults([("audience", "injector"), ("log-level", "debug"), ("fetch-timeout", "2m")]),
        ..InjectorConfig::default()
    })
    .unwrap();
    let namespace = Namespace {
        name: "billing".to_owned(),
        annotations: [(key("audience"), "namespace".to_owned()), (key("log-level"), "warn".to_owned())]
            .into(),
        ..Namespace::default()
    };
    let pod = pod()
        .annotate("inject-secret-db.json", DATABASE)
        .annotate("secret-template-db.json", "{{ data.password }}")
        .annotate("audience", "pod")
        .json()
        .to_string();
    let context = Context::new(&settings, &namespace, KubeVersion::OLDEST)
        .with_service_account_role(Some("sa:billing"));
    let explained = explain(&PodView::parse(&pod).unwrap(), &context);
    let find = |key: &str| {
        let found = explained.iter().find(|setting| setting.key == key).unwrap();
        (found.value.as_str(), found.layer.clone())
    };
    assert_eq!(find("audience"), ("pod", Layer::Pod));
    assert_eq!(find("log-level"), ("warn", Layer::Namespace));
    assert_eq!(find("role"), ("sa:billing", Layer::ServiceAccount));
    assert_eq!(find("fetch-timeout"), ("2m", Layer::Injector));
    assert_eq!(find("mount-path"), ("/run/secrets", Layer::BuiltIn));
    assert_eq!(find("inject-secret-db.json"), (DATABASE, Layer::Pod));
    assert_eq!(find("secret-template-db.json").0, "(a template)");
}

/// The explanation agrees with the decision.
#[test]
fn the_role_of_the_service_account_is_the_default() {
    let annotated = || pod().annotate("inject-secret-db.json", DATABASE);
    let role = |cluster: Cluster, pod: scaivault_testkit::PodBuilder| {
        let injected = cluster.inject(&pod.json());
        inspect::env(agent(&injected), "SCAIVAULT_ROLE").map(str::to_owned)
    };
    assert_eq!(role(cluster(), annotated()), None);
    assert_eq!(role(cluster().service_account("sa:a"), annotated()).as_deref(), Some("sa:a"));
    assert_eq!(
        role(cluster().service_account("sa:a"), annotated().annotate("role", "sa:b")).as_deref(),
        Some("sa:b")
    );
}

/// Each default is valid by itself, but together they would make every pod that does not override
/// them invalid.
#[test]
fn defaults_are_checked_together() {
    for (entries, wrong) in [
        (defaults([("limits-memory", "8Mi")]), "limits-memory"),
        (defaults([("requests-cpu", "2"), ("limits-cpu", "1")]), "requests-cpu"),
        (defaults([("ca-trust", "private")]), "ca-trust"),
    ] {
        let texts = problems(InjectorConfig { defaults: entries.clone(), ..InjectorConfig::default() });
        assert!(
            texts.len() == 1 && texts[0].contains(wrong) && texts[0].contains("(of the injector)"),
            "{texts:?}"
        );
        // Likewise for a namespace, whose pods would be rejected.
        let annotations = entries.into_iter().map(|(name, value)| (key(&name), value)).collect();
        let namespace = Namespace { annotations, ..Namespace::default() };
        let report = check_namespace(&namespace, &Settings::default());
        assert!(report.problems.to_string().contains(wrong), "{report:?}");
    }
}

#[test]
fn a_namespace_is_checked_separately() {
    let check = |name: &str, value: &str| {
        let annotations = BTreeMap::from([(key(name), value.to_owned())]);
        check_namespace(&Namespace { annotations, ..Namespace::default() }, &Settings::default())
    };
    for (name, value, problem) in [
        ("log-level", "warning", "did you mean \"warn\"?"),
        ("mutation-mode", "ignored", "did you mean \"ignore\"?"),
        ("inject", "false", "mutation-mode: ignore"),
    ] {
        let report = check(name, value);
        assert!(report.problems.to_string().contains(problem), "{name}: {report:?}");
    }
    let unknown = check("refresh-intervall", "5m");
    assert!(unknown.problems.is_empty() && unknown.warnings[0].contains("refresh-interval?"), "{unknown:?}");
    let not_taken = check("inject-secret-db", DATABASE);
    assert!(not_taken.problems.is_empty() && not_taken.warnings[0].contains("move it"), "{not_taken:?}");
    let elsewhere = check("url", "https://elsewhere.example");
    assert!(elsewhere.problems.is_empty() && elsewhere.warnings[0].contains("not-allowed"), "{elsewhere:?}");
    assert_eq!(check("mutation-mode", "ignore"), DefaultsReport::default());
    assert_eq!(check("refresh-interval", "5m"), DefaultsReport::default());
    assert!(!check_service_account_role("a\nb").problems.is_empty());
    assert_eq!(check_service_account_role("billing"), DefaultsReport::default());
}
