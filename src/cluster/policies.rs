//! The cluster's `InjectionPolicies`: watched, compiled and put into force; what they did goes into their status.
//!
//! ```text
//! watch -> Pending (the last version of each) -> keep: compile what changed -> Store -> PolicySet, swapped
//! admissions -> Usage (atomics) -> report_status -> the status of each policy, by server-side apply
//! ```
//!
//! Admission reads the set without a lock. The locks here are between the tasks of this module.

mod definition;
mod keeper;
mod labels;
mod pending;
mod reporter;
mod status;
mod store;
mod usage;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwapOption;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use scaivault_inject::PolicySet;
use scaivault_webhook::{PolicyReview, PolicyUsage};
use serde_json::Value;
use tokio::sync::Notify;

use super::{Memory, table::Table, watched::Watched};

pub(super) use keeper::keep;
pub(super) use labels::label_namespaces;
pub(super) use reporter::report_status;

use pending::Pending;
use store::Store;
use usage::Usage;

/// The kind, as a thing that is watched. Objects are read one by one, so that one that cannot be read keeps no other out.
pub(super) struct InjectionPolicies;

/// The group and version of policies.
const API_VERSION: &str = scaivault_policy::VERSION;
/// The plural name of policies.
const PLURAL: &str = "injectionpolicies";
/// The kind of policies.
const KIND: &str = "InjectionPolicy";

/// What is known of policies.
pub(super) struct PolicyMemory {
    /// None until all have been listed.
    in_force: ArcSwapOption<PolicySet>,
    pending: Mutex<Pending>,
    /// Something is pending.
    news: Notify,
    store: Mutex<Store>,
    /// What each policy did, by its name.
    usage: Table<Arc<Usage>>,
}

impl PolicyMemory {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self {
            in_force: ArcSwapOption::empty(),
            pending: Mutex::default(),
            news: Notify::new(),
            store: Mutex::default(),
            usage: Table::new(),
        }
    }

    /// The policies in force.
    pub(super) fn in_force(&self) -> Option<Arc<PolicySet>> {
        self.in_force.load_full()
    }

    /// Counts what policies did to a pod.
    pub(super) fn count(&self, usage: &PolicyUsage<'_>, now: i64) {
        for found in usage.uses {
            if let Some(counts) = self.usage.get(&found.name) {
                counts.count(found.effect, usage, now);
            }
        }
    }

    fn pend(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.notify_one();
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched for InjectionPolicies {
    type Item = DynamicObject;

    const RESOURCE: &'static str = PLURAL;
    const GATE: &'static str = "policies";
    const IS_METADATA: bool = false;
    const IF_MISSING: &'static str = "the CRD injectionpolicies.scaivault.scailabs.ai does not exist: upgrade the chart with \
        policies.enabled true, which installs it, or set policies.enabled to false (start without --policies)";

    fn url_path() -> String {
        format!("/apis/{API_VERSION}/{PLURAL}")
    }

    fn metadata(item: &DynamicObject) -> &ObjectMeta {
        &item.metadata
    }

    fn put(memory: &Memory, key: &Arc<str>, item: DynamicObject) {
        if let Some(policies) = &memory.policies {
            policies.pend(|pending| pending.put(key, item));
        }
    }

    fn remove(memory: &Memory, key: &Arc<str>) {
        if let Some(policies) = &memory.policies {
            policies.pend(|pending| pending.remove(key));
        }
    }

    fn finish_list(memory: &Memory, listed: &HashSet<Arc<str>>) {
        if let Some(policies) = &memory.policies {
            policies.pend(|pending| pending.finish_list(listed));
        }
    }

    fn count(memory: &Memory) -> usize {
        // Those in force; the keeper says how many there are besides.
        memory.policies.as_ref().and_then(PolicyMemory::in_force).map_or(0, |set| set.len())
    }
}

/// What is wrong with a policy that somebody applies.
pub(super) fn review(object: &str) -> PolicyReview {
    let problems = match serde_json::from_str::<Value>(object) {
        Ok(object) => store::compile(&object).err(),
        Err(error) => Some(format!("cannot be read: {error}")),
    };
    PolicyReview { problems: problems.into_iter().collect(), warnings: Vec::new() }
}

#[cfg(test)]
mod tests;
