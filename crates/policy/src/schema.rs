//! Validates a value against its schema: what the API server checks before the rules, and unknown
//! fields, which it would drop.

use std::collections::HashSet;

use scaivault_contract::Excerpt;
use scaivault_inject::annotations::nearest;
use serde_json::{Map, Value};

use crate::{Date, PolicyProblems};

/// Maximum number of items of a list or map that are validated; longer ones are rejected for their
/// length.
const ITEMS_CHECKED: usize = 128;

/// Adds all problems of `value` with the schema.
pub(crate) fn check(schema: &Value, value: &Value, path: &str, problems: &mut PolicyProblems) {
    let expected = schema["type"].as_str().unwrap_or_default();
    match (expected, value) {
        ("object", Value::Object(fields)) => check_object(schema, fields, path, problems),
        ("array", Value::Array(items)) => check_list(schema, items, path, problems),
        ("string", Value::String(text)) => check_text(schema, text, path, problems),
        ("integer", Value::Number(number)) if number.is_i64() => {
            check_number(schema, number.as_i64().unwrap_or_default(), path, problems);
        }
        ("boolean", Value::Bool(_)) => {}
        // YAML parses `0400` as the number 256.
        ("string", Value::Number(_)) if path.rsplit_once('.').is_some_and(|(_, field)| field == "mode") => {
            problems.add(
                path,
                "expected a string, found a number; put the octal digits in quotes, such as \"0400\"",
            );
        }
        _ => problems.add(path, wrong_type(expected, value)),
    }
}

fn check_object(schema: &Value, fields: &Map<String, Value>, path: &str, problems: &mut PolicyProblems) {
    let known = schema["properties"].as_object();
    let bounds = ["minProperties", "maxProperties"].map(|bound| schema[bound].as_u64());
    if let Some(least) = bounds[0].filter(|least| (fields.len() as u64) < *least) {
        let names = known.map(names).unwrap_or_default();
        problems.add(path, format!("must have at least {least} of {names}"));
    }
    check_length(fields.len(), [None, bounds[1]], "entries", path, problems);
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            problems.add(child(path, name), "is required");
        }
    }
    for (name, value) in fields.iter().take(ITEMS_CHECKED) {
        if let Some(schema) = known.and_then(|known| known.get(name)) {
            check(schema, value, &child(path, name), problems);
        } else if schema["additionalProperties"].is_object() {
            check(&schema["additionalProperties"], value, &entry(path, name), problems);
        } else if let Some(known) = known {
            problems.add(child(path, &shown(name)), unknown_field(name, known));
        }
    }
}

fn check_list(schema: &Value, items: &[Value], path: &str, problems: &mut PolicyProblems) {
    let bounds = ["minItems", "maxItems"].map(|bound| schema[bound].as_u64());
    if items.is_empty() && bounds[0] == Some(1) {
        problems.add(path, "must not be empty; leave the field out to select all");
    }
    check_length(items.len(), [None, bounds[1]], "items", path, problems);
    for (index, item) in items.iter().enumerate().take(ITEMS_CHECKED) {
        check(&schema["items"], item, &format!("{path}[{index}]"), problems);
    }
    if schema["x-kubernetes-list-type"] == "set" {
        let mut seen = HashSet::new();
        for (index, item) in items.iter().enumerate().take(ITEMS_CHECKED) {
            if let Some(text) = item.as_str().filter(|text| !seen.insert(*text)) {
                let message = format!("duplicate item {}; remove it", Excerpt::new(text));
                problems.add(format!("{path}[{index}]"), message);
            }
        }
    }
    // A list of type map may have only one item per value of its key.
    let Some(key) = schema["x-kubernetes-list-map-keys"][0].as_str() else { return };
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate().take(ITEMS_CHECKED) {
        if let Some(name) = item[key].as_str().filter(|name| !seen.insert(*name)) {
            let message =
                format!("duplicate {key} {}; give each item a {key} of its own", Excerpt::new(name));
            problems.add(format!("{path}[{index}]"), message);
        }
    }
}

