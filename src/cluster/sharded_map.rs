//! A map with one writer and many concurrent readers.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

/// A change copies one part of the map. With twenty thousand entries a part has about eighty, which
/// takes some microseconds; replacing all entries takes tens of milliseconds.
const PARTS: usize = 256;

/// A map in parts, each of which is replaced as a whole: a lookup takes no lock and never waits,
/// and the cost of a change does not grow with the whole map. Only one task may change it.
pub(super) struct ShardedMap<V> {
    parts: Box<[Part<V>]>,
    hasher: RandomState,
    /// The number of changes.
    version: AtomicU64,
}

/// The entries of one part, selected by hash.
type Part<V> = ArcSwap<HashMap<Arc<str>, V>>;

impl<V: Clone + PartialEq> ShardedMap<V> {
    pub(super) fn new() -> Self {
        let parts = (0..PARTS).map(|_| ArcSwap::default()).collect();
        Self { parts, hasher: RandomState::new(), version: AtomicU64::new(0) }
    }

    pub(super) fn get(&self, key: &str) -> Option<V> {
        self.part(key).load().get(key).cloned()
    }

    /// Sets the value of a key. Returns false and copies nothing if it is unchanged.
    pub(super) fn insert(&self, key: &Arc<str>, value: V) -> bool {
        let part = self.part(key);
        let before = part.load();
        if before.get(key) == Some(&value) {
            return false;
        }
        let mut after = HashMap::clone(&before);
        after.insert(Arc::clone(key), value);
        self.store(part, after);
        true
    }

    pub(super) fn remove(&self, key: &str) {
        let part = self.part(key);
        let before = part.load();
        if before.contains_key(key) {
            let mut after = HashMap::clone(&before);
            after.remove(key);
            self.store(part, after);
        }
    }

    /// Removes all keys except these.
    pub(super) fn retain(&self, keys: &HashSet<Arc<str>>) {
        for part in &self.parts {
            let before = part.load();
            if before.keys().any(|key| !keys.contains(key)) {
                let mut after = HashMap::clone(&before);
                after.retain(|key, _| keys.contains(key));
                self.store(part, after);
            }
        }
    }

    fn store(&self, part: &Part<V>, after: HashMap<Arc<str>, V>) {
        part.store(Arc::new(after));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// A number that differs after each change. Read it before reading values.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// All values, in arbitrary order.
    pub(super) fn values(&self) -> Vec<V> {
        self.parts.iter().flat_map(|part| part.load().values().cloned().collect::<Vec<_>>()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.load().len()).sum()
    }

    fn part(&self, key: &str) -> &Part<V> {
        let hash = usize::try_from(self.hasher.hash_one(key) % PARTS as u64);
        &self.parts[hash.expect("a remainder of the number of parts fits")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_until_it_is_removed() {
        let table = ShardedMap::new();
        let keys: Vec<Arc<str>> = (0..1_000).map(|number| format!("key-{number}").into()).collect();
        for (number, key) in keys.iter().enumerate() {
            assert!(table.insert(key, number));
            assert!(!table.insert(key, number), "nothing new");
        }
        assert_eq!((table.len(), table.get("key-7"), table.get("key")), (1_000, Some(7), None));
        assert!(table.insert(&keys[7], 70));
        assert_eq!((table.len(), table.get("key-7")), (1_000, Some(70)));

        let version = table.version();
        table.remove("never there");
        assert_eq!(table.version(), version);
        table.remove("key-7");
        assert_ne!(table.version(), version);
        assert_eq!((table.len(), table.get("key-7")), (999, None));

        let few: HashSet<_> = keys.iter().skip(990).cloned().collect();
        table.retain(&few);
        assert_eq!((table.len(), table.get("key-989"), table.get("key-999")), (10, None, Some(999)));
    }
}
