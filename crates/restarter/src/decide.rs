//! Decides on the next steps.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    assess::{Assessment, Readiness, assess, current, mix},
    ledger::{AcceptedVersion, Ledger, NextLedger, Outcome, Phase, Queue, RolloutRecord, Start, Trial, Wait},
    marker,
    settings::Settings,
    source::{SourceId, SourceRef, Sources, Version},
    waves::{Gate, Waves},
    workload::{Delivery, Workload, WorkloadKey},
};

/// The state of the cluster.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The secrets.
    pub sources: Sources,
    /// The workloads; boxed, because the nodes of a map are half empty.
    pub workloads: BTreeMap<WorkloadKey, Box<Workload>>,
}

/// The steps to take now, and when to decide again if nothing changes before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Restarts first.
    pub steps: Vec<Step>,
    /// Unix seconds.
    pub wake: Option<i64>,
    /// The number of failed versions for which other restarts have stopped, counted in each namespace.
    pub failed_versions: usize,
}

/// A write. It fails if the object has changed since it was read; the next decision uses the changed object.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Mark the template of a workload, which replaces its pods, and then write its ledger.
    Restart {
        /// The workload.
        workload: WorkloadKey,
        /// The marker.
        marker: String,
        /// The ledger after that.
        ledger: Box<Ledger>,
        /// The versions of the objects that the decision is based on.
        seen: ObservedVersions,
    },
    /// Write the ledger of a workload.
    Record {
        /// The workload.
        workload: WorkloadKey,
        /// The ledger.
        ledger: Box<Ledger>,
        /// The versions of the objects that the decision is based on.
        seen: ObservedVersions,
    },
}

/// The versions of the objects that a decision is based on. A step is valid as long as both are current.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedVersions {
    /// `metadata.resourceVersion` of the workload.
    pub workload: Box<str>,
    /// `metadata.resourceVersion` of its `RotationRollout`; empty without one.
    pub record: Box<str>,
}

/// Decides on the whole cluster, only from its current state; earlier decisions do not matter. `now` is in
/// Unix seconds.
pub fn decide(now: i64, world: &World, settings: &Settings) -> Decision {
    let sources = &world.sources;
    let mut assessed: Vec<_> = world
        .workloads
        .iter()
        .filter_map(|(key, workload)| Some((key, &**workload, assess(workload, sources, settings, now)?)))
        .collect();
    let mut decision = Decision::default();
    for (_, _, assessment) in &assessed {
        decision.wake_at(assessment.wake);
    }
    let mut waves = Waves::new(&assessed, sources, settings, now);
    decision.failed_versions = waves.failed_versions();
    let mut limits = Limits::new(&assessed, settings, now);
    for index in order(&assessed, &limits) {
        let (key, workload, assessment) = &mut assessed[index];
        match turn(key, assessment, &waves, &limits, settings) {
            Turn::Now(start) => {
                waves.start(key, &assessment.stale);
                limits.start(key, start);
                let rollout = RolloutRecord::new(now, start, assessment.is_healthy);
                decision.steps.push(restart(rollout, key, workload, assessment, sources, settings));
            }
            Turn::Waits { wait, until } => {
                decision.wake_at(until);
                if !matches!(assessment.ledger.phase, Phase::Restarting) {
                    assessment.ledger.set_phase(Phase::Waiting(wait));
                }
            }
        }
    }
    record(assessed, &mut decision);
    decision
}

impl Decision {
    fn wake_at(&mut self, time: Option<i64>) {
        self.wake = [self.wake, time].into_iter().flatten().min();
    }
}

impl Step {
    /// The workload that it is about.
    pub fn workload(&self) -> &WorkloadKey {
        match self {
            Self::Restart { workload, .. } | Self::Record { workload, .. } => workload,
        }
    }

    /// The versions of the objects that were looked at.
    pub fn seen(&self) -> &ObservedVersions {
        match self {
            Self::Restart { seen, .. } | Self::Record { seen, .. } => seen,
        }
    }
}

impl ObservedVersions {
    fn new(workload: &Workload) -> Self {
        Self { workload: workload.resource_version.clone(), record: workload.record_version.clone() }
    }
}

type Assessed<'a> = (&'a WorkloadKey, &'a Workload, Assessment<'a>);

/// The workloads that wait for their turn, in order. Within a namespace: first those that a user has
/// released, then canaries, then healthy workloads (a broken one would prove nothing about the secret), then
/// those that have waited longest. Namespaces take turns, those with the fewest rollouts first.
fn order(assessed: &[Assessed<'_>], limits: &Limits<'_>) -> Vec<usize> {
    let is_candidate =
        |assessment: &Assessment<'_>| matches!(assessment.readiness, Readiness::Ready | Readiness::Released);
    let mut order: Vec<_> = (0..assessed.len()).filter(|index| is_candidate(&assessed[*index].2)).collect();
    order.sort_by_cached_key(|index| {
        let (_, workload, assessment) = &assessed[*index];
        let is_released = assessment.readiness == Readiness::Released;
        let since = assessment.ledger.pending.as_ref().map(|pending| pending.since);
        (!is_released, !workload.is_canary, !assessment.is_healthy, since, mix(workload.uid))
    });
    let mut turns = limits.by_namespace.clone();
    let in_turn = |index: usize| {
        let (key, workload, assessment) = &assessed[index];
        let turn = turns.entry(&key.namespace).or_default();
        *turn += 1;
        let since = assessment.ledger.pending.as_ref().map(|pending| pending.since);
        (*turn, since, mix(workload.uid), index)
    };
    let mut in_turn: Vec<_> = order.into_iter().map(in_turn).collect();
    in_turn.sort_unstable();
    in_turn.into_iter().map(|(_, _, _, index)| index).collect()
}

/// Whether it is a workload's turn.
enum Turn {
    Now(Start),
    Waits { wait: Wait, until: Option<i64> },
}

fn turn(
    key: &WorkloadKey,
    assessment: &Assessment<'_>,
    waves: &Waves<'_>,
    limits: &Limits<'_>,
    settings: &Settings,
) -> Turn {
    if settings.is_dry_run {
        return Turn::Waits { wait: Wait::DryRun, until: None };
    }
    if assessment.readiness == Readiness::Released {
        let is_full = limits.are_reached_for_releases(key);
        let waits = Turn::Waits { wait: Wait::Turn(Queue::Releases), until: None };
        return if is_full { waits } else { Turn::Now(Start::Released) };
    }
    match waves.gate(key, &assessment.stale) {
        Gate::Closed { wait, until } => Turn::Waits { wait, until },
        Gate::Open if limits.are_reached(key) => Turn::Waits { wait: Wait::Turn(Queue::Others), until: None },
        Gate::Open => Turn::Now(Start::Scheduled),
    }
}

/// The rollouts in progress.
struct Limits<'a> {
    /// Those that the controller began itself. Released and adopted ones only count in their namespace.
    scheduled: usize,
    by_namespace: BTreeMap<&'a str, usize>,
    settings: &'a Settings,
}

