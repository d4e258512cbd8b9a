//! Lines `KEY=value` in quotes that POSIX shells and systemd's `EnvironmentFile=` read alike.

use std::collections::BTreeMap;

use scaivault_client::JsonValue;
use scaivault_contract::{Format, VariableName};
use zeroize::Zeroizing;

use super::{RenderError, text};

/// Variables that bash refuses to set.
const READ_ONLY: [&str; 6] = ["BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"];

/// One line a field.
pub(super) fn lines(fields: &BTreeMap<String, JsonValue<'_>>) -> Result<Zeroizing<String>, RenderError> {
    let mut lines = Zeroizing::new(String::new());
    for (name, value) in fields {
        if name.parse::<VariableName>().is_err() || READ_ONLY.contains(&name.as_str()) {
            return Err(RenderError::NotAVariable { field: name.to_owned(), format: Format::Env });
        }
        let value = text(*value);
        if value.contains('\0') {
            return Err(RenderError::Nul(name.to_owned()));
        }
        lines.push_str(name);
        lines.push('=');
        push_quoted(&mut lines, &value);
        lines.push('\n');
    }
    Ok(lines)
}

/// Single quotes where nothing inside needs an escape. systemd knows no escape between two quoted parts, and old ones read
/// a backslash within single quotes.
fn push_quoted(lines: &mut String, value: &str) {
    let is_plain = !value.contains(['\'', '\\']);
    let quote = if is_plain { '\'' } else { '"' };
    lines.push(quote);
    for c in value.chars() {
        if !is_plain && matches!(c, '"' | '\\' | '$' | '`') {
            lines.push('\\');
        }
        lines.push(c);
    }
    lines.push(quote);
}
