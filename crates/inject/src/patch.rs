//! JSON patches (RFC 6902), the only output of the core that changes an object, and the operations
//! that complete an injection: only `add`, and only what is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use scaivault_contract::{
    env::MOUNT_POINTS,
    expand_env_value, is_at_or_below,
    names::{ANNOTATION_PREFIX, SECRETS_VOLUME},
};
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;

use crate::{
    intent::Readers,
    limits,
    ownership::{self, RECEIPT, STATUS},
    plan::{
        Plan,
        json::{WriteJson, has_escapes, to_json},
        objects::Container,
    },
    pod::{ContainerView, List, PodView, Presence, VariableValue},
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
        limits::check_workload_patch(self)
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

/// The value of the annotation `status` of an injected pod.
const INJECTED: &str = "injected";

/// The operations for the missing parts of a plan. `document` is the pod that the operations apply
/// to. `readers` are indices into `original`, the pod without the injection, whose containers keep
/// their index in the document.
pub(crate) fn diff(
    plan: Plan<'_>,
    document: &PodView<'_>,
    original: &PodView<'_>,
    readers: &Readers,
) -> Vec<Operation> {
    let mut builder = PatchBuilder(Vec::with_capacity(8));
    let Plan { volumes, agents, insert_at, mount, variables, share_process_namespace, receipt } = plan;
    let missing = volumes
        .into_iter()
        .filter(|planned| !document.spec.volumes.iter().any(|actual| planned.name == &*actual.name))
        .map(|volume| Fragment::new(&volume).into());
    builder.append("/spec/volumes", &document.spec.volumes, missing.collect());

    let mount_fragment = mount.as_ref().map(Fragment::new);
    let variable_fragments: Vec<Fragment> = variables.iter().map(Fragment::new).collect();
    for (list, actual, place) in places(document, original, readers) {
        let pointer = ["/spec/", list, "/", &place.to_string()].concat();
        if let (Some(mount), Some(fragment)) = (&mount, &mount_fragment)
            && !actual.mounts(SECRETS_VOLUME)
        {
            let value = vec![fragment.clone().into()];
            let (mounts, list) = (&actual.volume_mounts, [&pointer, "/volumeMounts"].concat());
            if must_be_first(mount.mount_path, actual) {
                builder.prepend(&list, mounts, value);
            } else {
                builder.append(&list, mounts, value);
            }
        }
        if variables.is_empty() {
            continue;
        }
        let injected = actual.env.iter().filter(|variable| ownership::is_injected_variable(variable));
        let has: BTreeSet<&str> = injected.map(|variable| &*variable.name).collect();
        let missing =
            variables.iter().zip(&variable_fragments).filter(|(planned, _)| !has.contains(planned.name));
        let missing = missing.map(|(_, fragment)| fragment.clone().into()).collect();
        builder.prepend(&[&pointer, "/env"].concat(), &actual.env, missing);
    }

    for planned in &agents {
        let found = document.spec.init_containers.iter().find(|actual| planned.name == &*actual.name);
        if let Some(actual) = found {
            builder.mount_points(planned, actual);
        }
    }
    let missing: Vec<Value> = agents
        .into_iter()
        .filter(|planned| !document.spec.init_containers.iter().any(|actual| planned.name == &*actual.name))
        .map(|agent| Fragment::new(&agent).into())
        .collect();
    builder.insert("/spec/initContainers", &document.spec.init_containers, insert_at, missing);

    if share_process_namespace && document.spec.share_process_namespace != Presence::Value(true) {
        builder.add("/spec/shareProcessNamespace".to_owned(), Value::Switch(true));
    }
    builder.annotations(document, [(RECEIPT, receipt.text()), (STATUS, INJECTED.to_owned())]);
    builder.0
}

/// The readers, located in the document.
fn places<'a, 'p>(
    document: &'a PodView<'p>,
    original: &'a PodView<'p>,
    readers: &'a Readers,
) -> impl Iterator<Item = (&'static str, &'a ContainerView<'p>, usize)> {
    let find = |list: &'static str,
                places: &'a [usize],
                original: &'a List<_>,
                document: &'a List<ContainerView<'p>>| {
        places.iter().filter_map(move |place| {
            let original: &ContainerView<'p> = original.as_slice().get(*place)?;
            Some((list, document.as_slice().get(original.index)?, original.index))
        })
    };
    find("containers", &readers.containers, &original.spec.containers, &document.spec.containers).chain(find(
        "initContainers",
        &readers.init_containers,
        &original.spec.init_containers,
        &document.spec.init_containers,
    ))
}

/// Whether the container mounts something below `mount_path` under a path with no more segments,
/// such as `/run/secrets/x` below `/var/run/secrets`. Container runtimes mount by the number of
/// segments, and in the order of the list if the numbers are equal.
fn must_be_first(mount_path: &str, container: &ContainerView<'_>) -> bool {
    let segments = |path: &str| path.split('/').filter(|segment| !matches!(*segment, "" | ".")).count();
    container.volume_mounts.iter().any(|actual| {
        is_at_or_below(&actual.mount_path, mount_path) && segments(&actual.mount_path) <= segments(mount_path)
    })
}

struct PatchBuilder(Vec<Operation>);

impl PatchBuilder {
    /// Adds the mount points that the agent in the document does not create yet: a cloud provider's
    /// webhook may have added a token below the mount path after the first call of this one.
    fn mount_points(&mut self, planned: &Container<'_>, actual: &ContainerView<'_>) {
        let Some(planned) = planned.env.iter().find(|variable| variable.name == MOUNT_POINTS) else {
            return;
        };
        let list = format!("/spec/initContainers/{}/env", actual.index);
        let place = actual.env.iter().rposition(|variable| &*variable.name == MOUNT_POINTS);
        let value = Fragment::new(planned).into();
        match (place, actual.variable(MOUNT_POINTS)) {
            (Some(place), Some(VariableValue::Literal(found))) => {
                let (found, planned) =
                    (expand_env_value(found), expand_env_value(planned.value.as_deref().unwrap_or_default()));
                let found: BTreeSet<&str> = found.lines().collect();
                if !planned.lines().all(|line| found.contains(line)) {
                    self.0.push(Operation::Remove { path: format!("{list}/{place}") });
                    self.add(format!("{list}/{place}"), value);
                }
            }
            _ => self.append(&list, &actual.env, vec![value]),
        }
    }

    /// Adds annotations, and their parents if the pod has no metadata or annotations.
    fn annotations(&mut self, document: &PodView<'_>, annotations: [(&str, String); 2]) {
        let metadata = &document.metadata;
        if metadata.annotations.presence == Presence::Value(()) {
            for (key, value) in annotations {
                if document.annotation(key) != Some(&value) {
                    self.add(annotation_pointer(key), Value::Text(value));
                }
            }
            return;
        }
        let members =
            annotations.map(|(key, value)| (format!("{ANNOTATION_PREFIX}{key}"), Value::Text(value)));
        let annotations = Value::Object(members.into());
        if metadata.presence == Presence::Value(()) {
            self.add(ANNOTATIONS.to_owned(), annotations);
        } else {
            let members = [("annotations".to_owned(), annotations)];
            self.add("/metadata".to_owned(), Value::Object(members.into()));
        }
    }

    /// Appends to a list.
    fn append<T>(&mut self, pointer: &str, list: &List<T>, values: Vec<Value>) {
        match list {
            List::Items(_) => {
                for value in values {
                    self.add([pointer, "/-"].concat(), value);
                }
            }
            List::Absent | List::Null => self.list(pointer, values),
        }
    }

    /// Inserts at the start of a list, in the given order.
    fn prepend<T>(&mut self, pointer: &str, list: &List<T>, values: Vec<Value>) {
        self.insert(pointer, list, 0, values);
    }

    /// Inserts at an index, in the given order.
    fn insert<T>(&mut self, pointer: &str, list: &List<T>, at: usize, values: Vec<Value>) {
        match list {
            List::Items(items) => {
                let at = at.min(items.len());
                for (offset, value) in values.into_iter().enumerate() {
                    self.add([pointer, "/", &(at + offset).to_string()].concat(), value);
                }
            }
            List::Absent | List::Null => self.list(pointer, values),
        }
    }

    /// Adds the list itself. An `add` to a field that is null replaces it.
    fn list(&mut self, pointer: &str, values: Vec<Value>) {
        if !values.is_empty() {
            self.add(pointer.to_owned(), Value::List(values));
        }
    }

    fn add(&mut self, path: String, value: Value) {
        self.0.push(Operation::Add { path, value });
    }
}

/// The annotation of a pod that is admitted without an injection although it has problems.
pub(crate) fn skipped(pod: &PodView<'_>, reason: &str) -> Option<Operation> {
    let value = format!("skipped/{reason}");
    (pod.metadata.annotations.presence == Presence::Value(()) && pod.annotation(STATUS) != Some(&value))
        .then(|| Operation::Add { path: annotation_pointer(STATUS), value: Value::Text(value) })
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
