//! The encoding of a secret's field.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::Excerpt;

/// Encoding of a field with binary content, such as a keystore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// Base64 (RFC 4648) in either alphabet, with or without padding and line breaks.
    Base64,
}

impl Encoding {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "base64";
}

impl FromStr for Encoding {
    type Err = EncodingError;

    fn from_str(text: &str) -> Result<Self, EncodingError> {
        match text {
            Self::ALLOWED => Ok(Self::Base64),
            _ => Err(EncodingError { text: Excerpt::new(text) }),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base64 => f.write_str(Self::ALLOWED),
        }
    }
}

text_in_serde!(Encoding);

/// A text that is not an encoding.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not an encoding; allowed: {}", Encoding::ALLOWED)]
pub struct EncodingError {
    /// The text.
    pub text: Excerpt,
}
