//! The cluster's `InjectionPolicies`: watched, compiled and put into force.
//!
//! ```text
//! watch -> PendingChanges (the last version of each) -> keep: compile what changed -> Store -> PolicySet, swapped
//! ```
//!
//! The set in force is read without a lock. The locks here are only shared by the tasks of this
//! module and those that write statuses.

mod definition;
mod keeper;
mod pending;
mod store;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwapOption;
use kube::core::{DynamicObject, ObjectMeta};
use scaivault_inject::PolicySet;
use tokio::sync::Notify;

use crate::watched::Watched;

pub use keeper::{Host, keep};
pub use store::{Change, Entry, PolicyState, Store, Version, WrittenStatus, compile};

use pending::PendingChanges;

/// The kind as a watched resource. Objects are read one by one, so that one unreadable object does
/// not hide the others.
#[derive(Debug)]
pub struct InjectionPolicies;

/// The group and version of policies.
pub const API_VERSION: &str = scaivault_policy::VERSION;
/// The plural name of policies.
pub const PLURAL: &str = "injectionpolicies";
/// The kind of policies.
pub const KIND: &str = "InjectionPolicy";

/// The policies in force and the changes that are pending.
#[derive(Debug)]
pub struct PolicyCache {
    /// `None` until all policies have been listed.
    in_force: ArcSwapOption<PolicySet>,
    pending: Mutex<PendingChanges>,
    /// Notified when a change is pending.
    news: Notify,
    store: Mutex<Store>,
}

impl PolicyCache {
    /// An empty cache.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            in_force: ArcSwapOption::empty(),
            pending: Mutex::default(),
            news: Notify::new(),
            store: Mutex::default(),
        })
    }

    /// The policies in force; `None` until all have been listed.
    pub fn in_force(&self) -> Option<Arc<PolicySet>> {
        self.in_force.load_full()
    }

    /// Puts a set into force.
    pub fn publish(&self, set: PolicySet) {
        tracing::debug!(policies = set.len(), "policies in force");
        self.in_force.store(Some(Arc::new(set)));
    }

    /// The policies with their versions.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The API server does not serve the kind, so there are no policies. Those in force remain, as
    /// if the CRD was deleted.
    pub fn kind_is_missing(&self) {
        self.pend(|pending| pending.finish_list(&HashSet::new()));
    }

    fn pend(&self, change: impl FnOnce(&mut PendingChanges)) {
        change(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.notify_one();
    }
}

impl Watched for InjectionPolicies {
    type Item = DynamicObject;
    type Memory = PolicyCache;

    const RESOURCE: &'static str = PLURAL;
    const IS_METADATA: bool = false;

    fn url_path() -> String {
        format!("/apis/{API_VERSION}/{PLURAL}")
    }

    fn metadata(item: &DynamicObject) -> &ObjectMeta {
        &item.metadata
    }

    fn put(cache: &PolicyCache, key: &Arc<str>, item: DynamicObject) {
        cache.pend(|pending| pending.put(key, item));
    }

    fn remove(cache: &PolicyCache, key: &Arc<str>) {
        cache.pend(|pending| pending.remove(key));
    }

    fn finish_list(cache: &PolicyCache, listed: &HashSet<Arc<str>>) {
        cache.pend(|pending| pending.finish_list(listed));
    }

    fn count(cache: &PolicyCache) -> usize {
        // Only those in force are counted here. The keeper counts the others.
        cache.in_force().map_or(0, |set| set.len())
    }
}
