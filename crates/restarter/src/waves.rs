//! Workloads of a namespace that share a version of a secret are restarted in waves, and the first failure
//! stops the rest. Namespaces only affect each other through failures in several of them, so that no tenant
//! can stop another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    assess::{Assessment, current},
    ledger::{Followed, Outcome, Trial, Wait},
    settings::Settings,
    source::{SourceId, Sources, Version},
    workload::{Workload, WorkloadKey},
};

/// The number of namespaces in which a version must fail before it stops in all of them, because one may
/// have its own reasons.
const FAILED_NAMESPACES: usize = 2;

/// The groups of all shared versions.
pub(crate) struct Waves<'a> {
    groups: BTreeMap<(SourceId, Version, Arc<str>), Group<'a>>,
    /// Versions that failed in several namespaces, and in more of them than they succeeded in, and whose
    /// previous version does not end soon.
    bad: BTreeSet<(SourceId, Version)>,
    settings: &'a Settings,
    now: i64,
}

/// The workloads of a namespace that a version of a secret restarts.
#[derive(Default)]
struct Group<'a> {
    /// The number of started restarts, including finished ones.
    started: usize,
    /// The number of finished restarts: successful ones, and those whose failure says nothing about the
    /// secret.
    finished: usize,
    /// When the last one ended.
    last_finished: i64,
    /// The first workload on which the version failed.
    failed: Option<&'a WorkloadKey>,
    /// A workload runs with the version.
    has_succeeded: bool,
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
    /// Counts the restarts for each current version.
    pub(crate) fn new(
        assessed: &[(&'a WorkloadKey, &'a Workload, Assessment)],
        sources: &Sources,
        settings: &'a Settings,
        now: i64,
    ) -> Self {
        let mut waves = Self { groups: BTreeMap::new(), bad: BTreeSet::new(), settings, now };
        for (key, workload, assessment) in assessed {
            let Some(rollout) = assessment.ledger.rollout else { continue };
            for delivery in &workload.deliveries {
                let Some(accepted) = assessment.ledger.accepted(delivery.source) else { continue };
                if accepted.trial != Trial::None && current(delivery, sources) == Some(accepted.version) {
                    let group = (accepted.source, accepted.version, Arc::clone(&key.namespace));
                    waves.groups.entry(group).or_default().count(accepted.trial, rollout, key);
                }
            }
        }
        waves.bad = bad(&waves.groups);
        waves.bad.retain(|(source, _)| !is_ending(*source, sources, settings, now));
        waves
    }

    /// Whether a workload may be restarted now for all versions that its pods do not have.
    pub(crate) fn gate(&self, key: &WorkloadKey, stale: &[(SourceId, Version)]) -> Gate {
        let mut closed = Gate::Open;
        for entry in stale {
            let group = self.groups.get(&(entry.0, entry.1, Arc::clone(&key.namespace)));
            let failed = group.and_then(|group| group.failed);
            // Results in the namespace itself take precedence over results in others.
            let has_succeeded = group.is_some_and(|group| group.has_succeeded);
            if failed.is_some() || self.bad.contains(entry) && !has_succeeded {
                let by = failed.map(|failed| Arc::from(format!("{} {}", failed.kind.name(), failed.name)));
                return Gate::Closed(Wait::Stopped { source: entry.0, by });
            }
            let Some(group) = group else { continue };
            match group.gate(self.settings, self.now) {
                Gate::Open => {}
                gate => closed = gate,
            }
        }
        closed
    }

    /// Records that a workload is being restarted.
    pub(crate) fn start(&mut self, key: &WorkloadKey, stale: &[(SourceId, Version)]) {
        for (source, version) in stale {
            let group = (*source, *version, Arc::clone(&key.namespace));
            self.groups.entry(group).or_default().started += 1;
        }
    }
}

/// Whether the previous version soon stops working. Then a canary of each namespace tries the new one, even
/// if it failed elsewhere.
fn is_ending(source: SourceId, sources: &Sources, settings: &Settings, now: i64) -> bool {
    let ends = sources.observed(source).old_ends;
    ends.is_some_and(|ends| now >= ends.saturating_sub(settings.before_end))
}

/// The versions that failed in several namespaces, and in more of them than they succeeded in.
fn bad(groups: &BTreeMap<(SourceId, Version, Arc<str>), Group<'_>>) -> BTreeSet<(SourceId, Version)> {
    let mut namespaces: BTreeMap<(SourceId, Version), (usize, usize)> = BTreeMap::new();
    for ((source, version, _), group) in groups {
        let (failed, succeeded) = namespaces.entry((*source, *version)).or_default();
        *failed += usize::from(group.failed.is_some());
        *succeeded += usize::from(group.failed.is_none() && group.has_succeeded);
    }
    let is_bad = |(failed, succeeded): &(usize, usize)| *failed >= FAILED_NAMESPACES && failed > succeeded;
    namespaces.into_iter().filter(|(_, counts)| is_bad(counts)).map(|(version, _)| version).collect()
}

impl<'a> Group<'a> {
    fn count(&mut self, trial: Trial, rollout: Followed, key: &'a WorkloadKey) {
        self.started += 1;
        let finished = match (trial, rollout.outcome) {
            (Trial::Failed, _) => {
                self.failed.get_or_insert(key);
                return;
            }
            // The current state of the workload is caused by other secrets.
            (Trial::Ended | Trial::None, _) => 0,
            (Trial::Running, Outcome::Running) => return,
            (Trial::Running, Outcome::Succeeded { at }) => {
                self.has_succeeded = true;
                at
            }
            (Trial::Running, Outcome::Failed(_)) => rollout.since,
        };
        self.finished += 1;
        self.last_finished = self.last_finished.max(finished);
    }

    /// Canaries come first, then waves, each after all earlier restarts have finished and a pause. After the
    /// canaries, the pause is at least the time in which crashes count as failures.
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
        let is_after_canaries = begin == canaries;
        let pause = if is_after_canaries { settings.observation } else { 0 };
        let until = self.last_finished + settings.wave_pause.max(pause);
        let is_between_waves = self.started == begin && begin > 0;
        if is_between_waves && now < until { Gate::Paused { until } } else { Gate::Open }
    }
}
