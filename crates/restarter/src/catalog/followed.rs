//! Counts the followed secrets of ScaiVault by namespace, so that one namespace cannot use up the memory.

use std::{collections::BTreeMap, sync::Arc};

use scaivault_inject::{Context, Delivered, DeliveredSecret, PodView, delivered};
use serde_json::Value;

use super::{Catalog, SECRETS_MAX};
use crate::{
    source::{SourceId, SourceKind, SourceRef, Sources},
    workload::WorkloadKey,
};

/// The maximum number of followed secrets of ScaiVault for a namespace's workloads.
pub(super) const NAMESPACE_SECRETS_MAX: usize = 4096;

/// The number of workloads that deliver each secret, by namespace.
#[derive(Debug, Default)]
pub(super) struct Followed(BTreeMap<Arc<str>, BTreeMap<SourceId, usize>>);

impl Followed {
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
    /// The secrets of ScaiVault that a template delivers, and how many of them are too many.
    pub(super) fn vault_sources(
        &mut self,
        namespace: &Arc<str>,
        template: &Value,
        context: &Context<'_>,
    ) -> (Vec<(SourceId, bool)>, usize) {
        let text = template.to_string();
        let Ok(view) = PodView::parse(&text) else { return (Vec::new(), 0) };
        let Delivered { secrets, by_pod: _ } = delivered(&view, context);
        let (followed, sources) = (&mut self.followed, &mut self.world.sources);
        let follow = |secret: &DeliveredSecret| {
            let source = SourceRef::new(SourceKind::ScaiVault, secret.path.as_str());
            Some((followed.add(namespace, &source, sources)?, secret.is_refreshed))
        };
        let vault: Vec<_> = secrets.iter().take(SECRETS_MAX).filter_map(follow).collect();
        let not_followed = secrets.len() - vault.len();
        (vault, not_followed)
    }

    /// Removes the secrets of a workload's previous template.
    pub(super) fn forget_vault_sources(&mut self, key: &WorkloadKey) {
        let vault = self.templates.get(key).map(|template| &template.vault);
        self.followed.remove(&key.namespace, vault.into_iter().flatten().map(|(source, _)| *source));
    }

    /// The number of secrets of ScaiVault that are not followed, because their workload or namespace has too
    /// many.
    pub fn not_followed(&self) -> usize {
        self.templates.values().map(|template| template.not_followed).sum()
    }
}
