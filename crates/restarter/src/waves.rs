//! The workloads that share a version of a secret: they are restarted in waves, and the first failure stops the rest.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    assess::{Assessment, current},
    ledger::{Followed, Outcome, Wait},
    settings::Settings,
    source::{SourceId, Sources, Version},
    workload::{Workload, WorkloadKey},
};

/// The groups of all shared versions.
pub(crate) struct Waves<'a> {
    groups: BTreeMap<(SourceId, Version), Group<'a>>,
    settings: &'a Settings,
    now: i64,
}

/// The workloads that a version of a secret restarts.
#[derive(Default)]
struct Group<'a> {
    /// Restarts that have begun, also those that have ended.
    started: usize,
    /// Restarts that have ended: well, or without saying anything about the secret.
    finished: usize,
    /// When the last one ended.
    last_finished: i64,
    /// The first workload on which the version failed.
    failed: Option<&'a WorkloadKey>,
}

/// Whether a group lets a workload begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Closed(Wait),
    /// The pause after a wave.
    Paused {
        until: i64,
    },
}

impl<'a> Waves<'a> {
    /// Counts what has been done for each current version.
    pub(crate) fn new(
        assessed: &[(&'a WorkloadKey, &'a Workload, Assessment)],
        sources: &Sources,
        settings: &'a Settings,
        now: i64,
    ) -> Self {
        let mut waves = Self { groups: BTreeMap::new(), settings, now };
        for (key, workload, assessment) in assessed {
            let Some(rollout) = assessment.ledger.rollout else { continue };
            for delivery in &workload.deliveries {
                let Some(accepted) = assessment.ledger.accepted(delivery.source) else { continue };
                if accepted.by_restart && current(delivery, sources) == Some(accepted.version) {
                    let group = waves.groups.entry((accepted.source, accepted.version)).or_default();
                    group.count(rollout, key);
                }
            }
        }
        waves
    }

    /// Whether a workload may be restarted now for all that it lacks.
    pub(crate) fn gate(&self, key: &WorkloadKey, stale: &[(SourceId, Version)]) -> Gate {
        let mut closed = Gate::Open;
        for entry in stale {
            let Some(group) = self.groups.get(entry) else { continue };
            if let Some(failed) = group.failed {
                // A tenant does not hear the names of another's workloads.
                let by = (failed.namespace == key.namespace)
                    .then(|| Arc::from(format!("{} {}", failed.kind.name(), failed.name)));
                return Gate::Closed(Wait::Stopped { source: entry.0, by });
            }
            match group.gate(self.settings, self.now) {
                Gate::Open => {}
                gate => closed = gate,
            }
        }
        closed
    }

    /// Notes that a workload is being restarted.
    pub(crate) fn start(&mut self, stale: &[(SourceId, Version)]) {
        for entry in stale {
            self.groups.entry(*entry).or_default().started += 1;
        }
    }
}

impl<'a> Group<'a> {
    fn count(&mut self, rollout: Followed, key: &'a WorkloadKey) {
        self.started += 1;
        let finished = match rollout.outcome {
            Outcome::Running => return,
            Outcome::Succeeded { at } => at,
            Outcome::Failed(_) if rollout.was_healthy => {
                self.failed.get_or_insert(key);
                return;
            }
            Outcome::Failed(_) => rollout.since,
        };
        self.finished += 1;
        self.last_finished = self.last_finished.max(finished);
    }

    /// The canaries first, then wave after wave, each after all before it have finished and a pause.
    fn gate(&self, settings: &Settings, now: i64) -> Gate {
        let (canaries, wave) = (settings.canaries.max(1), settings.wave.max(1));
        let (begin, end) = match self.finished.checked_sub(canaries) {
            None => (0, canaries),
            Some(after) => {
                let begin = canaries + after / wave * wave;
                (begin, begin + wave)
            }
        };
        if self.started >= end {
            return Gate::Closed(Wait::Turn);
        }
        let until = self.last_finished + settings.wave_pause;
        let is_between_waves = self.started == begin && begin > 0;
        if is_between_waves && now < until { Gate::Paused { until } } else { Gate::Open }
    }
}
