//! The key of a value in a Kubernetes Secret.

use std::str::FromStr;

use thiserror::Error;

use crate::Excerpt;

/// Key of a value in a Kubernetes Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretKey(String);

impl SecretKey {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str =
        "1 to 253 of A-Z a-z 0-9 - _ ., not . alone and not starting with .., such as db.json or STRIPE_KEY";

    /// Maximum length in characters, Kubernetes' limit.
    pub const MAX_CHARS: usize = 253;
}

checked_string!(SecretKey);

impl FromStr for SecretKey {
    type Err = SecretKeyError;

    fn from_str(text: &str) -> Result<Self, SecretKeyError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let has_form = (1..=Self::MAX_CHARS).contains(&text.len()) && text.bytes().all(is_allowed);
        if has_form && text != "." && !text.starts_with("..") {
            return Ok(Self(text.to_owned()));
        }
        Err(SecretKeyError { text: Excerpt::new(text) })
    }
}

/// A text that is not a key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a key of a Secret; allowed: {}", SecretKey::ALLOWED)]
pub struct SecretKeyError {
    /// The text.
    pub text: Excerpt,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_kubernetes_are_accepted() {
        for key in ["a", "db.json", ".dockerconfigjson", "STRIPE_KEY", "tls.crt", "-", &"a".repeat(253)] {
            assert_eq!(key.parse::<SecretKey>().unwrap().as_str(), key);
        }
    }

    #[test]
    fn refuses_the_rest() {
        for key in ["", ".", "..", "..data", "a/b", "/run/secrets/db.json", "a b", "é", &"a".repeat(254)] {
            assert!(key.parse::<SecretKey>().is_err(), "{key:?}");
        }
        let error = "/run/secrets/db.json".parse::<SecretKey>().unwrap_err().to_string();
        assert!(
            error.starts_with("\"/run/secrets/db.json\" is not a key of a Secret; allowed: 1"),
            "{error}"
        );
    }
}
