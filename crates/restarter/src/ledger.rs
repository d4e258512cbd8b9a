//! The persistent state of a workload, which is stored in its `RotationRollout`.

use std::{ops::Deref, sync::Arc};

use crate::{
    settings::Settings,
    source::{SourceId, Version},
    workload::NotFollowed,
};

/// The maximum number of versions that are kept for sources that the workload no longer delivers.
const UNDELIVERED_KEPT: usize = 64;

/// The durable state of one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The versions for which no restart is needed, sorted by source.
    pub accepted: Vec<AcceptedVersion>,
    /// The pending restart.
    pub pending: Option<PendingRestart>,
    /// The times of recent restarts, Unix seconds, oldest first.
    pub restarts: Vec<i64>,
    /// The last restart.
    pub rollout: Option<RolloutRecord>,
    /// The last release that was used.
    pub released: Box<str>,
    /// The displayed phase.
    pub phase: Phase,
}

/// A version for which no restart is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedVersion {
    /// The secret.
    pub source: SourceId,
    /// Its version.
    pub version: Version,
    /// The result of a restart for it.
    pub trial: Trial,
}

/// The result of a restart for a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trial {
    /// No restart: the workload had the version when it was first seen, or its pods are newer.
    #[default]
    None,
    /// The last restart was for it, and it is not known to have failed.
    Running,
    /// A restart before the last one was for it, and succeeded.
    Ended,
    /// The workload failed with it, and has not recovered.
    Failed {
        /// Whether the controller began the restart itself. Otherwise the failure does not count in other
        /// namespaces.
        is_scheduled: bool,
    },
}

/// A pending restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRestart {
    /// Since when, Unix seconds.
    pub since: i64,
    /// The mode was `manual` when the newest of the versions arrived.
    pub is_manual: bool,
    /// The workload was healthy when the newest of the versions arrived.
    pub was_healthy: bool,
    /// The versions for which the workload will be restarted, sorted by source.
    pub versions: Vec<(SourceId, Version)>,
}

/// The last restart of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolloutRecord {
    /// When the template was patched, Unix seconds.
    pub since: i64,
    /// Its cause.
    pub start: Start,
    /// Whether the workload was complete and no pod failed before. Otherwise a failure says nothing about the
    /// secret.
    pub was_healthy: bool,
    /// How many of its pods have been replaced and are ready. Updated a few times during a rollout.
    pub replaced: u32,
    /// When that was updated, Unix seconds.
    pub progressed: i64,
    /// Since when the workload has been well after a failure, Unix seconds.
    pub well_since: Option<i64>,
    /// The outcome.
    pub outcome: Outcome,
}

impl RolloutRecord {
    /// A restart that begins.
    pub(crate) fn new(since: i64, start: Start, was_healthy: bool) -> Self {
        let outcome = Outcome::Running;
        Self { since, start, was_healthy, replaced: 0, progressed: since, well_since: None, outcome }
    }
}

/// The cause of a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The controller, when it was the workload's turn.
    #[default]
    Scheduled,
    /// A user, by a release.
    Released,
    /// Unknown: the template has a marker that is not in the ledger. Owners can also write one.
    Adopted,
}

/// The outcome of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Pods are still being replaced.
    Running,
    /// All pods were replaced and became available.
    Succeeded {
        /// When that was seen, Unix seconds.
        at: i64,
    },
    /// It failed.
    Failed(Failure),
}

/// Why a restart failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The workload's own controller has given up.
    DeadlineExceeded,
    /// New pods crash or cannot start.
    PodsFailing,
    /// It took longer than the controller waits.
    TimedOut,
    /// It was paused for longer than the controller waits.
    Paused,
}

/// The phase of a workload, as `kubectl get` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Its pods have the current versions.
    #[default]
    Current,
    /// No restart is pending, but it is not known whether all pods have the current version.
    Unknown(Doubt),
    /// A restart waits.
    Waiting(Wait),
    /// It is being restarted.
    Restarting,
    /// The last restart failed.
    Failed(Failure),
}

/// Why it is not known whether the pods of a workload have the current versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// No version of this secret can be read.
    NoVersion(SourceId),
    /// There are too many secrets.
    NotFollowed(NotFollowed),
    /// Some pods are older than the version of this secret, which was only recorded.
    FirstSight(SourceId),
}

