//! The values that policies allow pods to request.

use scaivault_inject::{Allow, Enforcement, InjectorConfig, PolicyEffect};
use scaivault_testkit::{PodBuilder, pod};
use serde_json::Value;

use super::support::{NOW, World, named, policy};
use crate::support::{DATABASE, config};

fn asking(path: &str) -> Value {
    pod().annotate("inject-secret-db.json", path).json()
}

fn paths<const N: usize>(entries: [&str; N]) -> impl FnOnce(&mut Allow) {
    let list = named(entries);
    |allow| allow.paths = list
}

#[test]
fn a_path_outside_of_all_lists_is_refused_by_name() {
    let world = World::new([
        policy("billing").allow(paths(["environments/production/billing/**"])),
        policy("shared").allow(paths(["shared/*"])),
        policy("no-list"),
    ]);
    for path in [DATABASE, "environments/production/billing", "shared/ca"] {
        world.inject(&asking(path));
    }
    for path in ["environments/production/shop/database", "environments", "shared/ca/key"] {
        let refusal = world.refusal(&asking(path));
        assert!(refusal.contains("policies billing and shared do not allow this path"), "{refusal}");
        assert!(refusal.contains(&format!("{path:?}")) && refusal.contains("[policy-limit]"), "{refusal}");
    }
    let refusal = world.refusal(&asking("environments/production/shop/database"));
    assert!(refusal.contains("allowed: environments/production/billing/** and 1 more"), "{refusal}");
    let report = world.report(&asking("other/path"));
    let effects: Vec<_> = report.uses.iter().map(|used| (&*used.name, used.effect)).collect();
    let refused = PolicyEffect::Refused;
    assert_eq!(effects, [("billing", refused), ("no-list", PolicyEffect::Selected), ("shared", refused)]);
}

#[test]
fn all_places_of_a_path_are_checked() {
    let world = World::new([policy("billing").allow(paths(["allowed/**"]))]);
    for pod in [
        pod().annotate("inject-env-PASSWORD", "other/db#password"),
        pod().annotate("inject-secret-all.yaml", "one=allowed/db two=other/db"),
        pod().annotate("inject-secret-a", "allowed/db").annotate("inject-secret-b", "other/db#x@3"),
    ] {
        let refusal = world.refusal(&pod.json());
        assert!(refusal.contains("\"other/db\"") && refusal.contains("policy billing"), "{refusal}");
    }
}

#[test]
fn an_empty_list_denies_by_default() {
    let refusal = World::new([policy("deny").allow(paths([]))]).refusal(&asking(DATABASE));
    assert!(refusal.contains("policy deny allows no path"), "{refusal}");
}

#[test]
fn injections_of_a_policy_are_not_limited_by_others() {
    let giving = policy("billing").inject("inject-secret-db.json", DATABASE);
    let world = World::new([giving, policy("deny").allow(paths([]))]);
    world.inject(&pod().json());
    let refusal = world.refusal(&asking("other/path"));
    assert!(refusal.contains("policy deny"), "{refusal}");
}

#[test]
fn warn_lets_through_with_a_warning() {
    let warning = policy("soft").allow(paths(["allowed/**"])).enforcement(Enforcement::Warn);
    let world = World::new([warning.clone()]);
    let decision = world.expect(&asking(DATABASE), "injected", "init");
    assert!(
        decision.warnings().iter().any(|text| text.contains("policy soft does not allow")),
        "{decision:?}"
    );
    assert_eq!(world.report(&asking(DATABASE)).uses[0].effect, PolicyEffect::Warned);
    // A value in the list of a policy that warns is allowed, and a value that is in no list of an
    // enforced one is not.
    let world = World::new([warning, policy("hard").allow(paths(["other/**"]))]);
    world.inject(&asking("allowed/x"));
    assert!(world.refusal(&asking(DATABASE)).contains("policies hard and soft"));
}

