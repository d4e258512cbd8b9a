//! The fields of a custom resource as a table for the documentation.

use std::fmt::Write as _;

use serde_json::Value;

/// The fields of one part of an object, `spec` or `status`, as Markdown. `schema` is that of the object.
pub fn fields_of(schema: &Value, part: &str) -> String {
    let mut table = "| field | type | default | what it is |\n|---|---|---|---|\n".to_owned();
    rows(&schema["properties"][part], part, &mut table);
    table
}

fn rows(object: &Value, path: &str, table: &mut String) {
    let is_required = |name: &str| {
        object["required"].as_array().is_some_and(|names| names.iter().any(|field| field == name))
    };
    for (name, field) in object["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let default = match &field["default"] {
            _ if is_required(name) => "required".to_owned(),
            Value::Null => String::new(),
            Value::String(text) if text.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            value => format!("`{value}`"),
        };
        let doc = field["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(table, "| `{path}` | {} | {default} | {doc} |", type_name(field));
        // The fields of label selectors are those of Kubernetes, and the `allow` of an exception
        // has the fields of `spec.allow`.
        if is_selector(field) || path == "spec.exceptions[].allow" {
            continue;
        }
        if field["items"].is_object() {
            rows(&field["items"], &format!("{path}[]"), table);
        } else {
            rows(field, &path, table);
        }
    }
}

fn is_selector(field: &Value) -> bool {
    field["properties"]["matchLabels"].is_object()
}

fn type_name(field: &Value) -> String {
    let bound = |name: &str| field[name].as_u64();
    match field["type"].as_str().unwrap_or_default() {
        "string" if field["enum"].is_array() => {
            let words = field["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
            words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        }
        "string" if field["format"] == "date" => "date".to_owned(),
        "string" => match bound("maxLength") {
            Some(most) => format!("text, at most {most} characters"),
            None => "text".to_owned(),
        },
        "array" => match bound("maxItems") {
            Some(most) => format!("list of at most {most}"),
            None => "list".to_owned(),
        },
        "integer" => "whole number".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "object" if is_selector(field) => "label selector".to_owned(),
        "object" if field["additionalProperties"].is_object() => match bound("maxProperties") {
            Some(most) => format!("map of at most {most}"),
            None => "map".to_owned(),
        },
        _ => "map".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::schema;

    #[test]
    fn every_row_has_its_four_cells() {
        let table = fields_of(schema(), "spec");
        for row in table.lines() {
            assert_eq!(row.replace("\\|", "").matches('|').count(), 5, "{row}");
            assert!(!row.contains("|  |  |") && !row.ends_with("|  |"), "{row}");
        }
        assert!(
            table.contains("| `spec.inject.secrets[].path` | text, at most 4096 characters | required |"),
            "{table}"
        );
    }
}
