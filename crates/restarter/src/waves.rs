//! Workloads of a namespace that share a version of a secret are restarted in waves, and the first failure
//! stops the rest. Namespaces only affect each other through failures in several of them, so that no tenant
//! can stop another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    assess::{Assessment, current},
    ledger::{Outcome, Queue, RolloutRecord, StoppedBy, Trial, Wait},
    settings::Settings,
    source::{SourceId, Sources, Version},
    workload::{Workload, WorkloadKey},
};

/// The number of namespaces in which a version must fail before it stops in all of them, because one may
/// have its own reasons.
const FAILED_NAMESPACES: usize = 2;

/// The groups of all shared versions.
pub(crate) struct Waves<'a> {
    groups: BTreeMap<GroupKey, Group<'a>>,
    /// Versions that failed in several namespaces, and in more of them than they succeeded in, and whose
    /// previous version does not end soon.
    bad: BTreeSet<(SourceId, Version)>,
    settings: &'a Settings,
    now: i64,
}

/// A version's identity, and a namespace.
type GroupKey = (SourceId, Version, Arc<str>);

/// The workloads of a namespace that a version of a secret restarts.
#[derive(Default)]
struct Group<'a> {
    /// The number of started restarts, including finished ones. Those that ended without a result for the
    /// version are not counted.
    started: usize,
    /// The number of successful restarts.
    finished: usize,
    /// The first restart in progress, and when it began.
    running: Option<(&'a WorkloadKey, i64)>,
    /// When the last one ended.
    last_finished: i64,
    /// The first workload on which the version failed.
    failed: Option<&'a WorkloadKey>,
    /// Whether the version failed in a restart that the controller began itself. Owners can begin other ones.
    has_failed_for_all: bool,
}

/// Whether a group lets a workload begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Closed {
        wait: Wait,
        /// When it opens, if that is known.
        until: Option<i64>,
    },
}

impl<'a> Waves<'a> {
    /// Counts the restarts for each current version.
    pub(crate) fn new(
        assessed: &[(&'a WorkloadKey, &'a Workload, Assessment<'a>)],
        sources: &Sources,
        settings: &'a Settings,
        now: i64,
    ) -> Self {
        let mut waves = Self { groups: BTreeMap::new(), bad: BTreeSet::new(), settings, now };
        for (key, workload, assessment) in assessed {
            let Some(rollout) = assessment.ledger.rollout else { continue };
            for delivery in &workload.deliveries {
                let Some(accepted) = assessment.ledger.accepted(delivery.source) else { continue };
                // While the workload's own pods disagree about the version, or there are none, its result remains.
                let is_current = |current: Version| current.is_same(accepted.version);
                if accepted.trial != Trial::None && current(delivery, sources).is_none_or(is_current) {
                    let group = group_key(accepted.source, accepted.version, key);
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
        for (source, version) in stale {
            let group = self.groups.get(&group_key(*source, *version, key));
            let by_own = group.and_then(|group| group.failed).map(|failed| StoppedBy::Workload(name(failed)));
            // Results in the namespace itself take precedence over results in others.
            let has_succeeded = group.is_some_and(|group| group.finished > 0);
            let is_bad = !has_succeeded && self.bad.contains(&(*source, version.identity()));
            if let Some(by) = by_own.or(is_bad.then_some(StoppedBy::Namespaces)) {
                return Gate::Closed { wait: Wait::Stopped { source: *source, by }, until: None };
            }
            let Some(group) = group else { continue };
            match group.gate(self.settings, self.now) {
                Gate::Open => {}
                gate @ Gate::Closed { .. } => closed = gate,
            }
        }
        closed
    }

    /// Records that a workload is being restarted.
    pub(crate) fn start(&mut self, key: &'a WorkloadKey, stale: &[(SourceId, Version)]) {
        for (source, version) in stale {
            let group = self.groups.entry(group_key(*source, *version, key)).or_default();
            group.started += 1;
            group.running.get_or_insert((key, self.now));
        }
    }

    /// The number of failed versions, counted in each namespace.
    pub(crate) fn failed_versions(&self) -> usize {
        self.groups.values().filter(|group| group.failed.is_some()).count()
    }
}

fn group_key(source: SourceId, version: Version, key: &WorkloadKey) -> GroupKey {
    (source, version.identity(), Arc::clone(&key.namespace))
}

/// The kind and name of a workload.
fn name(key: &WorkloadKey) -> Arc<str> {
    format!("{} {}", key.kind.name(), key.name).into()
}

/// Whether the previous version soon stops working. Then a canary of each namespace tries the new one, even
/// if it failed elsewhere.
fn is_ending(source: SourceId, sources: &Sources, settings: &Settings, now: i64) -> bool {
    let ends = sources.observed(source).old_ends;
    ends.is_some_and(|ends| now >= ends.saturating_sub(settings.before_end))
}

/// The versions that failed in several namespaces, and in more of them than they succeeded in.
fn bad(groups: &BTreeMap<GroupKey, Group<'_>>) -> BTreeSet<(SourceId, Version)> {
    let mut namespaces: BTreeMap<(SourceId, Version), (usize, usize)> = BTreeMap::new();
    for ((source, version, _), group) in groups {
        let (failed, succeeded) = namespaces.entry((*source, *version)).or_default();
        *failed += usize::from(group.has_failed_for_all);
        *succeeded += usize::from(group.failed.is_none() && group.finished > 0);
    }
    let is_bad = |(failed, succeeded): &(usize, usize)| *failed >= FAILED_NAMESPACES && failed > succeeded;
    namespaces.into_iter().filter(|(_, counts)| is_bad(counts)).map(|(version, _)| version).collect()
}

impl<'a> Group<'a> {
    fn count(&mut self, trial: Trial, rollout: RolloutRecord, key: &'a WorkloadKey) {
        let finished = match (trial, rollout.outcome) {
            // It has no result for the version, so another workload has to test it.
            (Trial::None, _) | (Trial::Running, Outcome::Failed(_)) => return,
            (Trial::Failed { is_scheduled }, _) => {
                self.started += 1;
                self.failed.get_or_insert(key);
                self.has_failed_for_all |= is_scheduled;
                return;
            }
            (Trial::Running, Outcome::Running) => {
                self.started += 1;
                self.running.get_or_insert((key, rollout.since));
                return;
            }
            // The current state of the workload is caused by other secrets.
            (Trial::Ended, _) => 0,
            (Trial::Running, Outcome::Succeeded { at }) => at,
        };
        self.started += 1;
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
            let canary = self.running.filter(|_| begin == 0);
            let queue =
                canary.map_or(Queue::Others, |(key, since)| Queue::Canary { workload: name(key), since });
            return Gate::Closed { wait: Wait::Turn(queue), until: None };
        }
        let is_after_canaries = begin == canaries;
        let pause = if is_after_canaries { settings.observation } else { 0 };
        let until = self.last_finished + settings.wave_pause.max(pause);
        let is_between_waves = self.started == begin && begin > 0;
        if !is_between_waves || now >= until {
            return Gate::Open;
        }
        let queue = if is_after_canaries { Queue::Observation { until } } else { Queue::Others };
        Gate::Closed { wait: Wait::Turn(queue), until: Some(until) }
    }
}
