//! Random pods and annotations (proptest).
//!
//! [`ordinary_pods`] are pods that the injector has no reason to refuse, [`any_pods`] are all that a user may write.
//! Both carry fields that no release of Kubernetes knows, parents that are absent, null or empty, and keys in any
//! order. [`annotated_pods`] and [`two_selections`] put annotations on them,
//! of the keys that they are given.

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

/// A pod of `pods` with a valid selection over its containers.
pub fn annotated_pods(
    pods: impl Strategy<Value = Value> + 'static,
    keys: impl IntoIterator<Item = AnnotationKey>,
) -> impl Strategy<Value = Value> {
    (pods, selections(&Keys::new(keys)), any::<u64>())
        .prop_map(|(pod, selection, seed)| shuffle_keys(&selection.put_on(&pod), seed))
}

/// A pod of `pods`, once with each of two selections that differ in what they select.
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

/// A pod of `pods` with anything under our prefix.
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

/// One of the strategies, each as likely.
fn one_of<T: std::fmt::Debug>(
    strategies: impl IntoIterator<Item = BoxedStrategy<T>>,
) -> Union<BoxedStrategy<T>> {
    Union::new(strategies)
}

/// An object of the fields that are there.
fn object(
    fields: impl IntoIterator<Item = (&'static str, Option<Value>)>,
    unknown: Map<String, Value>,
) -> Value {
    let mut object: Map<_, _> =
        fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    object.extend(unknown);
    Value::Object(object)
}
