//! JSON patches (RFC 6902), the only output of the core that changes an object.

use std::{collections::BTreeMap, fmt};

use scaivault_contract::names::ANNOTATION_PREFIX;
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;

use crate::{
    limits,
    plan::json::{WriteJson, has_escapes, to_json},
    problem::Problem,
};

/// A JSON patch. Serialises to the array that the API server expects.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Patch {
    operations: Vec<Operation>,
}

impl Patch {
    /// A patch of these operations, in this order.
    pub fn new(operations: Vec<Operation>) -> Self {
        Self { operations }
    }

    /// Whether the patch changes nothing.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// An upper bound of its size as JSON in bytes, close to the exact size.
    pub(crate) fn bytes(&self) -> usize {
        self.operations.iter().map(Operation::bytes).sum()
    }

    /// The patch as JSON in one buffer; the same bytes that serde writes.
    pub fn to_json(&self) -> String {
        let mut json = String::with_capacity(self.bytes() + 2);
        self.operations.write_json(&mut json);
        json
    }

    /// The operations in order.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The problem of a workload's patch that is too large to be sent. [`crate::decide`] checks
    /// those of pods.
    pub fn too_large(&self) -> Option<Problem> {
        limits::of_workload_patch(self)
    }

    /// The number of list entries and other values that it adds or removes.
    pub(crate) fn entries(&self) -> usize {
        let entries = |operation: &Operation| match operation {
            Operation::Add { value: Value::List(entries), .. } => entries.len(),
            _ => 1,
        };
        self.operations.iter().map(entries).sum()
    }

    /// The patch for a document with the pod or its template at `pointer`, such as
    /// `/spec/template`.
    #[must_use]
    pub fn below(mut self, pointer: &str) -> Self {
        for operation in &mut self.operations {
            operation.path_mut().insert_str(0, pointer);
        }
        self
    }
}

/// An operation. There is no `move`, `copy` or `test`, so users' fields cannot move.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Adds a value at a path; if the path is an index, inserts before it.
    Add {
        /// The path.
        path: String,
        /// The value.
        value: Value,
    },
    /// Removes the value at a path.
    Remove {
        /// The path.
        path: String,
    },
}

impl Operation {
    /// The path, an RFC 6901 pointer.
    pub fn path(&self) -> &str {
        match self {
            Self::Add { path, .. } | Self::Remove { path } => path,
        }
    }

    fn bytes(&self) -> usize {
        const AROUND: usize = r#"{"op":"remove","path":"","value":},"#.len();
        let value = match self {
            Self::Add { value, .. } => value.bytes(),
            Self::Remove { .. } => 0,
        };
        AROUND + self.path().len() + value
    }

    fn path_mut(&mut self) -> &mut String {
        match self {
            Self::Add { path, .. } | Self::Remove { path } => path,
        }
    }
}