fn check_text(schema: &Value, text: &str, path: &str, problems: &mut PolicyProblems) {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        if !words.contains(&text) {
            let meant = nearest(text, words.iter().copied());
            let meant = meant.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
            let message = format!("{} is not one of {}{meant}", Excerpt::new(text), words.join(", "));
            problems.add(path, message);
        }
        return;
    }
    if schema["format"] == "date"
        && let Err(error) = text.parse::<Date>()
    {
        problems.add(path, format!("{} is no date: {error}", Excerpt::new(text)));
    }
    if text.is_empty() && schema["minLength"] == 1 {
        problems.add(path, "must not be empty");
    }
    check_length(text.chars().count(), [None, schema["maxLength"].as_u64()], "characters", path, problems);
}

fn check_number(schema: &Value, number: i64, path: &str, problems: &mut PolicyProblems) {
    // Numbers in a schema may be floats.
    let bound = |name: &str| schema[name].as_f64();
    #[expect(
        clippy::cast_precision_loss,
        reason = "the bounds are far below 2^52, and what is above stays above"
    )]
    let value = number as f64;
    let (least, most) = (bound("minimum"), bound("maximum"));
    if least.is_some_and(|least| value < least) || most.is_some_and(|most| value > most) {
        let message = match (least, most) {
            (Some(least), Some(most)) => format!("{number} is not between {least} and {most}"),
            (Some(least), None) => format!("{number} is less than {least}"),
            (None, _) => format!("{number} is more than {}", most.unwrap_or_default()),
        };
        problems.add(path, message);
    }
}

fn check_length(
    length: usize,
    [least, most]: [Option<u64>; 2],
    unit: &str,
    path: &str,
    problems: &mut PolicyProblems,
) {
    if let Some(most) = most.filter(|most| length as u64 > *most) {
        problems.add(path, format!("has {length} {unit}; at most {most} are allowed"));
    }
    if let Some(least) = least.filter(|least| (length as u64) < *least) {
        problems.add(path, format!("has {length} {unit}; at least {least} are needed"));
    }
}

/// The problem of a value with another type.
pub(crate) fn wrong_type(expected: &str, value: &Value) -> String {
    let expected_words = match expected {
        "object" => "a map",
        "array" => "a list",
        "string" => "a string",
        "integer" => "a whole number",
        "boolean" => "true or false",
        other => other,
    };
    let (actual, fix) = match value {
        Value::Null if expected == "array" => {
            ("null".to_owned(), "; remove the field, or write [] for an empty list")
        }
        Value::Null => ("null".to_owned(), "; remove the field, or give it a value"),
        Value::Bool(value) => {
            (value.to_string(), if expected == "string" { "; put it in quotes" } else { "" })
        }
        Value::Number(value) => {
            (format!("the number {value}"), if expected == "string" { "; put it in quotes" } else { "" })
        }
        Value::String(text) => {
            (Excerpt::new(text).to_string(), if expected == "array" { "; write it as a list" } else { "" })
        }
        Value::Array(_) => ("a list".to_owned(), ""),
        Value::Object(_) => ("a map".to_owned(), ""),
    };
    format!("expected {expected_words}, found {actual}{fix}")
}

fn unknown_field(name: &str, known: &Map<String, Value>) -> String {
    match nearest(name, known.keys().map(String::as_str)) {
        Some(meant) => format!("unknown field; did you mean {meant}?"),
        None => format!("unknown field; allowed: {}", names(known)),
    }
}

fn names(known: &Map<String, Value>) -> String {
    known.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A field's name in a form that is safe to show in a path: quoted and truncated unless it is
/// plain.
fn shown(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.len() <= 63 && name.bytes().all(is_plain) {
        name.to_owned()
    } else {
        Excerpt::new(name).to_string()
    }
}

/// The path of a field.
pub(crate) fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The path of an entry of a map with arbitrary keys.
pub(crate) fn entry(path: &str, name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if name.len() <= 317 && name.bytes().all(is_plain) {
        format!("{path}[{name}]")
    } else {
        format!("{path}[{}]", Excerpt::new(name))
    }
}
