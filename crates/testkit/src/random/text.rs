//! Random texts, names and JSON.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Value};

use super::one_of;

const NAME_CHARS: &[char] = &['a', 'b', 'c', 'x', 'y', 'z', '0', '7', '-'];

/// Words that the pod parser knows, so that random JSON reaches its code and not only the skipping
/// of unknown fields.
const POD_WORDS: &[&str] = &[
    "metadata",
    "spec",
    "annotations",
    "scaivault.scailabs.ai/inject-secret-db",
    "scaivault.scailabs.ai/receipt",
    "scaivault.scailabs.ai/status",
    "scaivault.scailabs.ai/mutation-mode",
    "containers",
    "initContainers",
    "volumes",
    "volumeMounts",
    "mountPath",
    "env",
    "name",
    "value",
    "valueFrom",
    "fileKeyRef",
    "volumeName",
    "securityContext",
    "runAsUser",
    "runAsNonRoot",
    "resources",
    "limits",
    "requests",
    "memory",
    "restartPolicy",
    "shareProcessNamespace",
    "hostPID",
    "os",
    "args",
];

/// A text that breaks assumptions about ASCII; also short texts of any characters.
pub(super) fn odd_text() -> impl Strategy<Value = String> {
    one_of([
        select(vec![
            "",
            " ",
            "ünï €\n<&>\"\\ \u{2028}",
            "$(HOME)",
            "\u{0}",
            "~0~1/",
            "👩‍👩‍👧",
            "true",
            "null",
            "-1",
        ])
        .prop_map(str::to_owned)
        .boxed(),
        vec(any::<char>(), 0..8).prop_map(String::from_iter).boxed(),
    ])
}

/// The tail of a DNS label: `length` is the number of characters, the last is a letter.
pub(super) fn name_tail(length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    vec(select(NAME_CHARS), length).prop_map(|mut chars| {
        chars.push('n');
        String::from_iter(chars)
    })
}

/// Zero to two fields that are unknown to Kubernetes.
pub(super) fn unknown_fields() -> impl Strategy<Value = Map<String, Value>> {
    let names =
        select(vec!["brandNewField", "x-extension", "nameless", "Ünïcode", "$ref", "volumeMount", "envs"]);
    vec((names, small_json()), 0..3)
        .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Any JSON object.
pub fn arbitrary_json() -> impl Strategy<Value = Value> {
    json_with_keys(odd_text().boxed())
}

/// Any JSON object with the words of a pod, at meaningful and meaningless positions.
pub fn arbitrary_pod_json() -> impl Strategy<Value = Value> {
    json_with_keys(select(POD_WORDS).prop_map(str::to_owned).boxed())
}

fn json_with_keys(keys: BoxedStrategy<String>) -> impl Strategy<Value = Value> {
    let value = scalar().prop_recursive(6, 48, 6, {
        let keys = keys.clone();
        move |inner| {
            one_of([
                vec(inner.clone(), 0..5).prop_map(Value::Array).boxed(),
                vec((keys.clone(), inner), 0..6).prop_map(|fields| fields.into_iter().collect()).boxed(),
            ])
        }
    });
    vec((keys, value), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

fn small_json() -> impl Strategy<Value = Value> {
    one_of([
        scalar().boxed(),
        vec(scalar(), 0..3).prop_map(Value::Array).boxed(),
        vec((odd_text(), scalar()), 0..3).prop_map(|fields| fields.into_iter().collect()).boxed(),
    ])
}

fn scalar() -> BoxedStrategy<Value> {
    one_of([
        Just(Value::Null).boxed(),
        any::<bool>().prop_map(Value::from).boxed(),
        any::<i64>().prop_map(Value::from).boxed(),
        (-1.0e9_f64..1.0e9).prop_map(Value::from).boxed(),
        odd_text().prop_map(Value::from).boxed(),
    ])
    .boxed()
}