impl WriteJson for Operation {
    fn write_json(&self, json: &mut String) {
        match self {
            Self::Add { path, value } => {
                json.push_str(r#"{"op":"add","path":"#);
                path.write_json(json);
                json.push_str(r#","value":"#);
                value.write_json(json);
            }
            Self::Remove { path } => {
                json.push_str(r#"{"op":"remove","path":"#);
                path.write_json(json);
            }
        }
        json.push('}');
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { path, .. } => write!(f, "add {path}"),
            Self::Remove { path } => write!(f, "remove {path}"),
        }
    }
}

/// The value of an `add`: only the kinds of values that an injection consists of.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A container, volume, mount or variable.
    Fragment(Fragment),
    /// The value of an annotation.
    Text(String),
    /// A boolean.
    Switch(bool),
    /// Null, to restore a list that was null.
    Null,
    /// A new list with its first entries.
    List(Vec<Value>),
    /// A new object with its first members.
    Object(BTreeMap<String, Value>),
}

impl Value {
    fn bytes(&self) -> usize {
        match self {
            Self::Fragment(fragment) => fragment.text().len(),
            Self::Text(text) => quoted_bytes(text),
            Self::Switch(_) | Self::Null => 5,
            Self::List(values) => 2 + values.iter().map(|value| value.bytes() + 1).sum::<usize>(),
            Self::Object(members) => {
                let member = |(key, value): (&String, &Self)| quoted_bytes(key) + value.bytes() + 2;
                2 + members.iter().map(member).sum::<usize>()
            }
        }
    }
}

impl WriteJson for Value {
    fn write_json(&self, json: &mut String) {
        match self {
            Self::Fragment(fragment) => json.push_str(fragment.text()),
            Self::Text(text) => text.write_json(json),
            Self::Switch(on) => on.write_json(json),
            Self::Null => json.push_str("null"),
            Self::List(values) => values.write_json(json),
            Self::Object(members) => {
                json.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    json.push_str(if index > 0 { "," } else { "" });
                    key.write_json(json);
                    json.push(':');
                    value.write_json(json);
                }
                json.push('}');
            }
        }
    }
}

/// The length of a text as a JSON string.
fn quoted_bytes(text: &str) -> usize {
    if !has_escapes(text) {
        return 2 + text.len();
    }
    let escaped = |byte| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

/// A part of a Kubernetes object, serialised once as JSON text.
#[derive(Clone, Debug, PartialEq)]
pub struct Fragment(String);

impl Fragment {
    pub(crate) fn new(object: &impl WriteJson) -> Self {
        Self(to_json(object))
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Serialize for Fragment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.clone()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl From<Fragment> for Value {
    fn from(fragment: Fragment) -> Self {
        Self::Fragment(fragment)
    }
}

/// Appends one segment to a pointer, escaped by RFC 6901.
pub(crate) fn escape_pointer(segment: &str, pointer: &mut String) {
    if !segment.bytes().any(|byte| matches!(byte, b'~' | b'/')) {
        pointer.push_str(segment);
        return;
    }
    for part in segment.split_inclusive(['~', '/']) {
        match part.as_bytes().last() {
            Some(b'~') => pointer.extend([&part[..part.len() - 1], "~0"]),
            Some(b'/') => pointer.extend([&part[..part.len() - 1], "~1"]),
            _ => pointer.push_str(part),
        }
    }
}

/// The pointer to a pod's annotations.
pub(crate) const ANNOTATIONS: &str = "/metadata/annotations";

/// The pointer to one of the injector's annotations.
pub(crate) fn annotation_pointer(key: &str) -> String {
    let mut pointer = String::with_capacity(3 * ANNOTATIONS.len() + key.len());
    pointer.extend([ANNOTATIONS, "/"]);
    escape_pointer(ANNOTATION_PREFIX, &mut pointer);
    escape_pointer(key, &mut pointer);
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_written_as_serde_writes_it() {
        let text = |text: &str| Value::Text(text.to_owned());
        let values = [
            Fragment::new(&[Some("a\"b"), None]).into(),
            text("ä\n\u{1}"),
            Value::Switch(true),
            Value::Null,
            Value::List(vec![text("a"), Value::List(Vec::new()), Value::Null]),
            Value::Object([("a/b".to_owned(), text("")), ("c".to_owned(), Value::Switch(false))].into()),
            Value::Object(BTreeMap::new()),
        ];
        let add = |value| Operation::Add { path: "/a~1b/\u{7f}".to_owned(), value };
        let remove = Operation::Remove { path: "/spec".to_owned() };
        let patch = Patch::new(values.into_iter().map(add).chain([remove]).collect());
        let json = serde_json::to_string(&patch).unwrap();
        assert_eq!(patch.to_json(), json);
        assert!(
            patch.bytes() + 2 >= json.len(),
            "{} bytes are counted, and it has {}",
            patch.bytes(),
            json.len()
        );
    }
}
