//! Random pods and annotations (proptest).
//!
//! [`ordinary_pods`] are pods that the injector has no reason to reject, [`any_pods`] are all pods
//! that a user may write. Both contain fields that are unknown to Kubernetes, parents that are
//! absent, null or empty, and keys in any order. [`annotated_pods`] and [`two_selections`] add
//! annotations with the given keys.

mod annotations;
mod containers;
mod pods;
mod text;

use proptest::{prelude::*, strategy::Union};
use serde_json::{Map, Value};

pub use annotations::AnnotationKey;
use annotations::{Keys, garbage, selections};
pub use pods::{any_pods, colliding_pods, ordinary_pods};
pub use text::{arbitrary_json, arbitrary_pod_json};

use crate::shuffle_keys;

/// A pod from `pods` with a valid selection for its containers.
pub fn annotated_pods(
    pods: impl Strategy<Value = Value> + 'static,
    keys: impl IntoIterator<Item = AnnotationKey>,
) -> impl Strategy<Value = Value> {
    (pods, selections(&Keys::new(keys)), any::<u64>())
        .prop_map(|(pod, selection, seed)| shuffle_keys(&selection.put_on(&pod), seed))
}

/// A pod from `pods` with each of two selections that differ in what they select.
pub fn two_selections(
    pods: impl Strategy<Value = Value> + 'static,
    keys: impl IntoIterator<Item = AnnotationKey>,
) -> impl Strategy<Value = (Value, Value)> {
    let keys = Keys::new(keys);
    (pods, selections(&keys), selections(&keys)).prop_map(|(pod, first, second)| {
        let second = second.with("inject-secret-changed.json", "environments/production/changed");
        (first.put_on(&pod), second.put_on(&pod))
    })
}

/// A pod from `pods` with arbitrary annotations under the injector's prefix.
pub fn garbled_pods(
    pods: impl Strategy<Value = Value> + 'static,
    keys: impl IntoIterator<Item = AnnotationKey>,
) -> impl Strategy<Value = Value> {
    let keys = Keys::new(keys);
    (pods, selections(&keys), garbage(&keys)).prop_map(|(pod, selection, garbage)| {
        let mut pod = selection.put_on(&pod);
        if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
            annotations.extend(garbage.into_iter().map(|(key, value)| (key, value.into())));
        }
        pod
    })
}

/// One of the strategies with equal probability.
fn one_of<T: std::fmt::Debug>(
    strategies: impl IntoIterator<Item = BoxedStrategy<T>>,
) -> Union<BoxedStrategy<T>> {
    Union::new(strategies)
}

/// An object with the present fields.
fn object(
    fields: impl IntoIterator<Item = (&'static str, Option<Value>)>,
    unknown: Map<String, Value>,
) -> Value {
    let mut object: Map<_, _> =
        fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    object.extend(unknown);
    Value::Object(object)
}
