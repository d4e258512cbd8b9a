//! A secret and its data.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    fmt,
    hash::{BuildHasher as _, Hash as _, Hasher},
    sync::OnceLock,
};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;
use thiserror::Error;

/// The maximum nesting of objects and arrays in a secret's data, including the data itself: far
/// above realistic data, and low enough that no parser runs out of stack.
pub const DATA_DEPTH_LIMIT: usize = 64;

/// The maximum size of a secret's data in bytes: that of a Kubernetes Secret.
pub const DATA_SIZE_LIMIT: usize = 1024 * 1024;

/// The maximum number of values in a secret's data, on all levels. As a tree each takes about a
/// hundred bytes, far more than its text: with this limit 2 MiB at most.
pub const DATA_VALUES_LIMIT: usize = 16 * 1024;

/// A secret that was read.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Its version.
    pub version: u64,
    /// Its data.
    pub data: SecretData,
}

/// The data of a secret or a lease: the text of a JSON object.
///
/// It is kept as text, because a tree of values would lose the digits of numbers and take more
/// memory.
#[derive(Clone)]
pub struct SecretData {
    json: SecretString,
    fingerprint: Fingerprint,
}

impl SecretData {
    /// Validates the text of a JSON object. Errors do not quote it.
    pub fn new(json: &str) -> Result<Self, DataFault> {
        if !json.trim_ascii_start().starts_with('{') {
            return Err(DataFault::NotAnObject);
        }
        if json.len() > DATA_SIZE_LIMIT {
            return Err(DataFault::TooLarge);
        }
        let Shape { depth, values } = Shape::from_json(json);
        if depth > DATA_DEPTH_LIMIT {
            return Err(DataFault::TooDeep);
        }
        if values > DATA_VALUES_LIMIT {
            return Err(DataFault::TooManyValues);
        }
        let data: JsonValue<'_> = serde_json::from_str(json).map_err(|_| DataFault::NotAnObject)?;
        let fingerprint = Fingerprint::new(data).map_err(|_| DataFault::Unreadable)?;
        Ok(Self { json: SecretString::from(json), fingerprint })
    }

    /// The fields, sorted by name. If a name occurs several times, the last value is used.
    #[expect(clippy::missing_panics_doc, reason = "the same parser has taken the same text")]
    pub fn fields(&self) -> BTreeMap<String, JsonValue<'_>> {
        serde_json::from_str(self.json()).expect(TAKEN)
    }

    /// The object as a value.
    #[expect(clippy::missing_panics_doc, reason = "the same parser has taken the same text")]
    pub fn value(&self) -> JsonValue<'_> {
        serde_json::from_str(self.json()).expect(TAKEN)
    }

    /// Equal for data with the same meaning, independent of the order of fields and the notation of
    /// numbers and texts: `1e3` is `1000.0`. Differs for other data. The key is random for each
    /// process, so it reveals nothing outside this process.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The text of the object, as the server sent it. The caller must not log it.
    pub fn json(&self) -> &str {
        self.json.expose_secret()
    }
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretData(...)")
    }
}

const TAKEN: &str = "the same text was parsed when the data were taken";

/// A value within a secret's data: its text, parsed one level at a time.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(transparent)]
pub struct JsonValue<'a>(#[serde(borrow)] &'a RawValue);

/// One level of a value.
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, with its original digits.
    Number(&'a str),
    /// A text, with its escapes resolved.
    Text(String),
    /// An array.
    List(Vec<JsonValue<'a>>),
    /// An object, sorted by name. If a name occurs several times, the last value is used.
    Object(BTreeMap<String, JsonValue<'a>>),
}

impl<'a> JsonValue<'a> {
    /// Parses one level of the value.
    #[expect(clippy::missing_panics_doc, reason = "the same parser has taken the same text")]
    pub fn read(self) -> Json<'a> {
        self.try_read().expect(TAKEN)
    }

    fn try_read(self) -> serde_json::Result<Json<'a>> {
        let text = self.0.get();
        Ok(match text.as_bytes().first() {
            Some(b'n') => Json::Null,
            Some(b't' | b'f') => Json::Bool(text == "true"),
            Some(b'"') => Json::Text(serde_json::from_str(text)?),
            Some(b'[') => Json::List(serde_json::from_str(text)?),
            Some(b'{') => Json::Object(serde_json::from_str(text)?),
            Some(_) => Json::Number(text),
            None => return Err(serde_json::Error::custom("no value")),
        })
    }
}

