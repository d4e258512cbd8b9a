//! Borrowing from JSON: texts, members that may be null, and maps that are filtered while they are
//! parsed.

use std::{borrow::Cow, cmp::Ordering, fmt, marker::PhantomData, ops::Deref};

use scaivault_contract::{EXCERPT_CHARS, names::ANNOTATION_PREFIX};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use crate::limits;

/// The kubelet's annotation on mirror pods, which represent static pods in the API.
const MIRROR_POD_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Maximum number of annotations with a value other than a string that are kept. Each becomes a
/// problem.
const NOT_TEXT_KEPT: usize = 32;

/// A string, borrowed unless it has escapes. serde's derive borrows a plain `Cow`, but not one
/// inside an `Option`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        #[cfg(any(test, feature = "count-work"))]
        crate::work::look(self.0.len());
        &self.0
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

/// A quantity as written in a manifest: a string, or a number such as `cpu: 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuantityText<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for QuantityText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QuantityVisitor;
        impl<'de> Visitor<'de> for QuantityVisitor {
            type Value = QuantityText<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as \"100m\" or \"64Mi\"")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(QuantityText(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(QuantityText(Cow::Owned(text.to_owned())))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(QuantityText(Cow::Owned(number.to_string())))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(QuantityText(Cow::Owned(number.to_string())))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(QuantityText(Cow::Owned(number.to_string())))
            }
        }
        deserializer.deserialize_any(QuantityVisitor)
    }
}

/// The parser's error, with values truncated to the length that problems quote: serde repeats texts
/// of any length.
pub(crate) fn shown_error(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    // serde names its Rust type, which means nothing to the author of a pod.
    if let Some((before, rest)) = text.rsplit_once("expected struct ") {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        text = format!("{before}expected an object{rest}");
    }
    let Some((before, quoted)) = text.split_once('"') else { return text };
    // The quoted text is escaped, so the first unescaped quote ends it.
    let mut escaped = false;
    let end = quoted.find(|c| {
        let is_end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        is_end
    });
    let value = &quoted[..end.unwrap_or(quoted.len())];
    match value.char_indices().nth(EXCERPT_CHARS) {
        Some((cut, _)) => format!("{before}\"{}…{}", &value[..cut], &quoted[value.len()..]),
        None => text,
    }
}

/// A member that may be absent, null or present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Presence<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Presence<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

/// Reads null as the default, like the API server.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads an object, or null as the default. serde's derive would also read a list as the fields in
/// order.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct ObjectVisitor<T>(PhantomData<T>);
    impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_unit<E>(self) -> Result<T, E> {
            Ok(T::default())
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(ObjectVisitor(PhantomData))
}

/// Reads a list item by item; `each` limits what is kept.
pub fn each_item<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
    each: impl FnMut(T) -> Result<(), String>,
) -> Result<(), D::Error> {
    struct ListVisitor<F, T>(F, PhantomData<T>);
    impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), String>> Visitor<'de> for ListVisitor<F, T> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
            while let Some(item) = list.next_element()? {
                (self.0)(item).map_err(A::Error::custom)?;
            }
            Ok(())
        }
    }
    deserializer.deserialize_seq(ListVisitor(each, PhantomData))
}

/// The pod's annotations. Those without the injector's prefix are not parsed:
/// `last-applied-configuration` alone may be as large as the pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Annotations<'a> {
    /// Full key and value of the injector's annotations, sorted by unique key.
    pub(crate) injector: Vec<(Text<'a>, Text<'a>)>,
    /// Full key of the injector's annotations whose value is not a string, with that value; at most
    /// [`NOT_TEXT_KEPT`].
    pub(crate) not_text: Vec<(Text<'a>, NotText)>,
    /// The number of other keys.
    pub(crate) others: usize,
    /// Full key and JSON of other annotations, sorted by unique key; at most
    /// [`limits::ANNOTATIONS_READ`].
    foreign: Vec<(Text<'a>, &'a RawValue)>,
    /// Whether the pod is a mirror pod.
    pub(crate) mirror: bool,
    /// Whether the map itself is present.
    pub(crate) presence: Presence<()>,
}

