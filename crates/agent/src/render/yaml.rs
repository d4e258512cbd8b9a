//! YAML whose keys and scalars are all quoted as in JSON: no value can be taken for another type, and no library is
//! needed.

use std::fmt::Write as _;

use serde_json::Value;
use zeroize::Zeroizing;

use super::json;

/// A mapping, one key a line; what is nested stands in flow style.
pub(super) fn mapping<'a>(entries: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Zeroizing<String> {
    let mut mapping = Zeroizing::new(String::new());
    for (name, value) in entries {
        push(&mut mapping, &json(&name));
        mapping.push_str(": ");
        push(&mut mapping, &json(value));
        mapping.push('\n');
    }
    if mapping.is_empty() {
        mapping.push_str("{}\n");
    }
    mapping
}

/// One value as a document.
pub(super) fn document(value: &Value) -> Zeroizing<String> {
    let mut document = Zeroizing::new(String::new());
    push(&mut document, &json(value));
    document.push('\n');
    document
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
