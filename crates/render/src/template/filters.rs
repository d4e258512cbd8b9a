//! The injector's own filters, and replacements for library filters that write values other than
//! text.

use std::fmt;

use minijinja::{
    Environment, Error, ErrorKind, Output, State, Value, filters,
    value::{Kwargs, StringInput, ValueKind},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::value::{Digits, as_json, text};
use crate::base64;

/// Maximum number of spaces per level for `tojson`.
const INDENT_MAX: usize = 16;

/// Why a filter rejects a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    NotBase64,
    NotText,
    TooLarge,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(ErrorKind::InvalidOperation, "refused").with_source(refusal)
    }
}

/// Installs the filters. `crates/contract` lists the names of all filters and tests; add new ones
/// there too.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.set_formatter(write);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("b64encode", b64encode);
    environment.add_filter("b64decode", b64decode);
    environment.add_filter("tojson", tojson);
    environment.add_filter("string", |value: &Value| as_text(value));
    environment.add_filter("join", join);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_test("number", |value: &Value| {
        value.is_number() || value.downcast_object_ref::<Digits>().is_some()
    });
}

fn write(output: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let written = match value.as_str() {
        Some(text) => output.write_str(text),
        None => output.write_str(&text(value)?),
    };
    written.map_err(Error::from)
}

fn as_text(value: &Value) -> Result<Value, Error> {
    if value.kind() == ValueKind::String {
        return Ok(value.clone());
    }
    text(value).map(Value::from)
}

/// Everything except the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn urlencode(value: &Value) -> Result<String, Error> {
    Ok(utf8_percent_encode(&text(value)?, RESERVED).to_string())
}

fn b64encode(value: &Value) -> Result<String, Error> {
    Ok(base64::encode(text(value)?.as_bytes()))
}

fn b64decode(value: &Value) -> Result<Value, Error> {
    let bytes = base64::decode(&text(value)?).map_err(|_| Refusal::NotBase64)?;
    Ok(String::from_utf8(bytes).map(Value::from).map_err(|_| Refusal::NotText)?)
}

#[expect(clippy::needless_pass_by_value, reason = "the library hands filters their arguments by value")]
fn tojson(value: &Value, indent: Option<Value>, args: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => args.get::<Option<Value>>("indent")?,
    };
    args.assert_all_used()?;
    let indent = match indent {
        None => None,
        Some(indent) => match bool::try_from(indent.clone()) {
            Ok(is_on) => is_on.then_some(2),
            Err(_) => Some(usize::try_from(indent)?.min(INDENT_MAX)),
        },
    };
    as_json(value, indent).map(Value::from_safe_string)
}

fn join(
    state: &mut State<'_, '_>,
    value: &Value,
    joiner: Option<StringInput<'_>>,
    attribute: Option<&str>,
    args: Kwargs,
) -> Result<Value, Error> {
    if attribute.is_some() || args.has("attribute") {
        return filters::join(state, value, joiner, attribute, args);
    }
    let texts = Value::make_object_iterable(value.clone(), |value| match value.try_iter() {
        Ok(items) => Box::new(items.map(|item| as_text(&item).unwrap_or_else(Value::from))),
        Err(error) => Box::new(std::iter::once(Value::from(error))),
    });
    filters::join(state, &texts, joiner, None, args)
}

fn int(
    state: &State<'_, '_>,
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    args: Kwargs,
) -> Result<Value, Error> {
    filters::int(state, &plain(value), default, base, args)
}

fn float(state: &State<'_, '_>, value: &Value, default: Option<Value>, args: Kwargs) -> Result<Value, Error> {
    filters::float(state, &plain(value), default, args)
}

/// Converts [`Digits`] back to a text that the library's filters read as a number.
fn plain(value: &Value) -> Value {
    match value.downcast_object_ref::<Digits>() {
        Some(Digits(digits)) => Value::from(digits.as_str()),
        None => value.clone(),
    }
}
