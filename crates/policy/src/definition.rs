//! The `CustomResourceDefinition`.

use std::sync::LazyLock;

use kube_core::{CustomResourceExt as _, Rule};
use serde_json::{Value, json};

use crate::{InjectionPolicy, rules};

/// Pointer to the schema in the definition.
const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

static DEFINITION: LazyLock<Value> = LazyLock::new(|| {
    let mut definition = serde_json::to_value(InjectionPolicy::crd())
        .expect("a definition consists of maps with text keys, lists and scalars");
    forbid_null(&mut definition);
    let schema = definition.pointer_mut(SCHEMA).expect("the definition has one version, with a schema");
    refuse_null(&mut schema["properties"]["spec"]);
    // Rules for the root type can only be derived with the complete client.
    schema[RULES] = json!([rules::NAME_LENGTH.cel()]);
    definition
});

/// The field of a schema with its rules.
const RULES: &str = "x-kubernetes-validations";

/// The message of the rule against `null`.
const NO_NULL: &str = "null is no value; remove the field, or write [] for an empty list";

/// The `CustomResourceDefinition` that the chart installs.
pub fn definition() -> &'static Value {
    &DEFINITION
}

/// The schema of a policy: `spec` and `metadata`, without fields that the API server writes.
pub(crate) fn schema() -> &'static Value {
    let schema = definition().pointer(SCHEMA);
    schema.expect("the definition has one version, with a schema")
}

/// Removes `null` from the types of Rust's optional fields; it is rejected instead.
pub fn forbid_null(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("nullable");
            fields.values_mut().for_each(forbid_null);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_null),
        _ => {}
    }
}

/// Makes the API server reject `null`. It would drop it silently, and a missing field often selects
/// or allows more: `paths:` without a value, as templates render an empty list, would not limit,
/// and `team:` in `matchLabels` would select everything. Fields become nullable, so that a rule of
/// the enclosing object can detect the `null`.
fn refuse_null(schema: &mut Value) {
    let required = schema["required"].clone();
    let is_required = |name: &str| required.as_array().is_some_and(|names| names.iter().any(|n| n == name));
    let mut rule = None;
    for (name, field) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        refuse_null(field);
        // `null` counts as missing in a required field, and becomes the default in a field with
        // one.
        if !is_required(name) && field.get("default").is_none() {
            field["nullable"] = true.into();
            // A field with `null` is among the keys, but counts as absent.
            rule = Some("dyn(self).all(key, key in dyn(self))");
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(inner) {
            refuse_null(inner);
        }
    }
    if let Some(values) = schema.get_mut("additionalProperties").filter(|values| values.is_object()) {
        values["nullable"] = true.into();
        rule = Some("self.all(key, dyn(self[key]) != null)");
    }
    let Some(rule) = rule.map(|rule| json!(Rule::new(rule).message(NO_NULL))) else { return };
    match schema.get_mut(RULES).and_then(Value::as_array_mut) {
        Some(rules) => rules.insert(0, rule),
        None => schema[RULES] = json!([rule]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maximum size of the annotations in which `kubectl apply` keeps the object.
    const ANNOTATION_BYTES: usize = 256 * 1024;

    #[test]
    fn the_definition_can_be_applied_by_clients() {
        assert!(definition().to_string().len() < ANNOTATION_BYTES / 2, "{}", definition().to_string().len());
    }

    #[test]
    fn every_field_that_keeps_null_is_under_a_rule() {
        let allow = &schema()["properties"]["spec"]["properties"]["allow"];
        assert_eq!(allow["properties"]["paths"]["nullable"], true);
        assert_eq!(allow[RULES][0]["rule"], "dyn(self).all(key, key in dyn(self))");
        let labels = "/properties/spec/properties/namespaceSelector/properties/matchLabels";
        let labels = schema().pointer(labels).unwrap();
        assert_eq!(labels["additionalProperties"]["nullable"], true);
        assert_eq!(labels[RULES][0]["rule"], "self.all(key, dyn(self[key]) != null)");
    }

    #[test]
    fn every_text_and_list_of_the_spec_is_bounded() {
        let mut unbounded = Vec::new();
        collect_unbounded(&schema()["properties"]["spec"], "spec", &mut unbounded);
        assert!(unbounded.is_empty(), "{unbounded:?}");
    }

    fn collect_unbounded(schema: &Value, path: &str, unbounded: &mut Vec<String>) {
        let bound = match schema["type"].as_str() {
            Some("string") if schema["enum"].is_array() || schema["format"] == "date" => None,
            Some("string") => Some("maxLength"),
            Some("array") => Some("maxItems"),
            Some("object") if schema["additionalProperties"].is_object() => Some("maxProperties"),
            _ => None,
        };
        if bound.is_some_and(|bound| !schema[bound].is_number()) {
            unbounded.push(path.to_owned());
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            collect_unbounded(field, &format!("{path}.{name}"), unbounded);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                collect_unbounded(&schema[inner], &format!("{path}[]"), unbounded);
            }
        }
    }
}
