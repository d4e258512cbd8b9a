//! Policies with one mistake each (`mistakes.json`), rejected without an API server.
//! `tests/cluster` checks the same table with a real one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

use scaivault_policy::{KIND, VERSION, compile};
use serde::Deserialize;
use serde_json::{Value, json};

/// A policy with a mistake.
#[derive(Debug, Deserialize)]
struct Mistake {
    name: String,
    spec: Value,
    /// The field that the error must name, and a part of the message.
    field: String,
    message: String,
}

fn mistakes() -> Vec<Mistake> {
    serde_json::from_str(include_str!("mistakes.json")).unwrap()
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec})
}

#[test]
fn every_mistake_is_named_with_its_field_and_alone() {
    let mut wrong = Vec::new();
    for Mistake { name, spec, field, message } in mistakes() {
        match compile(&policy("mistaken", &spec)) {
            Ok(_) => wrong.push(format!("{name}: accepted")),
            Err(problems) => {
                let found: Vec<_> = problems.iter().collect();
                let is_right =
                    found.len() == 1 && found[0].field == field && found[0].message.contains(&message);
                if !is_right {
                    wrong.push(format!("{name}: expected {field}: {message}, found {found:#?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_mistakes_of_a_policy_are_named_at_once() {
    let spec = json!({
        "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]},
        "enforcment": "warn",
        "environment": "Prod",
        "inject": {"secrets": [{"name": "db", "path": "Prod/db"}, {"name": "x", "path": "a/b", "format": "raw"}]},
        "allow": {"paths": ["a//b"], "urls": ["nowhere"]},
    });
    let problems = compile(&policy("mistaken", &spec)).unwrap_err();
    let mut fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
    fields.sort_unstable();
    let expected = [
        "spec.allow.paths[0]",
        "spec.allow.urls[0]",
        "spec.enforcment",
        "spec.environment",
        "spec.inject.secrets[0].path",
        "spec.inject.secrets[1]",
        "spec.namespaceSelector.matchExpressions[0]",
    ];
    assert_eq!(fields, expected, "{problems}");
}

#[test]
fn the_object_around_the_spec_is_checked_too() {
    let good = policy("billing", &json!({"namespaceSelector": {}}));
    assert!(compile(&good).is_ok());
    for (pointer, value, field) in [
        ("/apiVersion", json!("scaivault.scailabs.ai/v1"), "apiVersion"),
        ("/kind", json!("InjectionPolice"), "kind"),
        ("/metadata/name", json!(""), "metadata.name"),
        ("/metadata/name", json!("Billing"), "metadata.name"),
        ("/metadata/name", json!("b".repeat(64)), "metadata.name"),
        ("/spec", json!([]), "spec"),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        let problems = compile(&bad).unwrap_err();
        assert_eq!(problems.iter().next().unwrap().field, field, "{problems}");
    }
    let mut namespaced = good.clone();
    namespaced["metadata"]["namespace"] = json!("shop");
    assert_eq!(compile(&namespaced).unwrap_err().iter().next().unwrap().field, "metadata.namespace");
    let mut misplaced = good;
    misplaced["enforcement"] = json!("warn");
    assert_eq!(
        compile(&misplaced).unwrap_err().to_string(),
        "enforcement: unknown field; move it below spec"
    );
}
