//! The cluster's `InjectionPolicies`: watched, compiled and applied; their effects are written to
//! their status.
//!
//! ```text
//! admissions -> Usage (atomics) -> report_status -> the status of each policy, by server-side apply
//! ```
//!
//! `scaivault-cluster` implements how policies come into force. Admission reads the set without a
//! lock.

mod labels;
mod reporter;
mod status;
mod usage;

use std::sync::Arc;

use scaivault_cluster::policies::{API_VERSION, Host, KIND, PolicyCache, PolicyState, compile};
use scaivault_inject::PolicySet;
use scaivault_webhook::{Gate, Metrics, PolicyReview, PolicyState as PolicyCount, PolicyUsage};
use serde_json::Value;

use super::{ClusterCache, sharded_map::ShardedMap};

pub(super) use labels::label_namespaces;
pub(super) use reporter::report_status;

use usage::Usage;

pub(super) use scaivault_cluster::policies::PLURAL;

/// The name of the readiness condition for the first list.
pub(super) const GATE: &str = "policies";

/// The advice if the API server does not know the kind.
pub(super) const IF_MISSING: &str = "the CRD injectionpolicies.scaivault.scailabs.ai does not exist: upgrade the chart with \
    policies.enabled true, which installs it, or set policies.enabled to false (start without --policies)";

/// The cache of policies and of their effects.
pub(super) struct PolicyMemory {
    pub(super) cache: Arc<PolicyCache>,
    /// The effects of each policy, by its name.
    usage: ShardedMap<Arc<Usage>>,
}

impl PolicyMemory {
    /// Creates an empty cache.
    pub(super) fn new() -> Self {
        Self { cache: PolicyCache::new(), usage: ShardedMap::new() }
    }

    /// The policies in force.
    pub(super) fn in_force(&self) -> Option<Arc<PolicySet>> {
        self.cache.in_force()
    }

    /// Counts the effects of policies on a pod.
    pub(super) fn count(&self, usage: &PolicyUsage<'_>, now: i64) {
        for found in usage.uses {
            if let Some(counts) = self.usage.get(&found.name) {
                counts.count(found.effect, usage, now);
            }
        }
    }
}

/// The injector's reaction to changes of policies.
pub(super) struct InjectorHost {
    pub(super) memory: Arc<ClusterCache>,
    pub(super) gate: Gate,
    pub(super) metrics: Arc<Metrics>,
}

impl Host for InjectorHost {
    fn put(&self, name: &Arc<str>, is_known: bool) {
        if let Some(policies) = &self.memory.policies
            && (!is_known || policies.usage.get(name).is_none())
        {
            policies.usage.insert(name, Arc::new(Usage::default()));
        }
    }

    fn removed(&self, name: &str) {
        if let Some(policies) = &self.memory.policies {
            policies.usage.remove(name);
        }
    }

    fn counted(&self, state: PolicyState, count: usize) {
        let state = match state {
            PolicyState::InForce => PolicyCount::InForce,
            PolicyState::Kept => PolicyCount::Kept,
            PolicyState::Rejected => PolicyCount::Rejected,
        };
        self.metrics.policies(state, count);
    }

    fn held(&self, count: usize) {
        self.metrics.policies(PolicyCount::Held, count);
    }

    fn published(&self) {
        self.metrics.policy_set_changed();
        self.memory.changed();
        self.gate.open();
    }
}

/// Validates a policy that is being applied.
pub(super) fn review(object: &str) -> PolicyReview {
    let problems = match serde_json::from_str::<Value>(object) {
        Ok(object) => compile(&object).err(),
        Err(error) => Some(format!("cannot be read: {error}")),
    };
    PolicyReview { problems: problems.into_iter().collect(), warnings: Vec::new() }
}

#[cfg(test)]
mod tests;