#[test]
fn audit_reports_and_changes_nothing() {
    let auditing = policy("trial").allow(paths(["allowed/**"])).enforcement(Enforcement::Audit);
    let world = World::new([auditing.clone()]);
    let decision = world.expect(&asking(DATABASE), "injected", "init");
    assert!(decision.warnings().is_empty(), "{decision:?}");
    let used = &world.report(&asking(DATABASE)).uses[0];
    assert_eq!(used.effect, PolicyEffect::Audited);
    let message = used.message.as_deref().unwrap();
    assert!(message.starts_with("would refuse:") && message.contains("policy trial does not"), "{message}");
    let fine = &world.report(&asking("allowed/x")).uses[0];
    assert_eq!((fine.effect, &fine.message), (PolicyEffect::Selected, &None));
    // Nor does it allow what another policy does not allow.
    let world = World::new([auditing, policy("hard").allow(paths(["other/**"]))]);
    assert!(world.refusal(&asking("allowed/x")).contains("policy hard does not"));
}

#[test]
fn exceptions_apply_until_they_expire() {
    let limited = policy("billing").allow(paths(["allowed/**"])).exception(|exception| {
        exception.allow.paths = named(["legacy/**"]);
        exception.namespaces = vec!["bill*".to_owned()];
        exception.service_accounts = vec!["report".to_owned()];
        exception.pods.match_labels.insert("app".to_owned(), "report".to_owned());
    });
    let world = World::new([limited]);
    let mut excepted = PodBuilder::from(asking("legacy/db")).spec("serviceAccountName", "report").json();
    excepted["metadata"]["labels"] = serde_json::json!({"app": "report"});
    world.inject(&excepted);
    world.clone().at(NOW + 1).refusal(&excepted);
    let mut other = excepted.clone();
    other["metadata"]["labels"]["app"] = "web".into();
    world.refusal(&other);
    other = excepted;
    other["spec"]["serviceAccountName"] = "web".into();
    world.refusal(&other);
}

#[test]
fn every_field_has_its_list() {
    let limited = policy("limits").allow(|allow| {
        allow.dynamic = named(["pg/read-*"]);
        allow.roles = named(["sa:billing-*"]);
        allow.urls = named(["https://eu.example"]);
        allow.images = named(["registry.example/eu"]);
        allow.uids = named(["1000-1999", "unset"]);
        allow.ca_configmaps = named(["ca-*"]);
        allow.client_credentials_secrets = named(["login"]);
    });
    let world = World::new([limited]);
    let pod = || pod().annotate("inject-secret-db.json", DATABASE);
    for (key, good, bad, what) in [
        ("inject-dynamic-pg", "engine=pg role=read-only", "engine=pg role=write", "engine and role"),
        ("role", "sa:billing-prod", "sa:shop", "role"),
        ("url", "https://eu.example/base", "https://eu.example.evil", "URL"),
        ("image", "registry.example/eu/agent:1", "registry.example/us/agent:1", "image"),
        ("run-as-user", "1500", "2000", "user"),
        ("run-as-user", "unset", "0", "user"),
        ("ca-configmap", "ca-eu", "other", "ConfigMap"),
        ("client-credentials-secret", "login", "logins", "Secret"),
    ] {
        world.inject(&pod().annotate(key, good).json());
        let refusal = world.refusal(&pod().annotate(key, bad).json());
        assert!(refusal.contains(&format!("policy limits does not allow this {what}")), "{refusal}");
    }
    // Likewise from a namespace and a service account.
    let refusal = world.clone().role("sa:shop").refusal(&pod().json());
    assert!(refusal.contains("role (of the service account)"), "{refusal}");
    let refusal = world.namespace_annotation("ca-configmap", "other").refusal(&pod().json());
    assert!(refusal.contains("ca-configmap (of the namespace)"), "{refusal}");
}

