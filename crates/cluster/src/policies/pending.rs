//! Changes from the watch that are not in force yet. It holds only the last version of each policy,
//! so its size does not grow with the number of changes.

use std::{
    collections::{BTreeMap, HashSet},
    mem,
    sync::Arc,
};

use kube::core::DynamicObject;

/// Changes that are waiting to be applied.
#[derive(Debug, Default)]
pub(super) struct PendingChanges {
    /// The last version of each policy that changed; `None` if it was deleted.
    changes: BTreeMap<Arc<str>, Option<Box<DynamicObject>>>,
    /// The names in the last complete list. A policy that is not among them and has no later change
    /// was deleted.
    listed: Option<HashSet<Arc<str>>>,
}

impl PendingChanges {
    /// A policy was created or changed.
    pub(super) fn put(&mut self, name: &Arc<str>, object: DynamicObject) {
        self.changes.insert(Arc::clone(name), Some(Box::new(object)));
    }

    /// A policy was read on demand. If the watch has delivered a change meanwhile, that one is
    /// newer and wins.
    pub(super) fn put_read(&mut self, name: &Arc<str>, object: DynamicObject) {
        self.changes.entry(Arc::clone(name)).or_insert_with(|| Some(Box::new(object)));
    }

    /// A policy was deleted.
    pub(super) fn remove(&mut self, name: &Arc<str>) {
        self.changes.insert(Arc::clone(name), None);
    }

    /// A list is complete; these are all policies.
    pub(super) fn finish_list(&mut self, listed: &HashSet<Arc<str>>) {
        // Deletions from before the list are already reflected in it.
        self.changes.retain(|_, change| change.is_some());
        self.listed = Some(listed.clone());
    }

    /// Takes all pending changes.
    pub(super) fn take(&mut self) -> Self {
        mem::take(self)
    }

    /// Whether a list was completed.
    pub(super) fn has_list(&self) -> bool {
        self.listed.is_some()
    }

    /// The known policies that were deleted.
    pub(super) fn removed<'a>(&self, known: impl Iterator<Item = &'a Arc<str>>) -> Vec<Arc<str>> {
        let is_removed = |name: &Arc<str>| match self.changes.get(name) {
            Some(change) => change.is_none(),
            None => self.listed.as_ref().is_some_and(|listed| !listed.contains(name)),
        };
        known.filter(|name| is_removed(name)).cloned().collect()
    }

    /// The new versions.
    pub(super) fn into_puts(self) -> impl Iterator<Item = (Arc<str>, DynamicObject)> {
        self.changes.into_iter().filter_map(|(name, object)| Some((name, *object?)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(generation: i64) -> DynamicObject {
        serde_json::from_value(json!({"metadata": {"name": "a", "generation": generation}})).unwrap()
    }

    #[test]
    fn of_many_changes_the_last_one_waits() {
        let (mut pending, [a, b]) = (PendingChanges::default(), ["a", "b"].map(Arc::from));
        for generation in 1..1_000 {
            pending.put(&a, object(generation));
        }
        pending.remove(&b);
        assert!(!pending.has_list());
        assert_eq!(pending.removed([&a, &b].into_iter()), [Arc::clone(&b)]);
        let puts: Vec<_> = pending.take().into_puts().collect();
        assert_eq!(puts.len(), 1);
        assert_eq!(puts[0].1.metadata.generation, Some(999));
        assert!(pending.removed([&a, &b].into_iter()).is_empty());
    }

    #[test]
    fn unlisted_policies_were_deleted_unless_added_later() {
        let (mut pending, [a, b, c, d]) = (PendingChanges::default(), ["a", "b", "c", "d"].map(Arc::from));
        pending.put(&a, object(1));
        pending.finish_list(&HashSet::from([Arc::clone(&a), Arc::clone(&d)]));
        pending.put(&b, object(1));
        pending.remove(&d);
        assert!(pending.has_list());
        assert_eq!(pending.removed([&a, &b, &c, &d].into_iter()), [c, d]);
    }
}
