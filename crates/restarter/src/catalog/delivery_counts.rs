//! Counts the followed secrets of ScaiVault by namespace, so that one namespace cannot use up the memory.

use std::{collections::BTreeMap, sync::Arc};

use scaivault_inject::{Context, DeliveredSecret, PodSecrets, PodView, delivered};

use super::{Catalog, template::Template};
use crate::{
    marker::SECRETS_MAX,
    source::{SourceId, SourceKind, SourceRef, Sources},
    workload::{NotFollowed, WorkloadKey},
};

/// The maximum number of followed secrets of ScaiVault for a namespace's workloads.
pub(super) const NAMESPACE_SECRETS_MAX: usize = 4096;

/// The number of workloads that deliver each secret, by namespace.
#[derive(Debug, Default)]
pub(super) struct DeliveryCounts(BTreeMap<Arc<str>, BTreeMap<SourceId, usize>>);

impl DeliveryCounts {
    /// Adds a workload that delivers a secret. Returns `None` if the namespace has too many.
    pub(super) fn add(
        &mut self,
        namespace: &Arc<str>,
        source: &SourceRef,
        sources: &mut Sources,
    ) -> Option<SourceId> {
        let counts = self.0.entry(Arc::clone(namespace)).or_default();
        let is_known = sources.find(namespace, source).is_some_and(|id| counts.contains_key(&id));
        if !is_known && counts.len() >= NAMESPACE_SECRETS_MAX {
            return None;
        }
        let id = sources.intern(namespace, source);
        *counts.entry(id).or_default() += 1;
        Some(id)
    }

    /// Removes a workload from these secrets.
    pub(super) fn remove(&mut self, namespace: &str, ids: impl Iterator<Item = SourceId>) {
        let Some(counts) = self.0.get_mut(namespace) else { return };
        for id in ids {
            if let Some(count) = counts.get_mut(&id) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&id);
                }
            }
        }
        if counts.is_empty() {
            self.0.remove(namespace);
        }
    }
}

impl Catalog {
    /// Returns the ScaiVault secrets of the template's pods, and those above the limit.
    pub(super) fn vault_sources(
        &mut self,
        namespace: &Arc<str>,
        pod: &PodView<'_>,
        context: &Context<'_>,
    ) -> (Vec<(SourceId, bool)>, NotFollowed) {
        let PodSecrets { secrets, by_pod: _ } = delivered(pod, context);
        let (mut vault, mut not_followed) = (Vec::new(), NotFollowed::default());
        for DeliveredSecret { path, is_refreshed } in &secrets {
            let source = SourceRef::new(SourceKind::ScaiVault, path.as_str());
            let is_first = vault.len() < SECRETS_MAX;
            let followed =
                is_first.then(|| self.delivery_counts.add(namespace, &source, &mut self.world.sources));
            match followed.flatten() {
                Some(id) => vault.push((id, *is_refreshed)),
                None => not_followed.add(|| source),
            }
        }
        (vault, not_followed)
    }

    /// Removes the counts of a template that was removed or replaced.
    pub(super) fn forget_vault_sources(&mut self, key: &WorkloadKey, template: &Template) {
        self.delivery_counts.remove(&key.namespace, template.vault.iter().map(|(source, _)| *source));
    }

    /// The number of secrets that are not followed because their workload or namespace has too many.
    pub fn not_followed(&self) -> usize {
        self.world.workloads.values().map(|workload| workload.not_followed.count).sum()
    }
}
