//! The format of a secret file.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::Excerpt;

/// Format of a secret file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// The `data` object as JSON.
    Json,
    /// One value, unchanged.
    Raw,
    /// Lines `KEY='value'` for POSIX shells and systemd.
    Env,
    /// Lines `KEY=value` for dotenv libraries, Node and Compose.
    Dotenv,
    /// A YAML mapping.
    Yaml,
    /// A Java properties file.
    Properties,
}

impl Format {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "json, raw, env, dotenv, yaml or properties";

    /// All formats, in the order of [`Self::ALLOWED`].
    pub const ALL: [Self; 6] = [Self::Json, Self::Raw, Self::Env, Self::Dotenv, Self::Yaml, Self::Properties];

    /// The name as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Raw => "raw",
            Self::Env => "env",
            Self::Dotenv => "dotenv",
            Self::Yaml => "yaml",
            Self::Properties => "properties",
        }
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| FormatError { text: Excerpt::new(text) })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

text_in_serde!(Format);

/// A text that is not a format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a format; allowed: {}", Format::ALLOWED)]
pub struct FormatError {
    /// The text.
    pub text: Excerpt,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_reads_back_and_is_listed() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
            assert!(Format::ALLOWED.contains(format.name()));
        }
    }

    #[test]
    fn refuses_others() {
        for text in ["", "JSON", "toml", "json "] {
            assert!(text.parse::<Format>().is_err(), "{text:?}");
        }
        assert_eq!(
            "toml".parse::<Format>().unwrap_err().to_string(),
            "\"toml\" is not a format; allowed: json, raw, env, dotenv, yaml or properties"
        );
    }
}