/// As JSON without spaces: fields sorted by name, numbers with their original digits, and only the
/// escapes that JSON requires.
impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.read() {
            Json::Null | Json::Bool(_) | Json::Number(_) => self.0.serialize(serializer),
            Json::Text(text) => serializer.serialize_str(&text),
            Json::List(items) => serializer.collect_seq(items),
            Json::Object(fields) => serializer.collect_map(fields),
        }
    }
}

/// A keyed hash of the meaning of data. The key is random for each process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Fails if the text of a value is invalid.
    fn new(data: JsonValue<'_>) -> serde_json::Result<Self> {
        static KEY: OnceLock<RandomState> = OnceLock::new();
        let mut hasher = KEY.get_or_init(RandomState::new).build_hasher();
        hash(data, &mut hasher)?;
        Ok(Self(hasher.finish()))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(...)")
    }
}

/// Hashes each value after its kind, and each compound value after its length, so that different
/// values give different input.
fn hash(value: JsonValue<'_>, hasher: &mut impl Hasher) -> serde_json::Result<()> {
    match value.try_read()? {
        Json::Null => 0_u8.hash(hasher),
        Json::Bool(value) => (1_u8, value).hash(hasher),
        Json::Number(text) => (2_u8, Decimal::new(text)).hash(hasher),
        Json::Text(text) => (3_u8, text.as_str()).hash(hasher),
        Json::List(items) => {
            (4_u8, items.len()).hash(hasher);
            items.into_iter().try_for_each(|item| hash(item, hasher))?;
        }
        Json::Object(fields) => {
            (5_u8, fields.len()).hash(hasher);
            for (name, value) in fields {
                name.hash(hasher);
                hash(value, hasher)?;
            }
        }
    }
    Ok(())
}

/// A number without parts that do not change its value: leading and trailing zeros, and the
/// position of the point.
#[derive(PartialEq, Eq, Hash)]
enum Decimal<'a> {
    /// The significant digits, and the power of ten of the last one.
    Digits { is_negative: bool, digits: String, exponent: i64 },
    /// An exponent that is too large to compute with.
    Text(&'a str),
}

impl<'a> Decimal<'a> {
    fn new(text: &'a str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(mantissa) => (true, mantissa),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_end_matches('0');
        // Both lengths are limited by the size of the data.
        let shift =
            (digits.len() - significant.len()).cast_signed() as i64 - fraction.len().cast_signed() as i64;
        let significant = significant.trim_start_matches('0');
        if significant.is_empty() {
            return Self::Digits { is_negative: false, digits: String::new(), exponent: 0 };
        }
        match exponent.parse::<i64>().ok().and_then(|exponent| exponent.checked_add(shift)) {
            Some(exponent) => Self::Digits { is_negative, digits: significant.to_owned(), exponent },
            None => Self::Text(text),
        }
    }
}

/// The shape of JSON before it is parsed: upper bounds for valid JSON.
struct Shape {
    /// The nesting of objects and arrays.
    depth: usize,
    /// The number of values.
    values: usize,
}