impl Annotations<'_> {
    /// Whether there are no annotations at all.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { injector, not_text, foreign: _, others, mirror: _, presence: _ } = self;
        injector.is_empty() && not_text.is_empty() && *others == 0
    }

    /// The value of one of the injector's annotations, by key without the prefix. Uses a binary
    /// search, because users can put thousands of keys on an object.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let name = |text: &str| text.strip_prefix(ANNOTATION_PREFIX).unwrap_or(text).cmp(key);
        let at = self.injector.binary_search_by(|(found, _)| name(found)).ok()?;
        self.injector.get(at).map(|(_, value)| &**value)
    }

    /// The value of any annotation that is a string, by its full key.
    pub(crate) fn get_any(&self, key: &str) -> Option<Cow<'_, str>> {
        if let Some(name) = key.strip_prefix(ANNOTATION_PREFIX) {
            return self.get(name).map(Cow::Borrowed);
        }
        let at = self.foreign.binary_search_by(|(found, _)| (**found).cmp(key)).ok()?;
        let (_, json) = self.foreign.get(at)?;
        match serde_json::from_str(json.get()) {
            Ok(AnyValue::Text(Text(value))) => Some(value),
            _ => None,
        }
    }
}

/// Sorts by key and keeps the last value of each key, as in any JSON object.
pub(crate) fn last_of_each<V>(entries: &mut Vec<(Text<'_>, V)>) {
    // A stable sort, so that the last of a repeated key remains last.
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries.reverse();
    entries.dedup_by(|(one, _), (other, _)| one == other);
    entries.reverse();
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnnotationsVisitor;
        impl<'de> Visitor<'de> for AnnotationsVisitor {
            type Value = Annotations<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of annotations")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Annotations { presence: Presence::Null, ..Annotations::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut read = Annotations { presence: Presence::Value(()), ..Annotations::default() };
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    if key.starts_with(ANNOTATION_PREFIX) {
                        if read.injector.len() == limits::ANNOTATIONS_READ {
                            let most = limits::ANNOTATIONS_READ;
                            return Err(A::Error::custom(format_args!(
                                "more than {most} annotations that start with {ANNOTATION_PREFIX}"
                            )));
                        }
                        match map.next_value::<AnyValue<'de>>()? {
                            AnyValue::Text(value) => read.injector.push((key, value)),
                            AnyValue::Other(value) if read.not_text.len() < NOT_TEXT_KEPT => {
                                read.not_text.push((key, value));
                            }
                            AnyValue::Other(_) => {}
                        }
                    } else {
                        read.others += 1;
                        read.mirror |= &*key == MIRROR_POD_ANNOTATION;
                        let json = map.next_value::<&RawValue>()?;
                        if read.foreign.len() < limits::ANNOTATIONS_READ {
                            read.foreign.push((key, json));
                        }
                    }
                }
                last_of_each(&mut read.injector);
                last_of_each(&mut read.foreign);
                Ok(read)
            }
        }
        deserializer.deserialize_any(AnnotationsVisitor)
    }
}

/// A value that is not a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotText {
    /// Null.
    Null,
    /// A number or boolean, in its JSON form.
    Scalar(String),
    /// A list or an object.
    Tree,
}

/// The value of an annotation or a label. The API server sends only strings, but a manifest may have
/// anything.
pub(crate) enum AnyValue<'a> {
    Text(Text<'a>),
    Other(NotText),
}

impl<'de: 'a, 'a> Deserialize<'de> for AnyValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = AnyValue<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(AnyValue::Text(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(AnyValue::Text(Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(AnyValue::Other(NotText::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(AnyValue::Other(NotText::Scalar(value.to_string())))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(AnyValue::Other(NotText::Scalar(number.to_string())))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(AnyValue::Other(NotText::Scalar(number.to_string())))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(AnyValue::Other(NotText::Scalar(number.to_string())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(AnyValue::Other(NotText::Tree))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(AnyValue::Other(NotText::Tree))
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// The relevant key of a node selector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector<'a> {
    pub(super) os: Option<Text<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Selector<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Keys<'b> {
            #[serde(borrow, default, rename = "kubernetes.io/os")]
            os: Option<Text<'b>>,
        }
        let keys: Option<Keys<'a>> = Option::deserialize(deserializer)?;
        Ok(Self { os: keys.and_then(|keys| keys.os) })
    }
}
