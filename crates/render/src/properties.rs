//! A Java properties file, as `java.util.Properties.load` reads it.

use std::{collections::BTreeMap, fmt::Write as _};

use scaivault_client::JsonValue;

use super::text;

/// One line `key=value` per field.
pub(super) fn lines(fields: &BTreeMap<String, JsonValue<'_>>) -> String {
    let mut lines = String::new();
    for (name, value) in fields {
        push(&mut lines, name, |c| matches!(c, ' ' | '=' | ':' | '#' | '!'));
        lines.push('=');
        let value = text(*value);
        // The reader skips only blanks at the start, and only up to the first escaped one.
        let blanks = value.len() - value.trim_start_matches(' ').len();
        for _ in 0..blanks {
            lines.push_str("\\ ");
        }
        push(&mut lines, &value[blanks..], |_| false);
        lines.push('\n');
    }
    lines
}

fn push(lines: &mut String, text: &str, is_special: impl Fn(char) -> bool) {
    for c in text.chars() {
        match c {
            '\\' => lines.push_str("\\\\"),
            '\n' => lines.push_str("\\n"),
            '\r' => lines.push_str("\\r"),
            '\t' => lines.push_str("\\t"),
            '\u{c}' => lines.push_str("\\f"),
            _ if is_special(c) => lines.extend(['\\', c]),
            ' '..='~' => lines.push(c),
            // The format is ISO 8859-1 by definition; other characters are escaped as UTF-16 units.
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(lines, "\\u{unit:04x}").expect("writing into a String cannot fail");
                }
            }
        }
    }
}
