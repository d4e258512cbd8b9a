//! YAML whose keys and scalars are all quoted as in JSON: no value can be taken for another type, and no library is
//! needed.

use std::{collections::BTreeMap, fmt::Write as _};

use scaivault_client::JsonValue;
use zeroize::Zeroizing;

use super::{RenderError, json, json_of};

/// A mapping, one key a line; what is nested stands in flow style.
pub(super) fn mapping(fields: &BTreeMap<String, JsonValue<'_>>) -> Result<Zeroizing<String>, RenderError> {
    let mut mapping = Zeroizing::new(String::new());
    for (name, value) in fields {
        let mut key = Zeroizing::new(String::new());
        json::push_text(&mut key, name);
        push(&mut mapping, &key);
        mapping.push_str(": ");
        push_value(&mut mapping, *value)?;
    }
    if mapping.is_empty() {
        mapping.push_str("{}\n");
    }
    Ok(mapping)
}

/// One value as a document.
pub(super) fn document(value: JsonValue<'_>) -> Result<Zeroizing<String>, RenderError> {
    let mut document = Zeroizing::new(String::new());
    push_value(&mut document, value)?;
    Ok(document)
}

fn push_value(yaml: &mut String, value: JsonValue<'_>) -> Result<(), RenderError> {
    push(yaml, &json_of(value));
    yaml.push('\n');
    Ok(())
}

/// Escapes what JSON leaves as it is inside strings and YAML breaks lines at or does not print.
fn push(yaml: &mut String, json: &str) {
    for c in json.chars() {
        if matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') {
            write!(yaml, "\\u{:04x}", u32::from(c)).expect("writing into a String cannot fail");
        } else {
            yaml.push(c);
        }
    }
}
