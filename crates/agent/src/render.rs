//! A secret's data as the bytes of a file. Pure: no file is read or written here.

use scaivault_client::SecretData;
use scaivault_contract::{Encoding, Excerpt, FieldName, Format, SecretRef, SecretSource};
use serde_json::{Map, Value};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    config::{FileSpec, Source, Style},
    exit::Exit,
};

mod env;
mod properties;
mod template;
mod variables;
mod yaml;

pub(crate) use template::{Template, TemplateError};
pub(crate) use variables::variable_line;

/// The most names of fields that an error lists.
const FIELDS_SHOWN: usize = 12;

/// What was read for one source of a file.
#[derive(Clone, Copy)]
pub(crate) struct Content<'a> {
    /// The secret's version; a lease has none.
    pub(crate) version: Option<u64>,
    /// The secret's `data`, or a lease's credentials.
    pub(crate) data: &'a SecretData,
}

/// The bytes of a file, wiped when they are no longer needed. `contents` has one for each secret of the file's source,
/// in the source's order; for a lease one.
pub(crate) fn render(
    spec: &FileSpec,
    contents: &[Content<'_>],
) -> Result<Zeroizing<Vec<u8>>, RenderError> {
    let text = match style {
        // A template sees all fields: the field would only be another name for one of them.
        Style::Template(template) => template.render(content)?,
        Style::Format(format) => formatted(*format, content)?,
    };
    Ok(into_bytes(text))
}

fn formatted(format: Format, content: Content<'_>) -> Result<Zeroizing<String>, RenderError> {
    let field = content.field.map(|name| field(content.data, name).map(|value| (name, value))).transpose()?;
    match (format, field) {
        (Format::Json, None) => Ok(json(content.data)),
        (Format::Json, Some((_, value))) => Ok(json(value)),
        (Format::Raw, None) => only_field(content.data).map(text),
        (Format::Raw, Some((_, value))) => Ok(text(value)),
        (Format::Env, None) => env::lines(entries(content.data)),
        (Format::Env, Some((name, value))) => env::lines([(name.as_str(), value)]),
        (Format::Yaml, None) => Ok(yaml::mapping(entries(content.data))),
        (Format::Yaml, Some((_, value))) => Ok(yaml::document(value)),
        (Format::Properties, None) => Ok(properties::lines(entries(content.data))),
        (Format::Properties, Some((name, value))) => Ok(properties::lines([(name.as_str(), value)])),
    }
}

/// A field of the data.
fn field<'a>(data: &'a Map<String, Value>, name: &FieldName) -> Result<&'a Value, RenderError> {
    data.get(name.as_str())
        .ok_or_else(|| RenderError::NoField { field: name.as_str().to_owned(), present: names(data) })
}

/// The value of data with a single field, such as those of an API key.
fn only_field(data: &Map<String, Value>) -> Result<&Value, RenderError> {
    let mut values = data.values();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(RenderError::NotOneField { present: names(data) }),
    }
}

fn entries(data: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    data.iter().map(|(name, value)| (name.as_str(), value))
}

/// A value as plain text: a string as it is, nothing for null, lists and objects as JSON.
fn text(value: &Value) -> Zeroizing<String> {
    match value {
        Value::Null => Zeroizing::default(),
        Value::String(text) => Zeroizing::new(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => json(value),
    }
}

fn json(value: &impl serde::Serialize) -> Zeroizing<String> {
    Zeroizing::new(serde_json::to_string(value).expect("JSON with text as keys can be written"))
}

fn names(data: &Map<String, Value>) -> String {
    if data.is_empty() {
        return "none".to_owned();
    }
    let mut names: Vec<_> =
        data.keys().take(FIELDS_SHOWN).map(|name| Excerpt::new(name).to_string()).collect();
    if data.len() > FIELDS_SHOWN {
        names.push("…".to_owned());
    }
    names.join(", ")
}

fn into_bytes(mut text: Zeroizing<String>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

/// A secret that cannot be written as it is asked for. Names fields, never a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum RenderError {
    /// The field that is asked for is not there.
    #[error("it has no field {}; its fields: {present}", Excerpt::new(.field))]
    NoField {
        /// The field.
        field: String,
        /// Those that are there.
        present: String,
    },
    /// `format=raw` for all of a secret with more fields than one, or with none.
    #[error("format=raw takes one field; name it with path#field; its fields: {present}")]
    NotOneField {
        /// Those that are there.
        present: String,
    },
    /// A field whose name no shell takes for a variable.
    #[error(
        "its field {} cannot be the name of a variable in format=env; use another format or a template",
        Excerpt::new(.0)
    )]
    NotAVariable(String),
    /// A value that no environment variable can hold.
    #[error("its field {} has a NUL character, which no variable can hold", Excerpt::new(.0))]
    Nul(String),
    /// A variable whose value is empty: the kubelet takes it for absent.
    #[error("its field {} is empty, and Kubernetes takes an empty variable for an absent one", Excerpt::new(.0))]
    EmptyVariable(String),
    /// A variable whose value has a `'`: the kubelet cannot read it.
    #[error(
        "its field {} has a single quote ('), which Kubernetes cannot read into a variable; write it to a file instead",
        Excerpt::new(.0)
    )]
    QuoteInVariable(String),
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl RenderError {
    /// How the agent ends for it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoField { .. } => Exit::NotFound,
            Self::NotOneField { .. }
            | Self::NotAVariable(_)
            | Self::Nul(_)
            | Self::EmptyVariable(_)
            | Self::QuoteInVariable(_)
            | Self::Template(_) => Exit::Invalid,
        }
    }
}

#[cfg(test)]
mod tests;
