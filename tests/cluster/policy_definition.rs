//! The `CustomResourceDefinition` of policies on a real API server: what it accepts and rejects,
//! and that files are rejected for the same reasons without an API server.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use scaivault_policy::{KIND, VERSION, compile};
use scaivault_testkit::control_plane::ControlPlane;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{self, policies, run};

/// A policy with one mistake.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mistake {
    name: String,
    spec: Value,
    field: String,
    message: String,
    seen_by: SeenBy,
    /// The field in the API server's error, if it differs: its rules apply to whole lists.
    server: Option<String>,
}

/// The component that detects the mistake in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum SeenBy {
    /// The API server by the schema, with its own message.
    Schema,
    /// The API server, if the client requests strict validation.
    Strict,
    /// The API server by a rule, with the injector's message.
    Rule,
    Injector,
}

fn mistakes() -> Vec<Mistake> {
    serde_json::from_str(include_str!("../../crates/policy/tests/mistakes.json")).unwrap()
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec})
}

/// The API server's error when the object is created as a dry run; `None` if it is accepted.
fn refusal(plane: &ControlPlane, object: &str) -> Option<String> {
    let mut command: Command = plane.kubectl().unwrap();
    command.args(["create", "--dry-run=server", "--validate=strict", "--filename=-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut kubectl = command.spawn().unwrap();
    kubectl.stdin.take().unwrap().write_all(object.as_bytes()).unwrap();
    let output = kubectl.wait_with_output().unwrap();
    (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn the_api_server_and_files_refuse_the_same_policies() {
    let plane = support::control_plane().await;
    policies::define(plane).await;
    let mut wrong = Vec::new();
    for Mistake { name, spec, field, message, seen_by, server } in mistakes() {
        let object = policy("mistaken", &spec);
        if compile(&object).is_ok() {
            wrong.push(format!("{name}: accepted in a file"));
        }
        let said = refusal(plane, &object.to_string());
        let field = server.unwrap_or(field);
        let is_expected = match (&said, seen_by) {
            (None, SeenBy::Injector) => true,
            // Injectors of other tests validate policies, too.
            (Some(said), SeenBy::Injector) => said.contains("policy.injector.scaivault.scailabs.ai"),
            (Some(said), SeenBy::Schema) => said.contains(&format!("{field}: ")),
            (Some(said), SeenBy::Strict) => said.contains(&format!("unknown field \"{field}\"")),
            (Some(said), SeenBy::Rule) => said.contains(&format!("{field}: ")) && said.contains(&message),
            _ => false,
        };
        if !is_expected {
            wrong.push(format!("{name} ({seen_by:?}, {field}: {message}): {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_name_that_is_too_long_is_refused() {
    let plane = support::control_plane().await;
    policies::define(plane).await;
    let spec = json!({"namespaceSelector": {}});
    assert_eq!(refusal(plane, &policy(&"b".repeat(63), &spec).to_string()), None);
    let said = refusal(plane, &policy(&"b".repeat(64), &spec).to_string()).unwrap();
    assert!(said.contains("the name of a policy must have at most 63 characters"), "{said}");
}

#[tokio::test]
async fn the_recipes_are_accepted() {
    let plane = support::control_plane().await;
    policies::define(plane).await;
    let mut recipes = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            recipes += 1;
            assert_eq!(refusal(plane, &fs::read_to_string(&path).unwrap()), None, "{}", path.display());
        }
    }
    assert!(recipes >= 6, "{recipes}");
}

#[tokio::test]
async fn every_field_at_once_is_accepted() {
    let plane = support::control_plane().await;
    policies::define(plane).await;
    let full = |name: &str, count: usize| (0..count).map(|n| format!("{name}-{n}")).collect::<Vec<_>>();
    let allow = json!({
        "paths": full("${namespace}/*/**/a?", 64),
        "dynamic": full("postgres/role", 64),
        "roles": full("role", 64),
        "urls": full("https://vault.example.com/a", 64),
        "images": full("registry.example.com/a", 64),
        "uids": (0..64).map(|n| format!("{n}-2000")).collect::<Vec<_>>(),
        "caConfigMaps": full("ca-*", 64),
        "clientCredentialsSecrets": full("credentials-?", 64),
    });
    let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": full("v", 64)}]});
    let exceptions: Vec<_> = (0..32)
        .map(|n| {
            json!({"name": format!("exception-{n}"), "namespaces": full("n", 64), "serviceAccounts": full("s", 64),
                "podSelector": selector, "allow": {"paths": full("x", 64)}, "owner": "me", "reason": "because",
                "expires": "2027-01-31"})
        })
        .collect();
    let spec = json!({
        "priority": -1, "namespaceSelector": selector, "podSelector": selector, "serviceAccounts": full("s", 64),
        "containers": full("c", 64), "initContainers": ["migrate"], "environment": "production",
        "inject": {
            "secrets": full("file", 64).into_iter().map(|name| json!({"name": name, "path": "a/b#c", "format": "raw",
                "mode": "0400", "encoding": "base64", "optional": true, "file": format!("x/{name}")})).collect::<Vec<_>>(),
            "dynamic": full("pg", 32).into_iter().map(|name| json!({"name": name, "engine": "e", "role": "r",
                "ttl": "1h", "template": "x"})).collect::<Vec<_>>(),
            "variables": (0..64).map(|n| json!({"name": format!("V{n}"), "secret": "a/b#c"})).collect::<Vec<_>>(),
        },
        "restart": "auto", "defaults": {"refresh-interval": "60s"}, "allow": allow, "mutationMode": "inject",
        "podsMayOverride": false, "enforcement": "audit", "exceptions": exceptions,
    });
    assert_eq!(refusal(plane, &policy("everything", &spec).to_string()), None);
}

#[tokio::test]
async fn policies_are_listed_with_columns_and_by_environment() {
    let plane = support::control_plane().await;
    policies::define(plane).await;
    for (name, environment) in [("columns-production", "columns"), ("columns-staging", "columns-other")] {
        let spec =
            json!({"namespaceSelector": {"matchLabels": {"no": "namespace"}}, "environment": environment});
        policies::apply(plane, &policy(name, &spec));
    }
    let get = |words: &[&str]| run(plane.kubectl().unwrap().args(["get", "injectionpolicies"]).args(words));
    let found = get(&["--field-selector", "spec.environment=columns", "--output=name"]);
    assert_eq!(found.trim(), "injectionpolicy.scaivault.scailabs.ai/columns-production");
    let table = get(&["columns-production", "--output=wide"]);
    let head = table.lines().next().unwrap();
    let columns: Vec<_> = head.split_whitespace().collect();
    let expected = [
        "NAME",
        "ENVIRONMENT",
        "ENFORCEMENT",
        "ACCEPTED",
        "REACHABLE",
        "NAMESPACES",
        "INJECTED",
        "REFUSED",
        "AGE",
        "PRIORITY",
        "MODE",
        "WARNED",
        "AUDITED",
        "CONFLICTED",
    ];
    assert_eq!(columns, expected, "{table}");
    assert!(table.contains("enforce"), "the default is filled in: {table}");
    let explained = run(plane.kubectl().unwrap().args(["explain", "injectionpolicy.spec.enforcement"]));
    let words = explained.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("refuses pods with values that `allow` does not contain"), "{explained}");
    run(plane.kubectl().unwrap().args([
        "delete",
        "injectionpolicy",
        "columns-production",
        "columns-staging",
    ]));
}
