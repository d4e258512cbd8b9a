//! Reads fields of JSON objects whose types were not validated.

use serde_json::Value;

/// The string at `key`; `None` if it is absent, empty or of another type.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// The string at an RFC 6901 pointer; `None` if it is absent, empty or of another type.
pub(crate) fn text_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

/// The items of the list at `key`; empty if it is absent or of another type.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The items of the list at an RFC 6901 pointer.
pub(crate) fn list_at<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether the field `key` is the boolean true.
pub(crate) fn is_true(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// The entries of `metadata.annotations` or `metadata.labels` whose values are strings.
pub(crate) fn metadata<'a>(object: &'a Value, map: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let members = object.get("metadata").and_then(|metadata| metadata.get(map)?.as_object());
    members.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// The API group of an `apiVersion`; empty for the core group.
pub(crate) fn group(object: &Value) -> &str {
    text(object, "apiVersion").and_then(|version| version.split_once('/')).map_or("", |(group, _)| group)
}
