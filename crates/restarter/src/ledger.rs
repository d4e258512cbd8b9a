//! The persistent state of a workload, which is stored in its `RotationRollout`.

use std::sync::Arc;

use crate::{
    source::{SourceId, Version},
    workload::NotFollowed,
};

/// The maximum number of versions that are kept for sources that the workload no longer delivers.
const UNDELIVERED_KEPT: usize = 64;

/// The durable state of one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The versions for which no restart is needed, sorted by source.
    pub accepted: Vec<Accepted>,
    /// The restart that waits.
    pub pending: Option<Pending>,
    /// When it was restarted lately, Unix seconds, oldest first.
    pub restarts: Vec<i64>,
    /// The last restart.
    pub rollout: Option<Followed>,
    /// The last release that was used.
    pub released: Box<str>,
    /// The displayed phase.
    pub phase: Phase,
}

/// A version for which no restart is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
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
    /// There was none: the workload had the version when it was first seen, or its pods are newer.
    #[default]
    None,
    /// The last restart was for it, and it is not known to have failed.
    Running,
    /// A restart before the last one was for it, and ended.
    Ended,
    /// The workload failed with it, and has not recovered.
    Failed,
}

/// A restart that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Since when, Unix seconds.
    pub since: i64,
    /// The mode was `manual` when the newest of the versions arrived.
    pub is_manual: bool,
    /// What it is for, sorted by source.
    pub versions: Vec<(SourceId, Version)>,
}

/// The last restart of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// When the template was patched, Unix seconds.
    pub since: i64,
    /// The workload was complete and no pod failed before. Only then a failure says something about the secret.
    pub was_healthy: bool,
    /// How many of its pods have been replaced, and are not failing. Noted a few times during a rollout.
    pub replaced: u32,
    /// When that was noted, Unix seconds.
    pub progressed: i64,
    /// The outcome.
    pub outcome: Outcome,
}

impl Followed {
    /// A restart that begins.
    pub(crate) fn new(since: i64, was_healthy: bool) -> Self {
        Self { since, was_healthy, replaced: 0, progressed: since, outcome: Outcome::Running }
    }
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
    /// There is no version of this secret to be had.
    NoVersion(SourceId),
    /// There are too many secrets.
    NotFollowed(NotFollowed),
    /// Some pods are older than the version of this secret, which was only written down.
    FirstSight(SourceId),
}

/// What a restart waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A user's release.
    Release,
    /// Its annotations to be corrected.
    Invalid(Box<str>),
    /// `spec.paused` to go.
    Paused,
    /// Its pods to be deleted by hand.
    OnDelete,
    /// The partition of a `StatefulSet` to go, which keeps pods of the old template.
    Partition,
    /// Another attempt: the API server has refused the patch.
    Refused(Box<str>),
    /// The pods to agree on the version of a CSI volume.
    Agreement {
        /// A pod that has not the newest version; empty if none is known.
        pod: Box<str>,
    },
    /// The debounce, and the workload's share of the jitter.
    Settling,
    /// A rollout in progress.
    Rollout,
    /// The shortest time between restarts.
    Interval {
        /// The end of it, Unix seconds.
        until: i64,
    },
    /// The circuit breaker: there were too many restarts.
    Breaker {
        /// When the oldest restart no longer counts, Unix seconds.
        until: i64,
    },
    /// A maintenance window.
    Window {
        /// When one opens, Unix seconds; none if none opens again.
        opens: Option<i64>,
        /// A digest of the windows that were searched. They are not searched again before that time.
        asked: u64,
    },
    /// Its turn: the previous wave, or a limit of concurrent rollouts.
    Turn,
    /// A user, because the same version failed on another workload.
    Stopped {
        /// The secret.
        source: SourceId,
        /// The workload; `None` if it failed in several other namespaces, whose names are not shown.
        by: Option<Arc<str>>,
    },
    /// Nothing: the controller only reports.
    DryRun,
}

impl Ledger {
    /// The version of a source for which no restart is needed.
    pub fn accepted(&self, source: SourceId) -> Option<Accepted> {
        let index = self.accepted.binary_search_by_key(&source, |accepted| accepted.source).ok()?;
        Some(self.accepted[index])
    }

    /// Accepts a version.
    pub fn accept(&mut self, accepted: Accepted) {
        match self.accepted.binary_search_by_key(&accepted.source, |accepted| accepted.source) {
            Ok(index) => self.accepted[index] = accepted,
            Err(index) => self.accepted.insert(index, accepted),
        }
    }

    /// Removes the versions of sources that are no longer delivered, except a few: a template that is read
    /// without its policies for a moment must not lose its versions.
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
        matches!(self.rollout, Some(Followed { outcome: Outcome::Running, .. }))
    }

    /// Whether the workload failed with a version and has not recovered.
    pub(crate) fn has_failed(&self) -> bool {
        self.accepted.iter().any(|accepted| accepted.trial == Trial::Failed)
    }

    /// Records the result of the last restart for its versions. Versions of earlier restarts that failed on
    /// the workload recover with it.
    pub(crate) fn judge(&mut self, outcome: Outcome, says_something: bool) {
        for accepted in &mut self.accepted {
            accepted.trial = match (accepted.trial, outcome) {
                (Trial::Running, Outcome::Failed(_)) if says_something => Trial::Failed,
                (Trial::Failed, Outcome::Succeeded { .. }) => Trial::Running,
                (trial, _) => trial,
            };
        }
    }

    /// Records a new restart. A version that was still under observation remains so, because the next
    /// rollout also tests it.
    pub(crate) fn begin(&mut self, followed: Followed, observation: i64) {
        let has_ended = match self.rollout.map(|rollout| rollout.outcome) {
            Some(Outcome::Running) => false,
            Some(Outcome::Succeeded { at }) => followed.since >= at + observation,
            Some(Outcome::Failed(_)) | None => true,
        };
        for accepted in self.accepted.iter_mut().filter(|accepted| accepted.trial == Trial::Running) {
            accepted.trial = if has_ended { Trial::Ended } else { Trial::Running };
        }
        self.restarts.push(followed.since);
        self.rollout = Some(followed);
    }
}
