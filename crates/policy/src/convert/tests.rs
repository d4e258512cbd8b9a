use serde_json::json;

use super::*;
use crate::VERSION;

fn policy(spec: &Value) -> Value {
    json!({"apiVersion": VERSION, "kind": "InjectionPolicy", "metadata": {"name": "billing", "generation": 3},
        "spec": spec})
}

fn converted(spec: &Value) -> Result<PolicyParts, PolicyProblems> {
    let object = policy(spec);
    assert!(check_resource(&object).is_empty(), "{}", check_resource(&object));
    parts(serde_json::from_value(object).unwrap())
}

fn injected(spec: &Value) -> Vec<(String, String)> {
    converted(spec).unwrap().inject
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn all_fields_reach_the_core() {
    let spec = json!({
        "priority": 100,
        "namespaceSelector": {"matchLabels": {"team": "billing"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["test"]}]},
        "podSelector": {"matchLabels": {"app": "invoices"}},
        "serviceAccounts": ["invoices"],
        "containers": ["app", "worker"],
        "initContainers": ["migrate"],
        "environment": "production",
        "inject": {
            "secrets": [{"name": "db.json", "path": "a/${environment}/db", "file": "x/db.json", "format": "json",
                "mode": "0400", "optional": false}],
            "dynamic": [{"name": "pg", "engine": "postgres", "role": "readonly", "ttl": "1h"}],
            "variables": [{"name": "DB_PASSWORD", "secret": "a/db#password"}],
        },
        "pattern": "sidecar",
        "reload": {"signal": "SIGHUP", "target": "app/nginx"},
        "restart": "manual",
        "defaults": {"refresh-interval": "60s"},
        "allow": {"paths": ["a/**"], "uids": ["1000-1999"], "caConfigMaps": [], "clientCredentialsSecrets": ["x"]},
        "mutationMode": "ignore",
        "podsMayOverride": true,
        "enforcement": "warn",
        "exceptions": [{"name": "legacy", "namespaces": ["old"], "allow": {"paths": ["b/**"]}, "owner": "me",
            "reason": "because", "expires": "1970-01-01"}],
    });
    let parts = converted(&spec).unwrap();
    assert_eq!((parts.name.as_str(), parts.generation, parts.priority), ("billing", 3, 100));
    assert_eq!(parts.namespaces.match_labels["team"], "billing");
    assert_eq!(parts.namespaces.match_expressions[0].operator, core::Operator::NotIn);
    assert_eq!(parts.pods.match_labels["app"], "invoices");
    assert_eq!(parts.service_accounts, ["invoices"]);
    assert_eq!(parts.environment.as_deref(), Some("production"));
    let expected = pairs(&[
        ("containers", "app,worker"),
        ("init-containers", "migrate"),
        ("inject-secret-db.json", "a/${environment}/db"),
        ("secret-file-db.json", "x/db.json"),
        ("secret-format-db.json", "json"),
        ("secret-mode-db.json", "0400"),
        ("secret-optional-db.json", "false"),
        ("inject-dynamic-pg", "engine=postgres role=readonly ttl=1h"),
        ("inject-env-DB_PASSWORD", "a/db#password"),
        ("pattern", "sidecar"),
        ("reload-signal", "SIGHUP"),
        ("reload-target", "app/nginx"),
    ]);
    assert_eq!(parts.inject, expected);
    assert_eq!(parts.defaults, pairs(&[("refresh-interval", "60s")]));
    assert_eq!(parts.allow.paths.as_deref(), Some(&["a/**".to_owned()][..]));
    assert_eq!(parts.allow.ca_configmaps.as_deref(), Some(&[][..]), "empty is not absent");
    assert_eq!(parts.allow.urls, None);
    assert_eq!(parts.mutation_mode, Some(core::PolicyMode::Ignore));
    assert_eq!(parts.pods_may_override, Some(true));
    assert_eq!(parts.enforcement, core::Enforcement::Warn);
    let exception = &parts.exceptions[0];
    assert_eq!((exception.name.as_str(), exception.expires), ("legacy", 86_400));
}

#[test]
fn an_empty_policy_has_no_parts() {
    let parts = converted(&json!({"namespaceSelector": {}})).unwrap();
    let expected = PolicyParts { name: "billing".to_owned(), generation: 3, ..PolicyParts::default() };
    assert_eq!(parts, expected);
}

#[test]
fn delivery_applies_to_the_pod_and_all_secrets() {
    let spec = |delivery: &str| {
        json!({"namespaceSelector": {}, "delivery": delivery, "inject": {
            "secrets": [{"name": "db.password", "path": "a/db#password", "mode": "0400"}],
            "variables": [{"name": "API_KEY", "secret": "a/api#key"}],
        }})
    };
    let files = pairs(&[
        ("inject-secret-db.password", "a/db#password"),
        ("secret-mode-db.password", "0400"),
        ("inject-secret-API_KEY", "a/api#key"),
    ]);
    assert_eq!(injected(&spec("files")), files);
    let variables =
        pairs(&[("inject-env-DB_PASSWORD", "a/db#password"), ("inject-env-API_KEY", "a/api#key")]);
    assert_eq!(injected(&spec("variables")), variables);
}

#[test]
fn two_files_that_become_one_variable_are_named() {
    let spec = json!({"namespaceSelector": {}, "delivery": "variables", "inject": {
        "secrets": [{"name": "db.password", "path": "a/db#password"}, {"name": "db-password", "path": "b/db#password"}],
    }});
    let problems = converted(&spec).unwrap_err().to_string();
    assert_eq!(
        problems,
        "spec.inject.secrets[1].name: becomes DB_PASSWORD, which spec.inject.secrets[0].path becomes too; give one of \
         them another name, or remove spec.delivery"
    );
}

#[test]
fn a_files_name_becomes_a_variables_name() {
    for (file, variable) in [("db.json", "DB_JSON"), ("apiKey", "APIKEY"), ("2fa-seed", "_2FA_SEED")] {
        assert_eq!(variable_name(file), variable);
        assert!(variable.parse::<scaivault_contract::VariableName>().is_ok());
    }
}
