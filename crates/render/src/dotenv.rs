//! Lines `KEY=value` that Node's `--env-file`, npm dotenv, python-dotenv and Compose read alike.
//!
//! The format has no specification and no escape that all of these readers support. Each value gets
//! the first form that all of them read unchanged; `crates/agent/tests/formats` runs them.

use std::collections::BTreeMap;

use scaivault_client::JsonValue;
use scaivault_contract::{Format, VariableName};

use super::{RenderError, text};

/// Characters that no form can represent.
const NUL: &str = "a NUL character";
const RETURN: &str = "a carriage return";
const EXPANDED: &str = "${…}, which some of them expand";
const MIXED: &str = "quotes or backslashes together with other characters that need quotes";

/// One line per field.
pub(super) fn lines(fields: &BTreeMap<String, JsonValue<'_>>) -> Result<String, RenderError> {
    let mut lines = String::new();
    for (name, value) in fields {
        // JavaScript objects cannot have it as an ordinary key.
        if name.parse::<VariableName>().is_err() || name == "__proto__" {
            return Err(RenderError::NotAVariable { field: name.to_owned(), format: Format::Dotenv });
        }
        let value = text(*value);
        let quote = quote(&value).map_err(|what| RenderError::NotRepresentable {
            field: name.to_owned(),
            what,
            format: Format::Dotenv,
        })?;
        for part in [name, "=", quote, &value, quote, "\n"] {
            lines.push_str(part);
        }
    }
    Ok(lines)
}

/// The quotes for a value, or what it contains that no form can represent.
fn quote(value: &str) -> Result<&'static str, &'static str> {
    if value.contains('\0') {
        return Err(NUL);
    }
    // Node drops it.
    if value.contains('\r') {
        return Err(RETURN);
    }
    // python-dotenv expands it in every form.
    if value.split_once("${").is_some_and(|(_, rest)| rest.contains('}')) {
        return Err(EXPANDED);
    }
    // python-dotenv reads an escaped backslash or quote as one character.
    if !value.contains('\'') && !value.contains(r"\\") && !value.ends_with('\\') {
        return Ok("'");
    }
    // Within double quotes some readers expand \n, and some $NAME. `$` and backquotes are excluded
    // in case a shell reads the file.
    if !value.contains(['"', '\\', '$', '`']) {
        return Ok("\"");
    }
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '$') || c == ' ';
    if value.chars().all(is_plain) && value.trim_matches(' ') == value && !value.starts_with(['"', '\'', '`'])
    {
        return Ok("");
    }
    Err(MIXED)
}
