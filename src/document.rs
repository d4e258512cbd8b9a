//! Parses and writes a document so that `kubectl` reads the same values before and after.

pub(crate) mod digits;

use serde::{Serialize, Serializer, de::DeserializeSeed};
use serde_json::{Value, ser::PrettyFormatter};
use serde_saphyr::DoubleQuoted;
use thiserror::Error;

use self::digits::MarkDigits;
use crate::{
    strict_json,
    yaml_stream::{Content, Document, Format},
};

/// The maximum nesting of a YAML document. Kubernetes' own JSON decoder allows far more than any
/// manifest needs.
const MAX_DEPTH: usize = 128;

/// The maximum number of nodes of one YAML document. A node takes at least two bytes, so the
/// largest input cannot exceed it.
const MAX_NODES: usize = 32 * 1024 * 1024;

/// Why a document cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub(crate) struct ParseError {
    /// The line in the stream, from 1.
    pub(crate) line: usize,
    /// The column, from 1.
    pub(crate) column: usize,
    /// What is wrong.
    pub(crate) message: String,
    /// How to fix it, if that can be guessed.
    pub(crate) hint: Option<&'static str>,
}

/// The value cannot be written as YAML or JSON.
#[derive(Debug, Error)]
pub(crate) enum EmitError {
    /// As YAML.
    #[error("the changed document cannot be written as YAML: {0}")]
    Yaml(#[from] serde_saphyr::SerializeError),
    /// As JSON.
    #[error("the changed document cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Parses a document; `None` if it has no content.
pub(crate) fn parse(document: &Document<'_>) -> Result<Option<Value>, ParseError> {
    let Some(content) = &document.content else {
        return Ok(None);
    };
    let source = document.source();
    match content.format {
        Format::Json => strict_json::parse(source).map_err(|error| json_error(content.line, &error)),
        Format::Yaml => parse_yaml(source).map_err(|error| yaml_error(document.line, source, &error)),
    }
    .map(Some)
}

/// The value for writing the document: numbers keep the digits that they have in the source.
pub(crate) fn with_digits(mut value: Value, document: &Document<'_>) -> Result<Value, ParseError> {
    let Some(content) = &document.content else {
        return Ok(value);
    };
    let source = document.source();
    let marks = MarkDigits { value: &mut value, source, format: content.format };
    match content.format {
        Format::Json => marks
            .deserialize(&mut serde_json::Deserializer::from_str(source))
            .map_err(|error| json_error(content.line, &error)),
        Format::Yaml => {
            serde_saphyr::with_deserializer_from_str_with_options(source, yaml_options(), |yaml| {
                marks.deserialize(yaml)
            })
            .map_err(|error| yaml_error(document.line, source, &error))
        }
    }?;
    Ok(value)
}

/// Parses YAML as `kubectl` does, with YAML 1.1 booleans, octal numbers and merge keys; duplicate
/// keys are an error.
pub(crate) fn parse_yaml(text: &str) -> Result<Value, serde_saphyr::Error> {
    serde_saphyr::from_str_with_options(text, yaml_options())
}

fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
        },
    }
}

/// Writes a value in the format of the document: YAML in block style, JSON with its indentation.
pub(crate) fn emit(value: &Value, document: &Document<'_>) -> Result<String, EmitError> {
    match document.content {
        Some(Content { format: Format::Json, .. }) => emit_json(value, indentation(document.source())),
        _ => emit_yaml(value),
    }
}

/// Writes YAML that a YAML 1.1 parser reads as the same value: strings such as `yes`, `0400` and
/// `1e3` are quoted, and text of several lines is a literal block.
pub(crate) fn emit_yaml(value: &Value) -> Result<String, EmitError> {
    let options = serde_saphyr::ser_options! {
        // Never `>`: a folded block would change the visible line breaks.
        folded_wrap_chars: usize::MAX,
    };
    Ok(digits::restore(&serde_saphyr::to_string_with_options(&YamlValue(value), options)?, Format::Yaml))
}

/// Wraps a value for writing: text whose literal block would start with a tab is quoted instead,
/// because the YAML library of `kubectl` takes that tab for indentation and rejects it.
struct YamlValue<'a>(&'a Value);

impl Serialize for YamlValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if text.contains('\n') && text.trim_start_matches('\n').starts_with('\t') => {
                DoubleQuoted(text).serialize(serializer)
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(YamlValue)),
            Value::Object(map) => {
                serializer.collect_map(map.iter().map(|(key, value)| (key, YamlValue(value))))
            }
            other => other.serialize(serializer),
        }
    }
}

fn emit_json(value: &Value, indentation: Option<&str>) -> Result<String, EmitError> {
    let Some(indentation) = indentation else {
        return Ok(digits::restore(&serde_json::to_string(value)?, Format::Json));
    };
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(indentation.as_bytes());
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    let text = String::from_utf8(bytes).expect("serde_json writes UTF-8");
    Ok(digits::restore(&text, Format::Json))
}

/// The white space before the first key of a JSON text; `None` if the text is on one line.
pub(crate) fn indentation(json: &str) -> Option<&str> {
    let (_, rest) = json.split_once('\n')?;
    let content = rest.trim_start_matches([' ', '\t']);
    Some(&rest[..rest.len() - content.len()])
}

fn json_error(first_line: usize, error: &serde_json::Error) -> ParseError {
    ParseError {
        line: first_line + error.line().saturating_sub(1),
        column: error.column(),
        message: without_place(error.to_string()),
        hint: None,
    }
}

fn yaml_error(first_line: usize, source: &str, error: &serde_saphyr::Error) -> ParseError {
    let (line, column) = error.location().map_or((0, 1), |location| {
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        (index(location.line()).saturating_sub(1), index(location.column()))
    });
    let rendered = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
    ParseError {
        line: first_line + line,
        column,
        message: without_place(rendered),
        hint: yaml_hint(source, line, column),
    }
}

/// A hint for text that YAML reads differently from what its author meant, at the location of an
/// error.
fn yaml_hint(source: &str, line: usize, column: usize) -> Option<&'static str> {
    if source.contains("{{") {
        return Some(
            "a value with {{ needs quotes, or a block after |; if this is the template of another tool, render it first, for example with `helm template`",
        );
    }
    let mut rest = source.lines().nth(line)?.chars().skip(column.saturating_sub(2));
    let before = if column > 1 { rest.next() } else { None };
    match (before, rest.next()?) {
        (_, '*') => Some("a value that starts with * needs quotes"),
        (Some('$'), '{') => Some("a value with ${ between [ ] or { } needs quotes"),
        _ => None,
    }
}

/// An error's message without its ` at line 1 column 2`, which is relative to the document and not
/// to the stream.
fn without_place(mut message: String) -> String {
    if let Some(place) = message.rfind(" at line ") {
        message.truncate(place);
    }
    message
}

#[cfg(test)]
mod tests;
