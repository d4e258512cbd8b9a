//! What a watch needs to know of a kind of object.

use std::{collections::HashSet, fmt::Debug, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

use super::Memory;

/// A kind of object that is watched into memory.
pub(super) trait Watched: Send + Sync + 'static {
    /// What lists and watches bring.
    type Item: Clone + Debug + DeserializeOwned + Send + 'static;

    /// The plural name, as in RBAC rules and metrics.
    const RESOURCE: &'static str;

    /// What `/readyz` waits for until the first list is there.
    const GATE: &'static str;

    /// Whether metadata alone is asked for.
    const IS_METADATA: bool;

    /// Where the API server has them.
    fn url_path() -> String;

    /// An object's metadata.
    fn metadata(item: &Self::Item) -> &ObjectMeta;

    /// Takes an object in.
    fn put(memory: &Memory, key: &Arc<str>, item: Self::Item);

    /// An object was deleted.
    fn remove(memory: &Memory, key: &Arc<str>);

    /// All objects have been taken in; what is not among them was deleted.
    fn finish_list(memory: &Memory, listed: &HashSet<Arc<str>>);

    /// How many are in memory.
    fn count(memory: &Memory) -> usize;

    /// What to do where the API server does not know the resource.
    const IF_MISSING: &'static str = "check which API the cluster serves";
}
