//! Conversion of a secret's values to and from the template library's values.

use std::{collections::BTreeMap, fmt, iter, mem, sync::Arc};

use minijinja::{
    Error, ErrorKind, Value,
    value::{DynObject, Object, ObjectRepr, ValueKind},
};
use scaivault_client::{Json, JsonValue};

use super::{OUTPUT_MAX_BYTES, filters::Refusal};
use crate::json as quoted;

/// Maximum nesting depth of a value that a template builds. Deeper values could exhaust the stack.
const DEPTH_LIMIT: usize = 128;

pub(super) fn new(value: JsonValue<'_>) -> Value {
    match value.read() {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(value),
        Json::Number(digits) => number(digits),
        Json::Text(text) => Value::from(text.as_str()),
        Json::List(items) => items.into_iter().map(new).collect(),
        Json::Object(fields) => Value::from_object(
            fields.into_iter().map(|(name, value)| (name, new(value))).collect::<BTreeMap<_, _>>(),
        ),
    }
}

/// A number that the template library would write with other digits. It keeps its digits;
/// arithmetic needs the filter `int` or `float` first.
#[derive(Debug)]
pub(super) struct Digits(pub(super) String);

impl Object for Digits {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<std::cmp::Ordering> {
        other.downcast_ref::<Self>().map(|other| self.0.cmp(&other.0))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn number(digits: &str) -> Value {
    let whole = digits.parse::<i128>().map(Value::from).ok();
    let number = whole.or_else(|| digits.parse::<f64>().map(Value::from).ok());
    number
        .filter(|number| number.to_string() == digits)
        .unwrap_or_else(|| Value::from_object(Digits(digits.to_owned())))
}

/// A value as the formats write it: strings unquoted, null as an empty text, lists and objects as
/// JSON.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::None => Ok(String::new()),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Plain => Ok(value.to_string()),
        _ => as_json(value, None),
    }
}

pub(super) fn as_json(value: &Value, indent: Option<usize>) -> Result<String, Error> {
    let mut json = String::new();
    write_json(&mut json, value, indent, 0)?;
    Ok(json)
}

/// Writes JSON on one line without spaces, or with one item per line and `indent` spaces per level.
/// `level` is the nesting depth of the value.
fn write_json(json: &mut String, value: &Value, indent: Option<usize>, level: usize) -> Result<(), Error> {
    if level > DEPTH_LIMIT || json.len() > OUTPUT_MAX_BYTES {
        return Err(Refusal::TooLarge.into());
    }
    match value.kind() {
        ValueKind::None => json.push_str("null"),
        ValueKind::Bool => json.push_str(&value.is_true().to_string()),
        ValueKind::Number => json.push_str(&value.to_string()),
        ValueKind::Plain if value.downcast_object_ref::<Digits>().is_some() => {
            json.push_str(&value.to_string());
        }
        ValueKind::String => json.push_str(&quoted(value.as_str().unwrap_or_default())),
        kind @ (ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) => {
            let is_map = kind == ValueKind::Map;
            json.push(if is_map { '{' } else { '[' });
            let mut is_empty = true;
            for item in value.try_iter()?.checked() {
                if !mem::take(&mut is_empty) {
                    json.push(',');
                }
                new_line(json, indent, level + 1);
                let mut item = item?;
                if is_map {
                    json.push_str(&quoted(&text(&item)?));
                    json.push_str(if indent.is_some() { ": " } else { ":" });
                    item = value.get_item(&item)?;
                }
                write_json(json, &item, indent, level + 1)?;
            }
            if !is_empty {
                new_line(json, indent, level);
            }
            json.push(if is_map { '}' } else { ']' });
        }
        kind => {
            let detail = format!("{kind} cannot be written");
            return Err(Error::new(ErrorKind::InvalidOperation, detail));
        }
    }
    Ok(())
}

fn new_line(json: &mut String, indent: Option<usize>, level: usize) {
    if let Some(indent) = indent {
        json.push('\n');
        json.extend(iter::repeat_n(' ', indent * level));
    }
}
