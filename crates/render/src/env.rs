//! Lines `KEY=value` in quotes that POSIX shells and systemd's `EnvironmentFile=` read alike.

use std::collections::BTreeMap;

use scaivault_client::JsonValue;
use scaivault_contract::{Format, VariableName};

use super::{RenderError, text};

/// Variables that a shell makes read-only, computes or replaces: in bash all of them, in dash also
/// `OPTIND`.
const SPECIAL: &str = "BASHOPTS BASHPID BASH_ARGC BASH_ARGV BASH_COMMAND BASH_LINENO BASH_SOURCE BASH_SUBSHELL \
    BASH_VERSINFO DIRSTACK EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD LINENO OPTIND PPID RANDOM SECONDS \
    SHELLOPTS SRANDOM UID _";

/// One line per field.
pub(super) fn lines(fields: &BTreeMap<String, JsonValue<'_>>) -> Result<String, RenderError> {
    let mut lines = String::new();
    for (name, value) in fields {
        if name.parse::<VariableName>().is_err() || SPECIAL.split(' ').any(|special| special == name) {
            return Err(RenderError::NotAVariable { field: name.to_owned(), format: Format::Env });
        }
        let value = text(*value);
        if let Some(what) = unreadable(&value) {
            let field = name.to_owned();
            return Err(RenderError::NotRepresentable { field, what, format: Format::Env });
        }
        lines.push_str(name);
        lines.push('=');
        push_quoted(&mut lines, &value);
        lines.push('\n');
    }
    Ok(lines)
}

/// What a value contains that no quoting can represent.
fn unreadable(value: &str) -> Option<&'static str> {
    if value.contains('\0') {
        return Some("a NUL character");
    }
    // systemd rejects the whole file.
    let is_none = |c: char| u32::from(c) & 0xfffe == 0xfffe || ('\u{fdd0}'..='\u{fdef}').contains(&c);
    value.contains(is_none).then_some("a code point that Unicode reserves as a noncharacter")
}

/// Uses single quotes if no character needs an escape. systemd does not read an escape between two
/// quoted parts, and its older versions resolve backslashes within single quotes.
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
