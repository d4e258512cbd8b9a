//! Writes values in the style of the surrounding document.

use serde_json::{Map, Value, json, ser::PrettyFormatter};

use super::{Obstacle, tree::Tree};
use crate::{
    document::{emit_yaml, indentation},
    yaml_stream::{Content, Document, Format},
};

/// The style of a document.
pub(super) struct Style<'a> {
    /// The indentation of a block mapping below its key, in columns.
    step: usize,
    /// Block sequences start in the column of their key.
    compact_lists: bool,
    is_json: bool,
    /// The indentation of JSON on several lines.
    json_indentation: Option<&'a str>,
    /// Lines end in CRLF.
    pub(super) has_crlf: bool,
}

impl<'a> Style<'a> {
    pub(super) fn new(document: &Document<'a>, tree: &Tree) -> Self {
        let is_json = matches!(document.content, Some(Content { format: Format::Json, .. }));
        Self {
            step: tree.step.unwrap_or(2),
            compact_lists: tree.compact_lists,
            is_json,
            json_indentation: indentation(document.source()).filter(|_| is_json),
            has_crlf: document.has_crlf(),
        }
    }

    /// The column of a block collection below a key in column `parent`.
    fn below(&self, parent: usize, value: &Value) -> usize {
        if value.is_array() && self.compact_lists { parent } else { parent + self.step }
    }

    /// The lines of an entry of a block mapping in that column.
    pub(super) fn block_entry(&self, key: &str, value: &Value, column: usize) -> Result<String, Obstacle> {
        if is_leaf(value) {
            return Ok(indented(&yaml(&json!({key: value}))?, column));
        }
        let mut text = yaml(&json!({key: null}))?;
        text.truncate(text.trim_end().strip_suffix("null").ok_or(Obstacle::Layout)?.trim_end().len());
        Ok(format!("{}{text}\n{}", " ".repeat(column), self.block_below(value, column)?))
    }

    /// The lines of an item of a block sequence whose dash is in that column.
    pub(super) fn block_item(&self, value: &Value, column: usize) -> Result<String, Obstacle> {
        if is_leaf(value) {
            return Ok(indented(&yaml(&json!([value]))?, column));
        }
        let mut text = self.block(value, column + 2)?;
        text.replace_range(column..=column, "-");
        Ok(text)
    }

    /// The lines of a collection below a key in column `parent`.
    pub(super) fn block_below(&self, value: &Value, parent: usize) -> Result<String, Obstacle> {
        self.block(value, self.below(parent, value))
    }

    fn block(&self, value: &Value, column: usize) -> Result<String, Obstacle> {
        match value {
            Value::Object(entries) => {
                entries.iter().map(|(key, value)| self.block_entry(key, value, column)).collect()
            }
            Value::Array(items) => items.iter().map(|item| self.block_item(item, column)).collect(),
            _ => Err(Obstacle::Layout),
        }
    }

    /// A value on one line, in block style. Null is empty, as templates write it.
    pub(super) fn inline(value: &Value) -> Result<String, Obstacle> {
        let text = yaml(&json!([value]))?;
        let text = text.strip_prefix("- ").unwrap_or(&text).trim_end();
        Ok(if value.is_null() { String::new() } else { text.to_owned() })
    }

    /// A value in flow style. With an `indent` it may have several lines, which are indented by it
    /// except for the first.
    pub(super) fn flow(&self, value: &Value, indent: Option<&str>) -> Result<String, Obstacle> {
        match (self.json_indentation, indent) {
            (Some(unit), Some(indent)) => {
                let formatter = PrettyFormatter::with_indent(unit.as_bytes());
                json(value, formatter).map(|text| text.replace('\n', &format!("\n{indent}")))
            }
            _ if self.is_compact() => serde_json::to_string(value).map_err(|_| Obstacle::Layout),
            _ => json(value, SpacedFormatter),
        }
    }

    /// An entry of a flow mapping, or an item of a flow sequence.
    pub(super) fn flow_item(
        &self,
        key: Option<&str>,
        value: &Value,
        indent: Option<&str>,
    ) -> Result<String, Obstacle> {
        let value = self.flow(value, indent)?;
        let Some(key) = key else { return Ok(value) };
        let colon = if self.is_compact() { ":" } else { ": " };
        Ok(format!("{}{colon}{value}", Value::from(key)))
    }

    /// The separator of items in flow style on one line.
    pub(super) fn separator(&self) -> &'static str {
        if self.is_compact() { "," } else { ", " }
    }

    /// Whether it is JSON on one line.
    fn is_compact(&self) -> bool {
        self.is_json && self.json_indentation.is_none()
    }

    /// Whether it is JSON on several lines.
    pub(super) fn is_pretty_json(&self) -> bool {
        self.json_indentation.is_some()
    }
}

/// Whether a value is written on the line of its key: a scalar, or an empty collection.
pub(super) fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => Map::is_empty(entries),
        _ => true,
    }
}

fn yaml(value: &Value) -> Result<String, Obstacle> {
    emit_yaml(value).map_err(|_| Obstacle::Layout)
}

/// Indents each line that is not empty.
fn indented(text: &str, column: usize) -> String {
    let indent = " ".repeat(column);
    let line =
        |line: &str| if line.trim_end().is_empty() { line.to_owned() } else { format!("{indent}{line}") };
    text.split_inclusive('\n').map(line).collect()
}

fn json(value: &Value, formatter: impl serde_json::ser::Formatter) -> Result<String, Obstacle> {
    use serde::Serialize as _;
    let mut bytes = Vec::new();
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
        .map_err(|_| Obstacle::Layout)?;
    String::from_utf8(bytes).map_err(|_| Obstacle::Layout)
}

/// Formats JSON on one line with a space after each comma and colon.
struct SpacedFormatter;

impl serde_json::ser::Formatter for SpacedFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        self.begin_array_value(writer, first)
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}
