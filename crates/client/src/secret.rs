//! A secret and its data.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use thiserror::Error;

/// How many objects and arrays may stand in each other in a secret's data, the data itself counted: far above what
/// anyone writes, and low enough that no reader further on runs out of stack.
pub const DATA_DEPTH_LIMIT: usize = 64;

/// The most bytes of a secret's data: what a Kubernetes Secret may have.
pub const DATA_SIZE_LIMIT: usize = 1024 * 1024;

/// The most values in a secret's data, all levels together. As a tree each takes some hundred bytes, far more than its
/// text: with this limit 2 MiB at most.
pub const DATA_VALUES_LIMIT: usize = 16 * 1024;

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
        if json.len() > DATA_SIZE_LIMIT {
            return Err(DataFault::TooLarge);
        }
        let Shape { depth, values } = Shape::of(json);
        if depth > DATA_DEPTH_LIMIT {
            return Err(DataFault::TooDeep);
        }
        if values > DATA_VALUES_LIMIT {
            return Err(DataFault::TooManyValues);
        }
        // A parser that only skips values takes more than one that builds them.
        if parse(json).is_ok() {
            return Ok(Self(SecretString::from(json)));
        }
        match serde_json::from_str::<serde::de::IgnoredAny>(json) {
            Ok(_) => Err(DataFault::Unreadable),
            Err(_) => Err(DataFault::NotAnObject),
        }
    }

    /// The object as a tree, which is not wiped: for as long as it takes to write a file of it.
    #[expect(clippy::missing_panics_doc, reason = "the same parser has taken the same text")]
    pub fn object(&self) -> Map<String, Value> {
        parse(self.json()).expect("the same text was parsed when it was taken")
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

fn parse(json: &str) -> serde_json::Result<Map<String, Value>> {
    serde_json::from_str(json)
}

/// What is known of JSON before it is parsed: never too low for what is valid.
struct Shape {
    /// How deep objects and arrays stand in each other.
    depth: usize,
    /// How many values it has.
    values: usize,
}

impl Shape {
    fn of(json: &str) -> Self {
        let (mut depth, mut deepest, mut values) = (0_usize, 0, 0);
        let (mut in_string, mut is_escaped) = (false, false);
        for byte in json.bytes() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if in_string => is_escaped = true,
                b'"' => in_string = !in_string,
                // The first value in it; each of the others has a comma before it.
                b'{' | b'[' if !in_string => {
                    depth += 1;
                    deepest = deepest.max(depth);
                    values += 1;
                }
                b',' if !in_string => values += 1,
                b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        Self { depth: deepest, values }
    }
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
    /// Longer than [`DATA_SIZE_LIMIT`].
    #[error("the secret's data has more than {DATA_SIZE_LIMIT} bytes")]
    TooLarge,
    /// More than [`DATA_VALUES_LIMIT`].
    #[error("the secret's data has more than {DATA_VALUES_LIMIT} values")]
    TooManyValues,
    /// JSON by its grammar alone: half of a surrogate pair, or a number that no `f64` holds.
    #[error("the secret's data has a text that is not Unicode, or a number that is too large")]
    Unreadable,
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
    fn refuses_what_cannot_be_read_later() {
        for json in [
            r#"{"a":"\ud800"}"#,
            r#"{"a":["\udc00 x"]}"#,
            r#"{"\ud800":1}"#,
            r#"{"a":1e999}"#,
            r#"{"a":{"b":-1e999}}"#,
            r#"{"a":{"$serde_json::private::RawValue":1}}"#,
        ] {
            assert!(SecretData::new(json).is_err(), "{json}");
        }
    }

    #[test]
    fn refuses_what_is_too_deep() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(SecretData::new(&nested(DATA_DEPTH_LIMIT)).is_ok());
        assert_eq!(SecretData::new(&nested(DATA_DEPTH_LIMIT + 1)).unwrap_err(), DataFault::TooDeep);
        assert_eq!(SecretData::new(&nested(100_000)).unwrap_err(), DataFault::TooDeep);
    }

    #[test]
    fn refuses_what_takes_too_much_memory() {
        let of_values = |values: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(values - 2));
        assert!(SecretData::new(&of_values(DATA_VALUES_LIMIT)).is_ok());
        assert_eq!(SecretData::new(&of_values(DATA_VALUES_LIMIT + 1)).unwrap_err(), DataFault::TooManyValues);
        let of_bytes = |bytes: usize| format!("{{\"a\":\"{}\"}}", ",".repeat(bytes - 8));
        assert!(SecretData::new(&of_bytes(DATA_SIZE_LIMIT)).is_ok());
        assert_eq!(SecretData::new(&of_bytes(DATA_SIZE_LIMIT + 1)).unwrap_err(), DataFault::TooLarge);
    }

    #[test]
    fn is_not_shown() {
        let secret = Secret { version: 3, data: SecretData::new(r#"{"password":"swordfish"}"#).unwrap() };
        assert_eq!(format!("{secret:?}"), "Secret { version: 3, data: SecretData(...) }");
    }
}