/// What a restart waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A user's release.
    Release,
    /// Valid annotations.
    Invalid(Box<str>),
    /// The end of `spec.paused`.
    Paused,
    /// The deletion of its pods by a user.
    OnDelete,
    /// The removal of a `StatefulSet`'s partition, which keeps pods of the old template.
    Partition,
    /// Another attempt: the API server has refused the patch.
    Refused(Box<str>),
    /// The same version of a CSI volume in all pods.
    Agreement {
        /// A pod that does not have the newest version; empty if none is known.
        pod: Box<str>,
    },
    /// The debounce, and the workload's share of the jitter.
    Settling,
    /// A rollout in progress.
    Rollout,
    /// The minimum interval between restarts.
    Interval {
        /// When it ends, Unix seconds.
        until: i64,
    },
    /// The circuit breaker: there were too many restarts.
    Breaker {
        /// When the oldest restart no longer counts, Unix seconds.
        until: i64,
    },
    /// A maintenance window.
    Window {
        /// When one opens, Unix seconds; `None` if none opens again.
        opens: Option<i64>,
        /// A digest of the windows, so that they are not searched again before that time.
        asked: u64,
    },
    /// Its turn.
    Turn(Queue),
    /// A user, because the same version failed on another workload.
    Stopped {
        /// The secret.
        source: SourceId,
        /// Where it failed.
        by: StoppedBy,
    },
    /// Nothing, because the controller only reports.
    DryRun,
}

impl Phase {
    /// Whether a pending restart waits for its owner or for the controller, as a label.
    pub const fn waits_for(&self) -> &'static str {
        match self {
            Self::Waiting(
                Wait::Release | Wait::Invalid(_) | Wait::Paused | Wait::OnDelete | Wait::Partition,
            ) => Self::WAITS_FOR[0],
            _ => Self::WAITS_FOR[1],
        }
    }

    /// All results of `waits_for`.
    pub const WAITS_FOR: [&'static str; 2] = ["owner", "controller"];
}

/// Why it is not a workload's turn. Values that change with each restart of another workload are left out,
/// because each change is written to the status of all waiting workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queue {
    /// A canary of the namespace is being restarted.
    Canary {
        /// Its kind and name.
        workload: Arc<str>,
        /// Since when, Unix seconds.
        since: i64,
    },
    /// The canaries have succeeded and are still observed.
    Observation {
        /// When the observation ends, Unix seconds.
        until: i64,
    },
    /// Other workloads come first.
    Others,
    /// The limit of released rollouts of the namespace is reached.
    Releases,
}

/// Where a version failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoppedBy {
    /// On a workload of the same namespace: its kind and name.
    Workload(Arc<str>),
    /// In several other namespaces, whose names are not shown. Neither is their number: each change of it would write the status of all
    /// waiting workloads.
    Namespaces,
}

/// A change of the outcome of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutChange {
    /// It has succeeded.
    Succeeded,
    /// It has failed, possibly after it had succeeded.
    Failed(Failure),
    /// The workload has recovered from the failure.
    Recovered,
    /// Another restart of the workload began before its end.
    Replaced,
}

impl RolloutChange {
    /// The outcome as a label.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Recovered => "recovered",
            Self::Replaced => "replaced",
        }
    }

    /// The changes between two states of the last restart. They do not depend on the phase, because a failed
    /// workload can also be waiting for its next restart.
    pub fn between(before: Option<RolloutRecord>, after: Option<RolloutRecord>) -> Vec<Self> {
        let Some(after) = after else { return Vec::new() };
        // The time of the same restart only changes if a clock was wrong, and then to an earlier one.
        let is_same = before.is_some_and(|before| after.since <= before.since);
        let former = before.map_or(Outcome::Running, |before| before.outcome);
        let is_replaced = before.is_some() && !is_same && former == Outcome::Running;
        let was = if is_same { former } else { Outcome::Running };
        let ended = match (was, after.outcome) {
            (Outcome::Running, Outcome::Succeeded { .. }) => Some(Self::Succeeded),
            (Outcome::Failed(_), Outcome::Succeeded { .. }) => Some(Self::Recovered),
            (Outcome::Running | Outcome::Succeeded { .. }, Outcome::Failed(failure)) => {
                Some(Self::Failed(failure))
            }
            // A pause does not count as a failure of the versions.
            (Outcome::Failed(Failure::Paused), Outcome::Failed(failure)) if failure != Failure::Paused => {
                Some(Self::Failed(failure))
            }
            _ => None,
        };
        is_replaced.then_some(Self::Replaced).into_iter().chain(ended).collect()
    }
}

