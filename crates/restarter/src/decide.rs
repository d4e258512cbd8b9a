//! What is to be done now.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    assess::{Assessment, Readiness, assess, current, mix},
    ledger::{Accepted, Followed, Ledger, Outcome, Phase, Wait},
    marker,
    settings::Settings,
    source::{SourceRef, Sources, Version},
    waves::{Gate, Waves},
    workload::{Workload, WorkloadKey},
};

/// All that is known about the cluster.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The secrets.
    pub sources: Sources,
    /// The workloads.
    pub workloads: BTreeMap<WorkloadKey, Workload>,
}

/// What is to be done now, and when to ask again if nothing changes before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Restarts first.
    pub steps: Vec<Step>,
    /// Unix seconds.
    pub wake: Option<i64>,
}

/// One write. It fails if the object has changed since it was read; then the next decision sees the change.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Mark the template of a workload, which replaces its pods, and then write its ledger.
    Restart {
        /// The workload.
        workload: WorkloadKey,
        /// The marker.
        marker: String,
        /// The ledger after that.
        ledger: Ledger,
    },
    /// Write the ledger of a workload.
    Record {
        /// The workload.
        workload: WorkloadKey,
        /// The ledger.
        ledger: Ledger,
    },
}

/// Decides on the whole cluster, from its present state alone: what was decided before does not matter. `now` is in Unix
/// seconds.
pub fn decide(now: i64, world: &World, settings: &Settings) -> Decision {
    let sources = &world.sources;
    let mut assessed: Vec<_> = world
        .workloads
        .iter()
        .filter_map(|(key, workload)| Some((key, workload, assess(workload, sources, settings, now)?)))
        .collect();
    let mut decision = Decision::default();
    for (_, _, assessment) in &assessed {
        decision.wake_at(assessment.wake);
    }
    let mut waves = Waves::new(&assessed, sources, settings, now);
    let mut limits = Limits::new(&assessed, settings);
    for index in order(&assessed) {
        let (key, workload, assessment) = &mut assessed[index];
        match turn(key, assessment, &waves, &limits, settings) {
            Turn::Now => {
                waves.start(&assessment.stale);
                limits.start(key);
                decision.steps.push(restart(now, key, workload, assessment, sources));
            }
            Turn::Waits { wait, until } => {
                decision.wake_at(until);
                if !matches!(assessment.ledger.phase, Phase::Restarting) {
                    assessment.ledger.phase = Phase::Waiting(wait);
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
}

type Assessed<'a> = (&'a WorkloadKey, &'a Workload, Assessment);

/// The workloads that wait for their turn, in its order: those that a user has released, then canaries, then healthy workloads (a
/// broken one would say nothing about the secret), then who has waited longest.
fn order(assessed: &[Assessed<'_>]) -> Vec<usize> {
    let is_candidate =
        |assessment: &Assessment| matches!(assessment.readiness, Readiness::Ready | Readiness::Released);
    let mut order: Vec<_> = (0..assessed.len()).filter(|index| is_candidate(&assessed[*index].2)).collect();
    order.sort_by_cached_key(|index| {
        let (_, workload, assessment) = &assessed[*index];
        let is_released = assessment.readiness == Readiness::Released;
        let since = assessment.ledger.pending.as_ref().map(|pending| pending.since);
        (!is_released, !workload.is_canary, !workload.is_healthy(), since, mix(workload.uid))
    });
    order
}

/// Whether it is a workload's turn.
enum Turn {
    Now,
    Waits { wait: Wait, until: Option<i64> },
}

fn turn(
    key: &WorkloadKey,
    assessment: &Assessment,
    waves: &Waves<'_>,
    limits: &Limits<'_>,
    settings: &Settings,
) -> Turn {
    if settings.is_dry_run {
        return Turn::Waits { wait: Wait::DryRun, until: None };
    }
    if assessment.readiness == Readiness::Released {
        return Turn::Now;
    }
    match waves.gate(key, &assessment.stale) {
        Gate::Closed(wait) => Turn::Waits { wait, until: None },
        Gate::Paused { until } => Turn::Waits { wait: Wait::Turn, until: Some(until) },
        Gate::Open if limits.are_reached(key) => Turn::Waits { wait: Wait::Turn, until: None },
        Gate::Open => Turn::Now,
    }
}

/// The rollouts that are under way.
struct Limits<'a> {
    running: usize,
    by_namespace: BTreeMap<&'a str, usize>,
    settings: &'a Settings,
}

impl<'a> Limits<'a> {
    fn new(assessed: &[Assessed<'a>], settings: &'a Settings) -> Self {
        let mut limits = Self { running: 0, by_namespace: BTreeMap::new(), settings };
        for (key, _, assessment) in assessed {
            if assessment.ledger.is_restarting() {
                limits.start(key);
            }
        }
        limits
    }

    fn start(&mut self, key: &'a WorkloadKey) {
        self.running += 1;
        *self.by_namespace.entry(&key.namespace).or_default() += 1;
    }

    fn are_reached(&self, key: &WorkloadKey) -> bool {
        let in_namespace = self.by_namespace.get(&*key.namespace).copied().unwrap_or_default();
        self.running >= self.settings.concurrency.max(1)
            || in_namespace >= self.settings.namespace_concurrency.max(1)
    }
}

/// The restart of a workload: its new pods read the current version of everything that it delivers.
fn restart(
    now: i64,
    key: &WorkloadKey,
    workload: &Workload,
    assessment: &Assessment,
    sources: &Sources,
) -> Step {
    let mut ledger = assessment.ledger.clone();
    for (source, version) in &assessment.stale {
        ledger.accept(Accepted { source: *source, version: *version, by_restart: true });
    }
    let versions = delivered_versions(workload, &ledger, sources);
    ledger.restarts.push(now);
    ledger.pending = None;
    ledger.rollout =
        Some(Followed { since: now, was_healthy: workload.is_healthy(), outcome: Outcome::Running });
    ledger.released.clone_from(&workload.release);
    ledger.phase = Phase::Restarting;
    Step::Restart { workload: key.clone(), marker: marker::write(&versions), ledger }
}

/// The accepted version of everything that a workload delivers.
fn delivered_versions<'a>(
    workload: &Workload,
    ledger: &Ledger,
    sources: &'a Sources,
) -> Vec<(&'a SourceRef, Version)> {
    let delivered = workload.deliveries.iter().filter(|delivery| current(delivery, sources).is_some());
    let accepted = delivered.filter_map(|delivery| ledger.accepted(delivery.source));
    accepted.map(|accepted| (sources.name(accepted.source), accepted.version)).collect()
}

/// Writes down what has changed of the workloads that are not restarted.
fn record(assessed: Vec<Assessed<'_>>, decision: &mut Decision) {
    let restarted: BTreeSet<WorkloadKey> =
        decision.steps.iter().map(|step| step.workload().clone()).collect();
    for (key, workload, assessment) in assessed {
        let is_new = workload.ledger.as_ref() != Some(&assessment.ledger);
        if is_new && !restarted.contains(key) {
            decision.steps.push(Step::Record { workload: key.clone(), ledger: assessment.ledger });
        }
    }
}
