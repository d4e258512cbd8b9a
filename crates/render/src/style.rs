//! How a file is rendered.

use scaivault_contract::{Encoding, Format, Source};

use crate::{Template, TemplateError};

/// How a file is rendered.
#[derive(Clone, Debug)]
pub enum Style {
    /// Fields in a format.
    Format(Format),
    /// One field, decoded.
    Decoded(Encoding),
    /// With a template.
    Template(Template),
}

impl Style {
    /// The style that a file's options select. `format` is the default if they name none; a
    /// template excludes a format.
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
