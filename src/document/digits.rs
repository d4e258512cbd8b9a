//! Preserves the digits of numbers that a parsed value cannot hold, such as `1.10` or an integer
//! beyond 64 bits.
//!
//! A second pass over the source replaces these numbers by marks, which are strings that contain
//! the digits. A patch moves marks like other values, and after writing they are replaced by the
//! digits.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value, value::RawValue};
use serde_saphyr::{Location, Spanned};

use crate::{document::parse_yaml, yaml_stream::Format};

/// The start of every mark. Random, so that no manifest contains it. It contains no character that
/// YAML quotes.
static BEGIN: LazyLock<String> = LazyLock::new(|| {
    let random = || RandomState::new().hash_one(0);
    format!("number{:016x}{:016x}/", random(), random())
});

/// The end of every mark. No number contains it.
const END: &str = "/";

/// Marks the numbers of a value whose output would differ from their digits in the source. The
/// deserializer must read the source of the value.
pub(crate) struct MarkDigits<'a> {
    pub(crate) value: &'a mut Value,
    pub(crate) source: &'a str,
    pub(crate) format: Format,
}

impl<'de> DeserializeSeed<'de> for MarkDigits<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { value, source, format } = self;
        match value {
            Value::Number(number) => {
                let written = number.to_string();
                let digits = match format {
                    Format::Json => Some(<&RawValue>::deserialize(deserializer)?.get()),
                    Format::Yaml => {
                        let place = Spanned::<IgnoredAny>::deserialize(deserializer)?.defined;
                        // A number that is one only because of its tag (`!!int "1"`, `!!float 1`)
                        // keeps its parsed value, because tags are not written.
                        scalar(source, place)
                            .filter(|digits| *digits == written || is_read_as(digits, number))
                    }
                };
                if let Some(digits) = digits.filter(|digits| *digits != written) {
                    *value = Value::String(format!("{}{digits}{END}", *BEGIN));
                }
                Ok(())
            }
            Value::Array(_) | Value::Object(_) => {
                deserializer.deserialize_any(MarkDigits { value, source, format })
            }
            _ => IgnoredAny::deserialize(deserializer).map(drop),
        }
    }
}

impl<'de> Visitor<'de> for MarkDigits<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value that was read before")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { value, source, format } = self;
        for value in value.as_array_mut().into_iter().flatten() {
            items.next_element_seed(MarkDigits { value, source, format })?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self { value, source, format } = self;
        while let Some(key) = entries.next_key::<String>()? {
            match value.get_mut(&key) {
                Some(value) => entries.next_value_seed(MarkDigits { value, source, format })?,
                None => entries.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        Ok(())
    }
}

/// Replaces the marks in a written document by digits. JSON does not have every notation of YAML
/// (`0o17`); such a number is written in JSON's notation.
pub(crate) fn restore(text: &str, format: Format) -> String {
    let (begin, end) = match format {
        Format::Json => (format!("\"{}", *BEGIN), format!("{END}\"")),
        Format::Yaml => (BEGIN.clone(), END.to_owned()),
    };
    let mut parts = text.split(&begin);
    let mut restored = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_once(&end).expect("a mark has an end");
        if format == Format::Yaml || serde_json::from_str::<Number>(digits).is_ok() {
            restored.push_str(digits);
        } else {
            let number = parse_yaml(digits).expect("text that is not JSON was parsed as YAML");
            restored.push_str(&number.to_string());
        }
        restored.push_str(rest);
    }
    restored
}

/// The text of a YAML scalar.
fn scalar(source: &str, place: Location) -> Option<&str> {
    let start = usize::try_from(place.span().byte_offset()?).ok()?;
    let length = usize::try_from(place.span().byte_len()?).ok()?;
    source.get(start..start.checked_add(length)?)
}

/// Whether YAML reads this text as the number, with nothing else around it.
fn is_read_as(digits: &str, number: &Number) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
        && parse_yaml(digits).is_ok_and(|value| value.as_number() == Some(number))
}
