//! The path of a secret in ScaiVault.

use std::{str::FromStr, sync::Arc};

use thiserror::Error;

use crate::{Excerpt, VariableFault};

/// Path of a secret, such as `environments/production/billing/database`, by ScaiVault's rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretPath(Arc<str>);

impl SecretPath {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "1 to 10 levels of a-z, 0-9, - and _ with single slashes between, at most 512 characters, such as environments/production/billing/database";

    /// Maximum length in characters; for a longer one ScaiVault responds `invalid_path`.
    pub const MAX_CHARS: usize = 512;

    /// Maximum number of levels; for more ScaiVault responds `invalid_path`.
    pub const MAX_LEVELS: usize = 10;
}

checked_string!(SecretPath);

impl FromStr for SecretPath {
    type Err = SecretPathError;

    fn from_str(text: &str) -> Result<Self, SecretPathError> {
        check(text)?;
        Ok(Self(text.into()))
    }
}

/// Without a copy of the text.
impl TryFrom<Arc<str>> for SecretPath {
    type Error = SecretPathError;

    fn try_from(text: Arc<str>) -> Result<Self, SecretPathError> {
        check(&text)?;
        Ok(Self(text))
    }
}

fn check(text: &str) -> Result<(), SecretPathError> {
    match fault(text) {
        None => Ok(()),
        Some(fault) => Err(SecretPathError { text: Excerpt::new(text), fault }),
    }
}

fn fault(text: &str) -> Option<SecretPathFault> {
    use SecretPathFault as Fault;
    if text.is_empty() {
        return Some(Fault::Empty);
    }
    if text.starts_with('/') {
        return Some(Fault::LeadingSlash);
    }
    if text.ends_with('/') {
        return Some(Fault::TrailingSlash);
    }
    if text.contains("//") {
        return Some(Fault::DoubleSlash);
    }
    let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '/');
    match text.chars().find(|c| !is_allowed(*c)) {
        // Not converted to lower case: paths are case-sensitive, so that could name another secret.
        Some(upper) if upper.is_ascii_uppercase() => return Some(Fault::UpperCase(upper)),
        Some(other) => return Some(Fault::Character(other)),
        None => {}
    }
    // From here on the text is ASCII, so bytes are characters.
    if text.len() > SecretPath::MAX_CHARS {
        return Some(Fault::TooLong(text.len()));
    }
    let levels = 1 + text.bytes().filter(|byte| *byte == b'/').count();
    (levels > SecretPath::MAX_LEVELS).then_some(Fault::TooDeep(levels))
}

/// A text that is not the path of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a secret path: {fault}; allowed: {}", SecretPath::ALLOWED)]
pub struct SecretPathError {
    /// The text.
    pub text: Excerpt,
    /// Why it is rejected.
    pub fault: SecretPathFault,
}

/// Why the path of a secret is rejected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SecretPathFault {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It starts with a slash.
    #[error("remove the slash at its start")]
    LeadingSlash,
    /// It ends with a slash.
    #[error("remove the slash at its end")]
    TrailingSlash,
    /// A level is empty.
    #[error("it has two slashes in a row")]
    DoubleSlash,
    /// It has an upper-case letter.
    #[error("paths are lower case, and it has {0:?}")]
    UpperCase(char),
    /// It has a character that ScaiVault does not allow.
    #[error("it has the character {0:?}")]
    Character(char),
    /// It has a `$` that does not start a valid variable, where variables are allowed.
    #[error(transparent)]
    Variable(VariableFault),
    /// It is longer than [`SecretPath::MAX_CHARS`].
    #[error("it has {0} characters")]
    TooLong(usize),
    /// It has more than [`SecretPath::MAX_LEVELS`] levels.
    #[error("it has {0} levels")]
    TooDeep(usize),
}

#[cfg(test)]
mod tests;
