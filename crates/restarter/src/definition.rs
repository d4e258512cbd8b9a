//! The `CustomResourceDefinition` of `RotationRollout`.

use std::sync::LazyLock;

use kube_core::CustomResourceExt as _;
use scaivault_policy::forbid_null;
use serde_json::Value;

use crate::RotationRollout;

static DEFINITION: LazyLock<Value> = LazyLock::new(|| {
    let mut definition = serde_json::to_value(RotationRollout::crd())
        .expect("a definition consists of maps with text keys, lists and scalars");
    forbid_null(&mut definition);
    remove_defaults(&mut definition);
    definition
});

/// The controller writes all fields that matter. An empty default would be an invalid time, which the API
/// server refuses.
fn remove_defaults(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("default");
            fields.values_mut().for_each(remove_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_defaults),
        _ => {}
    }
}

/// The `CustomResourceDefinition` that the chart installs.
pub fn definition() -> &'static Value {
    &DEFINITION
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All sizes are limited: otherwise an author of statuses could fill etcd and the controller's memory.
    #[test]
    fn every_text_and_list_is_bounded() {
        let mut unbounded = Vec::new();
        let schema = &definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            collect_unbounded(&schema["properties"][part], part, &mut unbounded);
        }
        // Conditions have Kubernetes' own type, and only the controller writes them.
        unbounded.retain(|path| !path.starts_with("status.conditions[]"));
        assert_eq!(unbounded, [""; 0]);
    }

    #[test]
    fn no_field_has_a_default() {
        assert!(!definition().to_string().contains("\"default\""));
    }

    /// The API server warns about unknown formats at each installation of the chart.
    #[test]
    fn every_format_is_known_to_kubernetes() {
        let text = definition().to_string();
        let formats = text.split("\"format\":\"").skip(1).filter_map(|rest| rest.split('"').next());
        let unknown: Vec<_> =
            formats.filter(|format| !["date-time", "int32", "int64"].contains(format)).collect();
        assert_eq!(unknown, [""; 0]);
    }

    fn collect_unbounded(schema: &Value, path: &str, unbounded: &mut Vec<String>) {
        let bound = match schema["type"].as_str() {
            Some("string") if schema["format"] == "date-time" => None,
            Some("string") => Some("maxLength"),
            Some("array") => Some("maxItems"),
            _ => None,
        };
        if bound.is_some_and(|bound| !schema[bound].is_number()) {
            unbounded.push(path.to_owned());
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            collect_unbounded(field, &format!("{path}.{name}"), unbounded);
        }
        if schema["items"].is_object() {
            collect_unbounded(&schema["items"], &format!("{path}[]"), unbounded);
        }
    }
}
