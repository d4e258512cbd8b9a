//! A secret and its data.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use thiserror::Error;

/// How many objects and arrays may stand in each other in a secret's data, the data itself counted: far above what
/// anyone writes, and low enough that no reader further on runs out of stack.
pub const DATA_DEPTH_LIMIT: usize = 64;

/// A secret as it was read.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Which version it is.
    pub version: u64,
    /// What it holds.
    pub data: SecretData,
}

/// What a secret or a lease holds: the text of a JSON object, wiped when dropped.
///
/// It stays text because a tree of values could not be wiped.
#[derive(Clone)]
pub struct SecretData(SecretString);

impl SecretData {
    /// Takes the text of a JSON object. What is wrong with it is said without quoting it.
    pub fn new(json: &str) -> Result<Self, DataFault> {
        if !json.trim_ascii_start().starts_with('{') {
            return Err(DataFault::NotAnObject);
        }
        if depth(json) > DATA_DEPTH_LIMIT {
            return Err(DataFault::TooDeep);
        }
        // Into what is made of it later: to skip a value is not to parse it, and what then fails is found too late.
        match serde_json::from_str::<Map<String, Value>>(json) {
            Ok(_) => Ok(Self(SecretString::from(json))),
            Err(_) => Err(DataFault::NotAnObject),
        }
    }

    /// The text of the object, as the server wrote it. The caller keeps copies out of logs and wipes them.
    pub fn json(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretData(...)")
    }
}

/// How deep objects and arrays stand in each other, brackets in strings apart. Never too low for valid JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut is_escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What is wrong with a secret's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DataFault {
    /// Not JSON that can be parsed, or another value than an object.
    #[error("the secret's data is not a JSON object")]
    NotAnObject,
    /// Deeper than [`DATA_DEPTH_LIMIT`].
    #[error("the secret's data has more than {DATA_DEPTH_LIMIT} levels")]
    TooDeep,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_an_object_as_it_is_written() {
        let json = r#"{"b": 1.10, "a": {"c": ["[[{", "\"[", 12345678901234567890]}}"#;
        assert_eq!(SecretData::new(json).unwrap().json(), json);
    }

    #[test]
    fn refuses_what_is_not_an_object() {
        for json in ["", "null", "[]", "\"text\"", "{", "{} {}", "{\"a\":}", "no"] {
            assert_eq!(SecretData::new(json).unwrap_err(), DataFault::NotAnObject, "{json}");
        }
    }

    #[test]
    fn refuses_what_no_reader_further_on_can_parse() {
        for json in [r#"{"p":"\ud800"}"#, r#"{"p":1e999}"#, r#"{"\udc00":[]}"#] {
            assert_eq!(SecretData::new(json).unwrap_err(), DataFault::NotAnObject, "{json}");
        }
    }

    #[test]
    fn refuses_what_is_too_deep() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(SecretData::new(&nested(DATA_DEPTH_LIMIT)).is_ok());
        assert_eq!(SecretData::new(&nested(DATA_DEPTH_LIMIT + 1)).unwrap_err(), DataFault::TooDeep);
        assert_eq!(SecretData::new(&nested(1_000_000)).unwrap_err(), DataFault::TooDeep);
    }

    #[test]
    fn is_not_shown() {
        let secret = Secret { version: 3, data: SecretData::new(r#"{"password":"swordfish"}"#).unwrap() };
        assert_eq!(format!("{secret:?}"), "Secret { version: 3, data: SecretData(...) }");
    }
}
