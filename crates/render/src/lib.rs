//! Turns a secret's data into the bytes of a file. The agent and the CSI provider share it, so both
//! write the same bytes. Pure, except that a template is rendered on its own thread: no file is
//! read or written here.

use std::collections::BTreeMap;

use scaivault_client::{Json, JsonValue, SecretData};
use scaivault_contract::{
    Encoding, Excerpt, FieldName, Format, NamedSecret, SecretAlias, SecretRef, SecretSource, TEMPLATE_FUEL,
    VariableName,
};
use serde::Serialize;
use thiserror::Error;

mod base64;
mod dotenv;
mod env;
mod properties;
mod style;
mod template;
mod yaml;

pub use scaivault_contract::Source;
pub use style::Style;
pub use template::{Fault, Template, TemplateError};

/// Maximum number of field names that an error lists.
const FIELDS_SHOWN: usize = 12;

/// What was read for one secret of a file, or for its lease.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    /// The secret's version; `None` for a lease.
    pub version: Option<u64>,
    /// The secret's `data`, or the credentials of a lease.
    pub data: &'a SecretData,
}

/// Renders the bytes of a file. `contents` has one element for each secret of the file's source, in
/// the source's order; for a lease it has exactly one.
pub fn render(source: &Source, style: &Style, contents: &[Content<'_>]) -> Result<Vec<u8>, RenderError> {
    render_within(source, style, contents, &mut { TEMPLATE_FUEL })
}

/// As [`render`], for several files that share their steps: a template may take as many as are left in `fuel`, and at most
/// [`TEMPLATE_FUEL`]. They are taken from `fuel`; all that it was allowed to take if it fails.
pub fn render_within(
    source: &Source,
    style: &Style,
    contents: &[Content<'_>],
    fuel: &mut u64,
) -> Result<Vec<u8>, RenderError> {
    match style {
        // A template sees all fields, so the source's field would only be an alias of one of them.
        Style::Template(template) => Ok(template.render(source, contents, fuel)?.into_bytes()),
        Style::Format(format) => Ok(selected(source, contents)?.format(*format)?.into_bytes()),
        Style::Decoded(Encoding::Base64) => {
            let (name, value) = selected(source, contents)?.only()?;
            base64::decode(&text(value)).map_err(|_| RenderError::NotBase64(name))
        }
    }
}

/// The part of a source that a format writes.
enum SelectedData<'a> {
    /// All fields of a secret, or several secrets by their alias.
    Fields(BTreeMap<String, JsonValue<'a>>),
    /// The one field that is requested.
    Field(&'a FieldName, JsonValue<'a>),
}

fn selected<'a>(source: &'a Source, contents: &[Content<'a>]) -> Result<SelectedData<'a>, RenderError> {
    Ok(match (source, contents) {
        (Source::Secrets(SecretSource::Single(SecretRef { field: Some(name), .. })), [content, ..]) => {
            SelectedData::Field(name, field(content.data, name, None)?)
        }
        (Source::Secrets(SecretSource::Named(named)), _) => {
            let mut fields = BTreeMap::new();
            for (NamedSecret { alias, secret }, content) in named.iter().zip(contents) {
                let value = match &secret.field {
                    Some(name) => field(content.data, name, Some(alias))?,
                    None => content.data.value(),
                };
                fields.insert(alias.as_str().to_owned(), value);
            }
            SelectedData::Fields(fields)
        }
        (_, contents) => {
            SelectedData::Fields(contents.first().map(|one| one.data.fields()).unwrap_or_default())
        }
    })
}

impl<'a> SelectedData<'a> {
    fn format(self, format: Format) -> Result<String, RenderError> {
        match (format, self) {
            (Format::Json, Self::Fields(fields)) => Ok(json(&fields)),
            (Format::Json, Self::Field(_, value)) => Ok(json(&value)),
            (Format::Raw, selected) => selected.only().map(|(_, value)| text(value)),
            (Format::Yaml, Self::Fields(fields)) => yaml::mapping(&fields),
            (Format::Yaml, Self::Field(name, value)) => yaml::document(name.as_str(), value),
            (Format::Env, selected) => env::lines(&selected.into_fields()),
            (Format::Dotenv, selected) => dotenv::lines(&selected.into_fields()),
            (Format::Properties, selected) => Ok(properties::lines(&selected.into_fields())),
        }
    }

    fn into_fields(self) -> BTreeMap<String, JsonValue<'a>> {
        match self {
            Self::Fields(fields) => fields,
            Self::Field(name, value) => BTreeMap::from([(name.as_str().to_owned(), value)]),
        }
    }

    /// The requested field, or the only one that there is, such as that of an API key.
    fn only(self) -> Result<(String, JsonValue<'a>), RenderError> {
        let fields = self.into_fields();
        match (fields.len(), fields.first_key_value()) {
            (1, Some((name, value))) => Ok((name.clone(), *value)),
            _ => Err(RenderError::NotOneField { present: names(&fields) }),
        }
    }
}

/// The line `VARIABLE='value'` of the file from which the kubelet reads `fileKeyRef` variables.
///
/// The kubelet supports no escape inside the quotes and treats an empty value as a missing key, so
/// both are rejected.
pub fn variable_line(
    variable: &VariableName,
    data: &SecretData,
    name: &FieldName,
) -> Result<String, RenderError> {
    let value = text(field(data, name, None)?);
    if value.is_empty() {
        return Err(RenderError::EmptyVariable(name.as_str().to_owned()));
    }
    if value.contains('\'') {
        return Err(RenderError::QuoteInVariable(name.as_str().to_owned()));
    }
    if value.contains('\0') {
        return Err(RenderError::Nul(name.as_str().to_owned()));
    }
    Ok(format!("{variable}='{value}'\n"))
}

/// A field of the data. `alias` names the secret in errors; `None` if the file has only one.
fn field<'a>(
    data: &'a SecretData,
    name: &FieldName,
    alias: Option<&SecretAlias>,
) -> Result<JsonValue<'a>, RenderError> {
    let fields = data.fields();
    fields.get(name.as_str()).copied().ok_or_else(|| RenderError::NoField {
        secret: alias.map_or_else(|| "it".to_owned(), ToString::to_string),
        field: name.as_str().to_owned(),
        present: names(&fields),
    })
}

