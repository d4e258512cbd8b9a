//! The `CustomResourceDefinition`.

use std::sync::LazyLock;

use kube_core::CustomResourceExt as _;
use serde_json::{Value, json};

use crate::{InjectionPolicy, rules};

/// The schema in the definition.
const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

static DEFINITION: LazyLock<Value> = LazyLock::new(|| {
    let mut definition = serde_json::to_value(InjectionPolicy::crd())
        .expect("a definition consists of maps with text keys, lists and scalars");
    forbid_null(&mut definition);
    let schema = definition.pointer_mut(SCHEMA).expect("the definition has one version, with a schema");
    // The derived root type takes rules only where the whole client is built in.
    schema["x-kubernetes-validations"] = json!([rules::NAME_LENGTH.cel()]);
    definition
});

/// The `CustomResourceDefinition` that the chart installs.
pub fn definition() -> &'static Value {
    &DEFINITION
}

/// The schema of a policy: `spec` and `metadata`, without what the API server writes.
pub(crate) fn schema() -> &'static Value {
    let schema = definition().pointer(SCHEMA);
    schema.expect("the definition has one version, with a schema")
}

/// The schemas of Rust's optional fields take `null`. A `null` in `allow` would mean "not limited" where its author may
/// have meant an empty list, so it is refused.
fn forbid_null(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("nullable");
            fields.values_mut().for_each(forbid_null);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_null),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `kubectl apply` keeps of an object in an annotation has at most 256 KiB.
    const ANNOTATION_BYTES: usize = 256 * 1024;

    #[test]
    fn the_definition_can_be_applied_by_clients() {
        assert!(definition().to_string().len() < ANNOTATION_BYTES / 2, "{}", definition().to_string().len());
    }

    #[test]
    fn no_field_takes_null() {
        let text = definition().to_string();
        assert!(!text.contains("nullable"), "{text}");
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