impl Shape {
    fn from_json(json: &str) -> Self {
        let (mut depth, mut deepest, mut values) = (0_usize, 0, 0);
        let (mut in_string, mut is_escaped) = (false, false);
        for byte in json.bytes() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if in_string => is_escaped = true,
                b'"' => in_string = !in_string,
                // Counts the first value inside it; each further value follows a comma.
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

/// Why a secret's data is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DataFault {
    /// Not valid JSON, or not an object.
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
    /// Valid by JSON's grammar only: half of a surrogate pair.
    #[error("the secret's data has a text that is not Unicode")]
    Unreadable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_kept_unchanged() {
        let json = r#"{"b": 1.10, "a": {"c": ["[[{", "\"[", 12345678901234567890]}}"#;
        assert_eq!(SecretData::new(json).unwrap().json(), json);
    }

    #[test]
    fn data_that_is_no_object_is_refused() {
        for json in ["", "null", "[]", "\"text\"", "{", "{} {}", "{\"a\":}", "no"] {
            assert_eq!(SecretData::new(json).unwrap_err(), DataFault::NotAnObject, "{json}");
        }
    }

    #[test]
    fn text_that_cannot_be_decoded_is_refused() {
        for json in [
            r#"{"a":"\ud800"}"#,
            r#"{"a":["\udc00 x"]}"#,
            r#"{"\ud800":1}"#,
            r#"{"a":{"b":[0,{"c":"\udbff\u0041"}]}}"#,
        ] {
            assert_eq!(SecretData::new(json).unwrap_err(), DataFault::Unreadable, "{json}");
        }
        for json in
            ["{\"a\":\"\n\"}", "{\"a\":\"\0\"}", r#"{"a":"\x"}"#, r#"{"a":01}"#, r#"{"a":.5}"#, r#"{"a":1,}"#]
        {
            assert_eq!(SecretData::new(json).unwrap_err(), DataFault::NotAnObject, "{json}");
        }
    }

    #[test]
    fn reads_values_exactly() {
        let json = r#"{"b":[1e999,-0,1.10,18446744073709551616],"a":"\ud83d\ude00\u0000\/","c":1,"c":{"z":null,"y":true},
                       "$serde_json::private::Number":"1","$serde_json::private::RawValue":"2"}"#;
        let data = SecretData::new(json).unwrap();
        let fields = data.fields();
        let names: Vec<_> = fields.keys().map(String::as_str).collect();
        assert_eq!(names, ["$serde_json::private::Number", "$serde_json::private::RawValue", "a", "b", "c"]);
        assert!(matches!(fields[names[0]].read(), Json::Text(text) if text == "1"));
        assert!(matches!(fields["a"].read(), Json::Text(text) if text == "😀\0/"));
        let Json::List(numbers) = fields["b"].read() else { panic!("a list") };
        let digits = numbers.into_iter().map(|number| match number.read() {
            Json::Number(text) => text,
            _ => panic!("a number"),
        });
        assert_eq!(digits.collect::<Vec<_>>(), ["1e999", "-0", "1.10", "18446744073709551616"]);
        let Json::Object(object) = fields["c"].read() else { panic!("the last of both") };
        assert!(matches!(object["z"].read(), Json::Null) && matches!(object["y"].read(), Json::Bool(true)));
    }

    #[test]
    fn a_fingerprint_is_of_the_meaning() {
        let fingerprint = |json: &str| SecretData::new(json).unwrap().fingerprint();
        for equal in [
            [r#"{"a":1,"b":{"c":[],"d":""}}"#, r#" { "b" : {"d":"", "c":[ ]} , "a" : 1 } "#],
            [r#"{"a":"A/é😀"}"#, r#"{"a":"\u0041\/\u00e9\ud83d\ude00"}"#],
            [r#"{"a":1.10}"#, r#"{"a":1.1}"#],
            [r#"{"a":1e3}"#, r#"{"a":1000.0}"#],
            [r#"{"a":-0.0}"#, r#"{"a":0}"#],
            [r#"{"a":0.00120e+5}"#, r#"{"a":12E1}"#],
            [r#"{"a":1,"a":2}"#, r#"{"a":2}"#],
        ] {
            assert_eq!(fingerprint(equal[0]), fingerprint(equal[1]), "{equal:?}");
        }
        let different = [
            "{}",
            r#"{"a":null}"#,
            r#"{"a":false}"#,
            r#"{"a":0}"#,
            r#"{"a":""}"#,
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r#"{"a":"0"}"#,
            r#"{"a":1}"#,
            r#"{"a":-1}"#,
            r#"{"a":10}"#,
            r#"{"a":18446744073709551616}"#,
            r#"{"a":18446744073709551617}"#,
            r#"{"a":1e99999999999999999999}"#,
            r#"{"a":1e99999999999999999998}"#,
            r#"{"a":[[],""]}"#,
            r#"{"a":["",[]]}"#,
            r#"{"a":[[""]]}"#,
            r#"{"a":0,"b":0}"#,
            r#"{"b":0}"#,
        ];
        for (index, one) in different.iter().enumerate() {
            for other in &different[index + 1..] {
                assert_ne!(fingerprint(one), fingerprint(other), "{one} {other}");
            }
        }
        assert_eq!(format!("{:?}", fingerprint("{}")), "Fingerprint(...)");
    }

    #[test]
    fn data_that_is_too_deep_is_refused() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(SecretData::new(&nested(DATA_DEPTH_LIMIT)).is_ok());
        assert_eq!(SecretData::new(&nested(DATA_DEPTH_LIMIT + 1)).unwrap_err(), DataFault::TooDeep);
        assert_eq!(SecretData::new(&nested(100_000)).unwrap_err(), DataFault::TooDeep);
    }

    #[test]
    fn data_that_needs_too_much_memory_is_refused() {
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