/// A value as plain text: strings unquoted, null as an empty text, lists and objects as JSON.
fn text(value: JsonValue<'_>) -> String {
    match value.read() {
        Json::Null => String::new(),
        Json::Text(text) => text,
        Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => json(&value),
    }
}

/// JSON on one line without spaces.
fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("parsed JSON can be written as JSON")
}

fn names(fields: &BTreeMap<String, JsonValue<'_>>) -> String {
    if fields.is_empty() {
        return "none".to_owned();
    }
    let mut names: Vec<_> =
        fields.keys().take(FIELDS_SHOWN).map(|name| Excerpt::new(name).to_string()).collect();
    if fields.len() > FIELDS_SHOWN {
        names.push("…".to_owned());
    }
    names.join(", ")
}

/// A secret that cannot be written as requested. Names fields and never contains a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RenderError {
    /// The requested field does not exist. `secret` is `it` or the secret's alias.
    #[error("{secret} has no field {}; its fields: {present}", Excerpt::new(.field))]
    NoField {
        /// The secret: `it` or its alias.
        secret: String,
        /// The field.
        field: String,
        /// The names of its fields.
        present: String,
    },
    /// `format=raw` without a field, for a secret that does not have exactly one.
    #[error("format=raw takes one field; name it with path#field; its fields: {present}")]
    NotOneField {
        /// The names of its fields.
        present: String,
    },
    /// A field whose name is not a valid variable name for the format's readers.
    #[error(
        "its field {} cannot be the name of a variable in format={format}; use another format or a template",
        Excerpt::new(.field)
    )]
    NotAVariable {
        /// The field.
        field: String,
        /// The format.
        format: Format,
    },
    /// A value that the format's readers cannot read, or do not read alike.
    #[error(
        "its field {} has {what}, which readers of format={format} interpret differently; use \
         another format or a template",
        Excerpt::new(.field)
    )]
    NotRepresentable {
        /// The field.
        field: String,
        /// The part of its value that is the problem.
        what: &'static str,
        /// The format.
        format: Format,
    },
    /// A value that is not base64.
    #[error(
        "its field {} is not base64, which encoding=base64 decodes; correct the value or remove the option",
        Excerpt::new(.0)
    )]
    NotBase64(String),
    /// A variable's value that cannot be passed to a process.
    #[error("its field {} has a NUL character, which no variable can hold", Excerpt::new(.0))]
    Nul(String),
    /// A variable whose value is empty: the kubelet treats it as missing.
    #[error("its field {} is empty, and Kubernetes treats an empty variable as missing", Excerpt::new(.0))]
    EmptyVariable(String),
    /// A variable whose value contains a `'`, which the kubelet cannot read.
    #[error(
        "its field {} has a single quote ('), which Kubernetes cannot read into a variable; write it to a file instead",
        Excerpt::new(.0)
    )]
    QuoteInVariable(String),
    /// The template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl RenderError {
    /// Whether the requested field does not exist. All other errors concern the data or the
    /// requested format.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NoField { .. })
    }
}

#[cfg(test)]
mod tests;
