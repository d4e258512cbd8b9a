//! The path of a secret in ScaiVault.

use std::str::FromStr;

use thiserror::Error;

use crate::{Excerpt, VariableFault};

/// Path of a secret, such as `environments/production/billing/database`, by ScaiVault's own rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretPath(String);

impl SecretPath {
    /// What may stand there.
    pub const ALLOWED: &'static str = "1 to 10 levels of a-z, 0-9, - and _ with single slashes between, at most 512 characters, such as environments/production/billing/database";

    /// The most characters; ScaiVault answers `invalid_path` above.
    pub const MAX_CHARS: usize = 512;

    /// The most levels; ScaiVault answers `invalid_path` above.
    pub const MAX_LEVELS: usize = 10;
}

checked_string!(SecretPath);

impl FromStr for SecretPath {
    type Err = SecretPathError;

    fn from_str(text: &str) -> Result<Self, SecretPathError> {
        match fault(text) {
            None => Ok(Self(text.to_owned())),
            Some(fault) => Err(SecretPathError { text: Excerpt::new(text), fault }),
        }
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
        // Not lowered for the user: paths are case-sensitive, and another secret is not what was meant.
        Some(upper) if upper.is_ascii_uppercase() => return Some(Fault::UpperCase(upper)),
        Some(other) => return Some(Fault::Character(other)),
        None => {}
    }
    // From here on the text is ASCII: bytes are characters.
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
    /// What is wrong with it.
    pub fault: SecretPathFault,
}

/// What is wrong with the path of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SecretPathFault {
    /// There is none.
    #[error("it is empty")]
    Empty,
    /// It starts with a slash.
    #[error("take the slash at its start away")]
    LeadingSlash,
    /// It ends with a slash.
    #[error("take the slash at its end away")]
    TrailingSlash,
    /// A level is empty.
    #[error("it has two slashes in a row")]
    DoubleSlash,
    /// An upper-case letter.
    #[error("paths are lower case, and it has {0:?}")]
    UpperCase(char),
    /// A character ScaiVault refuses.
    #[error("it has the character {0:?}")]
    Character(char),
    /// A `$` that starts no variable, where variables may stand.
    #[error(transparent)]
    Variable(VariableFault),
    /// More than [`SecretPath::MAX_CHARS`].
    #[error("it has {0} characters")]
    TooLong(usize),
    /// More than [`SecretPath::MAX_LEVELS`].
    #[error("it has {0} levels")]
    TooDeep(usize),
}

#[cfg(test)]
mod tests;
