//! Serialises the objects of a plan. An injection has several hundred short members, and serde's
//! layers take three times as long as writing them directly.

use std::{borrow::Cow, fmt::Write as _};

/// A value that can be serialised as JSON.
pub(crate) trait WriteJson {
    fn write_json(&self, json: &mut String);

    /// Whether a member with this value is omitted.
    fn is_absent(&self) -> bool {
        false
    }
}

/// Declares an object: its members in the order of serialisation, each with its name and, after
/// `unless`, the condition under which it is omitted. A member that is `None` is always omitted.
macro_rules! object {
    (
        $(#[$meta:meta])*
        $name:ident $(<$life:lifetime>)? { $($field:ident: $type:ty = $key:literal $(unless $absent:expr)?,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name $(<$life>)? {
            $(pub(crate) $field: $type,)+
        }

        impl $(<$life>)? WriteJson for $name $(<$life>)? {
            fn write_json(&self, json: &mut String) {
                let mut before = '{';
                $(
                    if !(self.$field.is_absent() $(|| $absent(&self.$field))?) {
                        json.push(before);
                        json.push_str(concat!("\"", $key, "\":"));
                        self.$field.write_json(json);
                        before = ',';
                    }
                )+
                json.push_str(if before == '{' { "{}" } else { "}" });
            }
        }
    };
}
pub(crate) use object;

/// Serialises a value as JSON.
pub(crate) fn to_json(value: &impl WriteJson) -> String {
    let mut json = String::with_capacity(256);
    value.write_json(&mut json);
    json
}

impl WriteJson for str {
    fn write_json(&self, json: &mut String) {
        json.push('"');
        if !has_escapes(self) {
            json.push_str(self);
            json.push('"');
            return;
        }
        let mut start = 0;
        for (at, byte) in self.bytes().enumerate() {
            if is_escaped(byte) {
                json.push_str(&self[start..at]);
                escape(byte, json);
                start = at + 1;
            }
        }
        json.push_str(&self[start..]);
        json.push('"');
    }
}

/// Without an early return, so that the compiler can vectorise the loop.
pub(crate) fn has_escapes(text: &str) -> bool {
    text.bytes().fold(false, |found, byte| found | is_escaped(byte))
}

fn is_escaped(byte: u8) -> bool {
    matches!(byte, 0..b' ' | b'"' | b'\\')
}

fn escape(byte: u8, json: &mut String) {
    match byte {
        b'"' => json.push_str("\\\""),
        b'\\' => json.push_str("\\\\"),
        b'\n' => json.push_str("\\n"),
        b'\r' => json.push_str("\\r"),
        b'\t' => json.push_str("\\t"),
        0x8 => json.push_str("\\b"),
        0xc => json.push_str("\\f"),
        _ => write!(json, "\\u{byte:04x}").expect("writing into a String cannot fail"),
    }
}

impl WriteJson for String {
    fn write_json(&self, json: &mut String) {
        self.as_str().write_json(json);
    }
}

impl WriteJson for Cow<'_, str> {
    fn write_json(&self, json: &mut String) {
        (**self).write_json(json);
    }
}

impl WriteJson for bool {
    fn write_json(&self, json: &mut String) {
        json.push_str(if *self { "true" } else { "false" });
    }
}

impl WriteJson for i32 {
    fn write_json(&self, json: &mut String) {
        i64::from(*self).write_json(json);
    }
}

impl WriteJson for i64 {
    fn write_json(&self, json: &mut String) {
        write!(json, "{self}").expect("writing into a String cannot fail");
    }
}

impl<T: WriteJson + ?Sized> WriteJson for &T {
    fn write_json(&self, json: &mut String) {
        (**self).write_json(json);
    }

    fn is_absent(&self) -> bool {
        (**self).is_absent()
    }
}

impl<T: WriteJson> WriteJson for Option<T> {
    fn write_json(&self, json: &mut String) {
        match self {
            Some(value) => value.write_json(json),
            None => json.push_str("null"),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: WriteJson> WriteJson for [T] {
    fn write_json(&self, json: &mut String) {
        json.push('[');
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            value.write_json(json);
        }
        json.push(']');
    }
}

impl<A: WriteJson, B: WriteJson> WriteJson for (A, B) {
    fn write_json(&self, json: &mut String) {
        json.push('[');
        self.0.write_json(json);
        json.push(',');
        self.1.write_json(json);
        json.push(']');
    }
}

/// A member that is null instead of omitted if it is `None`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrNull<'a, T>(pub(crate) &'a Option<T>);

impl<T: WriteJson> WriteJson for OrNull<'_, T> {
    fn write_json(&self, json: &mut String) {
        self.0.write_json(json);
    }
}

impl<T: WriteJson> WriteJson for Vec<T> {
    fn write_json(&self, json: &mut String) {
        self.as_slice().write_json(json);
    }
}

impl<T: WriteJson, const N: usize> WriteJson for [T; N] {
    fn write_json(&self, json: &mut String) {
        self.as_slice().write_json(json);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    object! {
        /// An object with every kind of member.
        Sample<'a> {
            text: &'a str = "text",
            number: i64 = "a-number",
            some: Option<bool> = "some",
            list: Vec<Option<&'a str>> = "list" unless Vec::is_empty,
        }
    }

    proptest! {
        #[test]
        fn the_json_is_that_of_serde(text in ".*|[\\x00-\\x20\"\\\\é]*", number: i64, some: Option<bool>, list in 0..3_usize) {
            let sample = Sample { text: &text, number, some, list: vec![Some(&*text), None, Some("")][..list].to_vec() };
            let mut expected = serde_json::json!({"text": text, "a-number": number});
            let members = expected.as_object_mut().unwrap();
            members.extend(some.map(|some| ("some".to_owned(), some.into())));
            members.extend((list > 0).then(|| ("list".to_owned(), sample.list.clone().into())));
            prop_assert_eq!(to_json(&sample), expected.to_string());
        }
    }

    #[test]
    fn an_object_may_be_empty() {
        object! {
            /// An object whose only member may be omitted.
            Empty { one: Option<bool> = "one", }
        }
        assert_eq!(to_json(&Empty { one: None }), "{}");
    }
}
