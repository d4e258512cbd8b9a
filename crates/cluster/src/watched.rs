//! What a watch needs to know of a kind of object.

use std::{collections::HashSet, fmt::Debug, sync::Arc};

use kube::core::ObjectMeta;
use serde::de::DeserializeOwned;

/// A kind of object that is watched into memory.
pub trait Watched: Send + Sync + 'static {
    /// What lists and watches bring.
    type Item: Clone + Debug + DeserializeOwned + Send + 'static;

    /// Where the objects are kept.
    type Memory: Send + Sync + 'static;

    /// The plural name, as in RBAC rules and metrics.
    const RESOURCE: &'static str;

    /// Whether metadata alone is asked for.
    const IS_METADATA: bool;

    /// Where the API server has them.
    fn url_path() -> String;

    /// The field selector of lists and watches; none where all objects are wanted.
    fn field_selector(_memory: &Self::Memory) -> Option<&str> {
        None
    }

    /// An object's metadata.
    fn metadata(item: &Self::Item) -> &ObjectMeta;

    /// Takes an object in. Its key is `namespace/name`, or the name of one without a namespace.
    fn put(memory: &Self::Memory, key: &Arc<str>, item: Self::Item);

    /// An object was deleted.
    fn remove(memory: &Self::Memory, key: &Arc<str>);

    /// All objects have been taken in; what is not among them was deleted.
    fn finish_list(memory: &Self::Memory, listed: &HashSet<Arc<str>>);

    /// How many are in memory.
    fn count(memory: &Self::Memory) -> usize;
}