impl<'a> Limits<'a> {
    /// A rollout without progress for `rollout_timeout` is not counted.
    fn new(assessed: &[Assessed<'a>], settings: &'a Settings, now: i64) -> Self {
        let mut limits = Self { scheduled: 0, by_namespace: BTreeMap::new(), settings };
        for (key, _, assessment) in assessed {
            let has_place = |rollout: &RolloutRecord| {
                rollout.outcome == Outcome::Running && now < rollout.progressed + settings.rollout_timeout
            };
            if let Some(rollout) = assessment.ledger.rollout.filter(has_place) {
                limits.start(key, rollout.start);
            }
        }
        limits
    }

    fn start(&mut self, key: &'a WorkloadKey, start: Start) {
        self.scheduled += usize::from(start == Start::Scheduled);
        *self.by_namespace.entry(&key.namespace).or_default() += 1;
    }

    fn in_namespace(&self, key: &WorkloadKey) -> usize {
        self.by_namespace.get(&*key.namespace).copied().unwrap_or_default()
    }

    /// Released restarts have a separate limit of the same size.
    fn are_reached_for_releases(&self, key: &WorkloadKey) -> bool {
        self.in_namespace(key) >= self.settings.namespace_concurrency.max(1).saturating_mul(2)
    }

    /// A namespace without a rollout may begin one although the limit of the cluster is reached, up to twice
    /// that limit, so that slow rollouts of other namespaces do not delay it.
    fn are_reached(&self, key: &WorkloadKey) -> bool {
        let (in_namespace, most) = (self.in_namespace(key), self.settings.concurrency.max(1));
        let most = if in_namespace == 0 { most.saturating_mul(2) } else { most };
        self.scheduled >= most || in_namespace >= self.settings.namespace_concurrency.max(1)
    }
}

/// The restart of a workload: its new pods read the current version of everything that it delivers.
fn restart(
    rollout: RolloutRecord,
    key: &WorkloadKey,
    workload: &Workload,
    assessment: &Assessment<'_>,
    sources: &Sources,
    settings: &Settings,
) -> Step {
    let mut ledger = Box::new(Ledger::clone(&assessment.ledger));
    ledger.begin(rollout, settings);
    for (source, version) in &assessment.stale {
        ledger.accept(AcceptedVersion { source: *source, version: *version, trial: Trial::Running });
    }
    let versions = delivered_versions(workload, &ledger, &assessment.stale, sources);
    ledger.pending = None;
    ledger.released.clone_from(&workload.release);
    ledger.phase = Phase::Restarting;
    Step::Restart {
        workload: key.clone(),
        marker: marker::write(&versions),
        ledger,
        seen: ObservedVersions::new(workload),
    }
}

/// The accepted version of everything that a workload delivers.
fn delivered_versions<'a>(
    workload: &Workload,
    ledger: &Ledger,
    stale: &[(SourceId, Version)],
    sources: &'a Sources,
) -> Vec<(&'a SourceRef, Version)> {
    let is_stale = |source: SourceId| stale.iter().any(|(stale, _)| *stale == source);
    let is_known = |delivery: &&Delivery| current(delivery, sources).is_some() || is_stale(delivery.source);
    let delivered = workload.deliveries.iter().filter(is_known);
    let accepted = delivered.filter_map(|delivery| ledger.accepted(delivery.source));
    accepted.map(|accepted| (sources.name(accepted.source), accepted.version)).collect()
}

/// Adds steps that record changes of workloads that are not restarted. Namespaces take turns, because only
/// some steps of a decision are carried out.
fn record(assessed: Vec<Assessed<'_>>, decision: &mut Decision) {
    let (mut turns, mut records) = (BTreeMap::<_, usize>::new(), Vec::new());
    let restarted: BTreeSet<WorkloadKey> =
        decision.steps.iter().map(|step| step.workload().clone()).collect();
    for (key, workload, assessment) in assessed {
        let NextLedger::Changed(ledger) = assessment.ledger else { continue };
        // `set_phase` may have restored the recorded phase.
        if workload.ledger.as_ref() != Some(&*ledger) && !restarted.contains(key) {
            let seen = ObservedVersions::new(workload);
            let turn = turns.entry(&key.namespace).or_default();
            *turn += 1;
            records.push((*turn, Step::Record { workload: key.clone(), ledger, seen }));
        }
    }
    records.sort_by_key(|(turn, _)| *turn);
    decision.steps.extend(records.into_iter().map(|(_, step)| step));
}
