//! Removes unused sources.

use std::collections::BTreeSet;

use super::Catalog;
use crate::source::SourceId;

/// The number of sources up to which unused ones are not searched for.
pub(super) const SOURCES_KEPT: usize = 1024;

impl Catalog {
    /// Removes sources that no template and no ledger contains, when there are twice as many sources as were
    /// used at the last search. This limits memory if owners change templates often.
    pub(super) fn forget_unused_sources(&mut self) {
        if self.world.sources.len() <= SOURCES_KEPT.max(2 * self.sources_used) {
            return;
        }
        let delivered =
            self.templates.values().flat_map(|template| &template.vault).map(|(source, _)| *source);
        let mut used: BTreeSet<SourceId> = delivered.collect();
        for workload in self.world.workloads.values() {
            used.extend(workload.deliveries.iter().map(|delivery| delivery.source));
            let Some(ledger) = &workload.ledger else { continue };
            used.extend(ledger.accepted.iter().map(|accepted| accepted.source));
            let pending = ledger.pending.iter().flat_map(|pending| &pending.versions);
            used.extend(pending.map(|(source, _)| *source));
        }
        self.world.sources.retain(&used);
        self.sources_used = used.len();
    }
}
