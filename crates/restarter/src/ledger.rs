//! What a `RotationRollout` keeps about a workload: all that must outlive the controller.

use std::sync::Arc;

use crate::source::{SourceId, Version};

/// The most versions that are kept of sources that the workload no longer delivers.
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
    /// What is shown.
    pub phase: Phase,
}

/// A version for which no restart is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The secret.
    pub source: SourceId,
    /// Its version.
    pub version: Version,
    /// The workload was restarted for it. Otherwise it had the version when it was first seen, or its pods are newer.
    pub by_restart: bool,
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
    /// How it went.
    pub outcome: Outcome,
}

/// How a restart went.
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

/// What `kubectl get` shows of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Its pods have the current versions.
    #[default]
    Current,
    /// A restart waits.
    Waiting(Wait),
    /// It is being restarted.
    Restarting,
    /// The last restart failed.
    Failed(Failure),
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
    /// Another attempt: the API server has refused the patch.
    Refused(Box<str>),
    /// The pods to agree on the version of a CSI volume.
    Agreement,
    /// No further version within the debounce, and the workload's turn in the jitter.
    Settling,
    /// A rollout that is under way.
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
    },
    /// Its turn: the wave before it, or a limit of rollouts at once.
    Turn,
    /// A user, because the same version failed on another workload.
    Stopped {
        /// The secret.
        source: SourceId,
        /// The workload is in another namespace, whose names are not told.
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

    /// Forgets the versions of sources that are no longer delivered, beyond the first few: a template that is read without its
    /// policies for a moment must not lose what is known.
    pub(crate) fn trim(&mut self, is_delivered: impl Fn(SourceId) -> bool) {
        let mut kept = 0;
        self.accepted.retain(|accepted| {
            let is_kept = is_delivered(accepted.source) || kept < UNDELIVERED_KEPT;
            kept += usize::from(!is_delivered(accepted.source));
            is_kept
        });
    }

    /// Whether a rollout is under way that this controller started.
    pub fn is_restarting(&self) -> bool {
        matches!(self.rollout, Some(Followed { outcome: Outcome::Running, .. }))
    }
}