/// The next state of a workload, without a copy if it does not change.
#[derive(Debug)]
pub(crate) enum NextLedger<'a> {
    Unchanged(&'a Ledger),
    Changed(Box<Ledger>),
}

impl NextLedger<'_> {
    pub(crate) fn set_phase(&mut self, phase: Phase) {
        match self {
            Self::Unchanged(ledger) if ledger.phase == phase => {}
            Self::Unchanged(ledger) => *self = Self::Changed(Box::new(Ledger { phase, ..ledger.clone() })),
            Self::Changed(ledger) => ledger.phase = phase,
        }
    }
}

impl Deref for NextLedger<'_> {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        match self {
            Self::Unchanged(ledger) => ledger,
            Self::Changed(ledger) => ledger,
        }
    }
}

impl Ledger {
    /// The version of a source for which no restart is needed.
    pub fn accepted(&self, source: SourceId) -> Option<AcceptedVersion> {
        let index = self.accepted.binary_search_by_key(&source, |accepted| accepted.source).ok()?;
        Some(self.accepted[index])
    }

    /// Accepts a version.
    pub fn accept(&mut self, accepted: AcceptedVersion) {
        match self.accepted.binary_search_by_key(&accepted.source, |accepted| accepted.source) {
            Ok(index) => self.accepted[index] = accepted,
            Err(index) => self.accepted.insert(index, accepted),
        }
    }

    /// Removes the versions of sources that are no longer delivered, except a few: a template that is briefly
    /// read without its policies must not lose its versions.
    pub(crate) fn trim(&mut self, is_delivered: impl Fn(SourceId) -> bool) {
        let mut kept = 0;
        self.accepted.retain(|accepted| {
            let is_kept = is_delivered(accepted.source) || kept < UNDELIVERED_KEPT;
            kept += usize::from(!is_delivered(accepted.source));
            is_kept
        });
    }

    /// Whether a rollout that this controller started is in progress.
    pub fn is_restarting(&self) -> bool {
        matches!(self.rollout, Some(RolloutRecord { outcome: Outcome::Running, .. }))
    }

    /// Whether the workload failed with a version and has not recovered, so that other restarts for that
    /// version have stopped.
    pub fn has_failed(&self) -> bool {
        self.accepted.iter().any(|accepted| matches!(accepted.trial, Trial::Failed { .. }))
    }

    /// Records the outcome of the last restart for its versions, if it counts.
    pub(crate) fn judge(&mut self, rollout: RolloutRecord, counts: bool) {
        let is_scheduled = rollout.start == Start::Scheduled;
        self.change_trials(|trial| match (trial, rollout.outcome) {
            (Trial::Running, Outcome::Failed(_)) if counts => Trial::Failed { is_scheduled },
            (Trial::Running, Outcome::Succeeded { .. }) if !counts => Trial::None,
            (trial, _) => trial,
        });
    }

    /// Records that the workload works with the versions with which it had failed.
    pub(crate) fn recover(&mut self) {
        self.change_trials(|trial| match trial {
            Trial::Failed { .. } => Trial::Running,
            trial => trial,
        });
    }

    /// Records a new restart. A version that was still under observation remains so, because the next
    /// rollout also tests it.
    pub(crate) fn begin(&mut self, followed: RolloutRecord, settings: &Settings) {
        let ended = match self.rollout.map(|rollout| rollout.outcome) {
            Some(Outcome::Running) => Trial::Running,
            Some(Outcome::Succeeded { at }) if followed.since < at + settings.observation => Trial::Running,
            Some(Outcome::Succeeded { .. }) => Trial::Ended,
            Some(Outcome::Failed(_)) | None => Trial::None,
        };
        self.change_trials(|trial| if trial == Trial::Running { ended } else { trial });
        self.restarts.push(followed.since);
        self.restarts.drain(..self.restarts.len().saturating_sub(settings.breaker_restarts.max(1)));
        self.rollout = Some(followed);
    }

    fn change_trials(&mut self, change: impl Fn(Trial) -> Trial) {
        for accepted in &mut self.accepted {
            accepted.trial = change(accepted.trial);
        }
    }
}
