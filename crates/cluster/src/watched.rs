//! The description of a kind of object that is watched.

use std::{collections::HashSet, fmt::Debug, sync::Arc};

use kube::core::ObjectMeta;
use serde::de::DeserializeOwned;

/// A kind of object that is watched and cached.
pub trait Watched: Send + Sync + 'static {
    /// The type of listed and watched objects.
    type Item: Clone + Debug + DeserializeOwned + Send + 'static;

    /// The cache of the objects.
    type Memory: Send + Sync + 'static;

    /// The plural name, as in RBAC rules and metrics.
    const RESOURCE: &'static str;

    /// Whether only metadata is requested.
    const IS_METADATA: bool;

    /// The path of the resource on the API server.
    fn url_path() -> String;

    /// The field selector of lists and watches; `None` for all objects.
    fn field_selector(_memory: &Self::Memory) -> Option<&str> {
        None
    }

    /// An object's metadata.
    fn metadata(item: &Self::Item) -> &ObjectMeta;

    /// Adds or replaces an object. Its key is `namespace/name`, or the name if it has no namespace.
    fn put(memory: &Self::Memory, key: &Arc<str>, item: Self::Item);

    /// An object was deleted.
    fn remove(memory: &Self::Memory, key: &Arc<str>);

    /// A list is complete; objects that are not in it were deleted.
    fn finish_list(memory: &Self::Memory, listed: &HashSet<Arc<str>>);

    /// The number of cached objects.
    fn count(memory: &Self::Memory) -> usize;
}
