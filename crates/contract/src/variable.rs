//! The name of an environment variable.

use std::str::FromStr;

use thiserror::Error;

use crate::Excerpt;

/// Name of an environment variable that is set from a secret's field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariableName(String);

impl VariableName {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str =
        "A-Z, a-z, 0-9 and _, not a digit first, at most 128 characters, such as DB_PASSWORD";

    /// Maximum length in characters: the kubelet's limit for a key of a `fileKeyRef` file.
    pub const MAX_CHARS: usize = 128;
}

checked_string!(VariableName);

impl FromStr for VariableName {
    type Err = VariableNameError;

    fn from_str(text: &str) -> Result<Self, VariableNameError> {
        let starts_well = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let goes_on_well = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if starts_well && goes_on_well && text.len() <= Self::MAX_CHARS {
            return Ok(Self(text.to_owned()));
        }
        Err(VariableNameError { text: Excerpt::new(text) })
    }
}

/// A text that is not the name of a variable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not the name of a variable; allowed: {}", VariableName::ALLOWED)]
pub struct VariableNameError {
    /// The text.
    pub text: Excerpt,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shell_variables_are_accepted() {
        for name in ["A", "_", "DB_PASSWORD", "x9", &"A".repeat(128)] {
            assert_eq!(name.parse::<VariableName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_the_rest() {
        for name in ["", "9A", "A-B", "A.B", "A B", "A=B", "É", "A\n", &"A".repeat(129)] {
            assert!(name.parse::<VariableName>().is_err(), "{name:?}");
        }
        assert_eq!(
            "9A".parse::<VariableName>().unwrap_err().to_string(),
            "\"9A\" is not the name of a variable; allowed: A-Z, a-z, 0-9 and _, not a digit first, at most 128 characters, such as DB_PASSWORD"
        );
    }
}
