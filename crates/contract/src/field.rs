//! A secret, optionally one field of it and one version of it: `path[#field][@version]`.

use std::{fmt, num::NonZeroU32, str::FromStr};

use thiserror::Error;

use crate::{Deferred, Excerpt, FillError, PodValues, SecretPath, SecretPathError};

/// A key of a secret's `data`, written after `#`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldName(String);

impl FieldName {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "1 to 128 of A-Z, a-z, 0-9, -, _ and .";

    /// Maximum length in characters: the limit of a `fileKeyRef` key, so that a field can become a
    /// variable of the same name.
    pub const MAX_CHARS: usize = 128;
}

checked_string!(FieldName);

impl FromStr for FieldName {
    type Err = FieldNameError;

    fn from_str(text: &str) -> Result<Self, FieldNameError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=Self::MAX_CHARS).contains(&text.len()) && text.bytes().all(is_allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(FieldNameError { text: Excerpt::new(text) })
    }
}

/// A text that is not the name of a field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not the name of a field; allowed: {}", FieldName::ALLOWED)]
pub struct FieldNameError {
    /// The text.
    pub text: Excerpt,
}

/// A reference to a secret or one of its fields, in the current version or a pinned one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef<P = SecretPath> {
    /// The path of the secret.
    pub path: P,
    /// A field of `data`; `None` for the whole secret.
    pub field: Option<FieldName>,
    /// The pinned version; `None` for the current one.
    pub version: Option<NonZeroU32>,
}

impl SecretRef {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str =
        "path[#field][@version], such as environments/production/billing/stripe#secret_key@3";
}

/// A secret of a mapping. Its path may contain variables that the agent fills.
pub type DeferredSecret = SecretRef<Deferred<SecretPath>>;

impl DeferredSecret {
    /// Fills the variables.
    pub fn fill(self, values: &PodValues) -> Result<SecretRef, FillError<SecretPathError>> {
        let Self { path, field, version } = self;
        Ok(SecretRef { path: path.fill(values)?, field, version })
    }
}

impl<P: FromStr<Err = SecretPathError>> FromStr for SecretRef<P> {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        // A path contains neither character, so the first one ends it.
        let end = text.find(['#', '@']).unwrap_or(text.len());
        let (path, rest) = text.split_at(end);
        let (field, version) = match rest.strip_prefix('#') {
            Some(rest) => match rest.split_once('@') {
                Some((field, version)) => (Some(field), Some(version)),
                None => (Some(rest), None),
            },
            None => (None, rest.strip_prefix('@')),
        };
        Ok(Self {
            path: path.parse()?,
            field: field.map(str::parse).transpose()?,
            version: version.map(parse_version).transpose()?,
        })
    }
}

impl<P: fmt::Display> fmt::Display for SecretRef<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, field, version } = self;
        path.fmt(f)?;
        if let Some(field) = field {
            write!(f, "#{field}")?;
        }
        if let Some(version) = version {
            write!(f, "@{version}")?;
        }
        Ok(())
    }
}

text_in_serde!(SecretRef);

fn parse_version(text: &str) -> Result<NonZeroU32, SecretRefError> {
    if text.contains('#') {
        return Err(SecretRefError::VersionBeforeField(Excerpt::new(text)));
    }
    // `u32` would also accept `+3` and `03`; other readers of the text need not accept these.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(version) if is_plain => Ok(version),
        _ => Err(SecretRefError::Version(Excerpt::new(text))),
    }
}

/// A text that is not `path[#field][@version]`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SecretRefError {
    /// The path is invalid.
    #[error(transparent)]
    Path(#[from] SecretPathError),
    /// The field is invalid.
    #[error(transparent)]
    Field(#[from] FieldNameError),
    /// The version is invalid.
    #[error("{0} is not a version; allowed: a whole number from 1 to 4294967295, without leading zeros")]
    Version(Excerpt),
    /// `path@version#field`; contains the text after the `@`.
    #[error("{0} is not a version; write the field before it: {allowed}", allowed = SecretRef::ALLOWED)]
    VersionBeforeField(Excerpt),
}

#[cfg(test)]
mod tests;
