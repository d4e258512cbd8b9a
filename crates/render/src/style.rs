//! How a file is written.

use scaivault_contract::{Encoding, Format, Source};

use crate::{Template, TemplateError};

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