#[test]
fn lists_of_urls_replace_the_injectors() {
    let pod = |url: &str| pod().annotate("inject-secret-db.json", DATABASE).annotate("url", url).json();
    let limited = |enforcement| {
        policy("urls").allow(|allow| allow.urls = named(["https://eu.example"])).enforcement(enforcement)
    };
    let world = World::new([limited(Enforcement::Enforce)]);
    world.inject(&pod("https://eu.example"));
    // The platform's own URL may be repeated; other URLs that the injector's list allows may not be
    // used any more.
    world.inject(&pod("https://scaivault.scailabs.ai"));
    assert!(world.refusal(&pod("https://scaivault.example")).contains("policy urls"));
    // A policy that only warns additionally allows what it lists.
    let world = World::new([limited(Enforcement::Warn)]);
    world.inject(&pod("https://eu.example"));
    world.inject(&pod("https://scaivault.example"));
    assert!(world.refusal(&pod("https://evil.example")).contains("[not-allowed]"));
    // A policy that audits does neither.
    let world = World::new([limited(Enforcement::Audit)]);
    assert!(world.refusal(&pod("https://eu.example")).contains("[not-allowed]"));
    let http = policy("urls").allow(|allow| allow.urls = named(["http://eu.example"]));
    assert!(World::new([http]).refusal(&pod("http://eu.example")).contains("in the clear"));
    let http = policy("urls").defaults("url", "http://eu.example").inject("inject-secret-db.json", DATABASE);
    assert!(World::new([http.clone()]).refusal(&asking(DATABASE)).contains("in the clear"));
    let allowed = InjectorConfig { allow_http: true, ..config() };
    World::with(allowed, [http]).inject(&asking(DATABASE));
}

#[test]
fn filled_variables_of_a_policy_are_limited() {
    let labelled = |app: &str| {
        let mut pod = pod().json();
        pod["metadata"]["labels"] = serde_json::json!({"app": app});
        pod
    };
    let giving = policy("apps").inject("inject-secret-db.json", "apps/${label:app}/db");
    let world = World::new([giving, policy("limits").allow(paths(["apps/web/**", "teams/**"]))]);
    world.inject(&labelled("web"));
    let refusal = world.refusal(&labelled("shop"));
    assert!(refusal.contains("inject-secret-db.json (of the policy apps): \"apps/shop/db\""), "{refusal}");
    assert!(
        refusal.contains("policy limits does not allow this path; allowed: apps/web/** and 1 more"),
        "{refusal}"
    );
    // A value that the pod sets instead is checked as the pod's.
    let own = PodBuilder::from(labelled("shop")).annotate("inject-secret-db.json", "teams/db").json();
    world.inject(&own);
}

#[test]
fn variables_of_lists_are_filled_for_each_pod() {
    let limits = paths(["apps/${label:app}/**", "teams/${namespace}/*"]);
    let world = World::new([policy("limits").allow(limits)]);
    let mut pod = asking("apps/web/db");
    let refusal = world.refusal(&pod);
    assert!(refusal.contains("allowed: teams/billing/*;"), "{refusal}");
    pod["metadata"]["labels"] = serde_json::json!({"app": "web"});
    world.inject(&pod);
    world.inject(&asking("teams/billing/db"));
    world.refusal(&asking("teams/shop/db"));
    world.inject(&asking("teams/${namespace}/db"));
    world.refusal(&asking("teams/billing/${service-account}/db"));
    world.refusal(&asking("teams/shop/${pod}"));
    world.inject(&asking("teams/billing/${pod}"));
}

#[test]
fn a_variable_without_a_value_is_a_problem_of_its_policy() {
    let giving = |enforcement| {
        policy("apps").inject("inject-secret-db.json", "apps/${label:app}/db").enforcement(enforcement)
    };
    let refusal = World::new([giving(Enforcement::Enforce)]).refusal(&pod().json());
    assert!(
        refusal.contains("(of the policy apps)") && refusal.contains("[variable-without-value]"),
        "{refusal}"
    );
    let world = World::new([giving(Enforcement::Warn)]);
    let decision = world.expect(&pod().json(), "skipped", "not-annotated");
    assert!(decision.warnings()[0].contains("${label:app}"), "{decision:?}");
    let world = World::new([giving(Enforcement::Audit)]);
    world.expect(&pod().json(), "skipped", "not-annotated");
    let message = world.report(&pod().json()).uses[0].message.clone().unwrap();
    assert!(message.starts_with("would refuse: inject-secret-db.json (of the policy apps)"), "{message}");
}
