//! A secret's values as the template library knows them, and as they are written.

use std::{collections::BTreeMap, fmt, sync::Arc};

use minijinja::{
    Error, ErrorKind, Value,
    value::{DynObject, Object, ObjectRepr, ValueKind},
};
use scaivault_client::{Json, JsonValue};
use zeroize::Zeroizing;

use super::{OUTPUT_MAX_BYTES, filters::Refusal};
use crate::render::json::{self, Node, Tree};

/// The most levels of a value that a template builds: more would need more stack than there is.
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

/// A number that the template library writes with other digits. It stays what it is, and nothing calculates with it
/// until it went through the filter `int` or `float`.
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

/// As the formats write it: a text as it is, nothing for null, lists and objects as JSON.
pub(super) fn text(value: &Value) -> Result<Zeroizing<String>, Error> {
    match value.kind() {
        ValueKind::None => Ok(Zeroizing::default()),
        ValueKind::String => Ok(Zeroizing::new(value.as_str().unwrap_or_default().to_owned())),
        ValueKind::Plain => Ok(Zeroizing::new(value.to_string())),
        _ => as_json(value, None),
    }
}

pub(super) fn as_json(value: &Value, indent: Option<usize>) -> Result<Zeroizing<String>, Error> {
    let mut json = Zeroizing::new(String::new());
    json::write(&mut json, value.clone(), indent)?;
    Ok(json)
}

impl Tree for Value {
    type Error = Error;

    fn node<'t>(self, level: usize, written: usize) -> Result<Node<'t, Self>, Error>
    where
        Self: 't,
    {
        if level > DEPTH_LIMIT || written > OUTPUT_MAX_BYTES {
            return Err(Refusal::TooLarge.into());
        }
        Ok(match self.kind() {
            ValueKind::None => Node::Scalar("null".to_owned()),
            ValueKind::Bool => Node::Scalar(self.is_true().to_string()),
            ValueKind::Number => Node::Scalar(self.to_string()),
            ValueKind::String => Node::Text(Zeroizing::new(self.as_str().unwrap_or_default().to_owned())),
            ValueKind::Plain if self.downcast_object_ref::<Digits>().is_some() => {
                Node::Scalar(self.to_string())
            }
            ValueKind::Seq | ValueKind::Iterable => Node::List(Box::new(self.try_iter()?.checked())),
            ValueKind::Map => Node::Object(Box::new(self.try_iter()?.map(move |name| {
                let value = self.get_item(&name)?;
                Ok((text(&name)?.to_string(), value))
            }))),
            kind => {
                let detail = format!("{kind} cannot be written");
                return Err(Error::new(ErrorKind::InvalidOperation, detail));
            }
        })
    }
}
