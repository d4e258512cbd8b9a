//! What is read for a file, and how it is written.

use std::fmt;

use scaivault_contract::{DynamicRef, Encoding, Format, SecretSource};

use crate::{Template, TemplateError};

/// What is read for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Secrets.
    Secrets(SecretSource),
    /// The credentials of a lease.
    Lease(DynamicRef),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secrets(source) => source.fmt(f),
            Self::Lease(dynamic) => dynamic.fmt(f),
        }
    }
}

/// How a file is written.
#[derive(Clone, Debug)]
pub enum Style {
    /// In a format.
    Format(Format),
    /// One field, decoded.
    Decoded(Encoding),
    /// By a template.
    Template(Template),
}

impl Style {
    /// The style that a file's options ask for. `format` is the default where they name none; a template excludes it.
    pub fn new(
        source: &Source,
        template: Option<String>,
        encoding: Option<Encoding>,
        format: Option<Format>,
    ) -> Result<Self, TemplateError> {
        Ok(match (template, encoding) {
            (Some(template), _) => Self::Template(Template::parse(template, source)?),
            (None, Some(encoding)) => Self::Decoded(encoding),
            (None, None) => Self::Format(format.unwrap_or(Format::Json)),
        })
    }
}
