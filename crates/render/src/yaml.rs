//! YAML whose keys and scalars are all quoted as in JSON: no value can be mistaken for another
//! type, and no library is needed.

use std::{collections::BTreeMap, fmt::Write as _};

use scaivault_client::{Json, JsonValue};
use scaivault_contract::Format;

use super::{RenderError, json};

/// Maximum length of a key in characters, with quotes and escapes: YAML limits implicit keys to
/// 1024.
const KEY_MAX_CHARS: usize = 1000;

/// A mapping with one key per line; nested values are in flow style.
pub(super) fn mapping(fields: &BTreeMap<String, JsonValue<'_>>) -> Result<String, RenderError> {
    let mut mapping = String::new();
    for (name, value) in fields {
        check_names(name, name, *value)?;
        mapping.push_str(&key(name));
        mapping.push_str(": ");
        push_value(&mut mapping, *value);
    }
    if mapping.is_empty() {
        mapping.push_str("{}\n");
    }
    Ok(mapping)
}

/// One value as a document.
pub(super) fn document(name: &str, value: JsonValue<'_>) -> Result<String, RenderError> {
    check_names(name, "", value)?;
    let mut document = String::new();
    push_value(&mut document, value);
    Ok(document)
}

fn push_value(yaml: &mut String, value: JsonValue<'_>) {
    push(yaml, &json(&value));
    yaml.push('\n');
}

fn key(name: &str) -> String {
    let mut key = String::new();
    push(&mut key, &json(name));
    key
}

/// Rejects names at any level that are too long for a key.
fn check_names(field: &str, name: &str, value: JsonValue<'_>) -> Result<(), RenderError> {
    if key(name).chars().count() > KEY_MAX_CHARS {
        let (field, what) = (field.to_owned(), "a name of more than 1000 characters");
        return Err(RenderError::NotRepresentable { field, what, format: Format::Yaml });
    }
    match value.read() {
        Json::List(items) => items.into_iter().try_for_each(|item| check_names(field, "", item)),
        Json::Object(fields) => fields.iter().try_for_each(|(name, value)| check_names(field, name, *value)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => Ok(()),
    }
}

/// Escapes characters that JSON leaves unescaped and that YAML treats as line breaks or does not
/// print.
fn push(yaml: &mut String, json: &str) {
    for c in json.chars() {
        if matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') {
            write!(yaml, "\\u{:04x}", u32::from(c)).expect("writing into a String cannot fail");
        } else {
            yaml.push(c);
        }
    }
}
