//! The state of workloads and their pods.

use std::{fmt, sync::Arc};

use crate::{
    ledger::Ledger,
    marker::Marker,
    source::{SourceId, SourceRef, Version},
    window::Window,
};

/// A supported kind of workload. Jobs are not restarted, because the next run of a CronJob reads the current
/// version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Deployment.
    Deployment,
    /// A `StatefulSet`.
    StatefulSet,
    /// A `DaemonSet`.
    DaemonSet,
    /// A Rollout of Argo Rollouts.
    Rollout,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet, Self::Rollout];

    /// The `kind`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Rollout => "Rollout",
        }
    }

    /// The `apiVersion`.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::Deployment | Self::StatefulSet | Self::DaemonSet => "apps/v1",
            Self::Rollout => "argoproj.io/v1alpha1",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A workload of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadKey {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
}

impl fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, kind, name } = self;
        write!(f, "{} {namespace}/{name}", kind.name())
    }
}

/// Whether a workload is restarted when its secrets change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Yes.
    #[default]
    Auto,
    /// Yes, after a user has released the restart.
    Manual,
    /// No.
    Off,
}

impl Mode {
    /// The accepted values.
    pub const ALLOWED: &'static str = "auto, manual or off";

    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Manual => "manual",
            Self::Off => "off",
        }
    }

    /// The mode of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Auto, Self::Manual, Self::Off].into_iter().find(|mode| mode.word() == word)
    }
}

/// A secret that a workload's pods read at their start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The secret.
    pub source: SourceId,
    /// The version in the workload's own pods. Versions of native Secrets and of ScaiVault are in
    /// [`crate::Sources`].
    pub agreement: Agreement,
}

/// The version of a CSI volume in the pods of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Agreement {
    /// The source is not a CSI volume.
    #[default]
    NotAsked,
    /// All pods have this version.
    Agreed(Version),
    /// Some pods have another version or no status yet. The lowest and the highest of the versions that the
    /// driver has written for a running pod.
    Disagreeing(Option<(Version, Version)>),
}

/// Secrets that are not followed, because there are too many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotFollowed {
    /// Their number.
    pub count: usize,
    /// One of them.
    pub first: Option<SourceRef>,
}

impl NotFollowed {
    pub(crate) fn add(&mut self, source: impl FnOnce() -> SourceRef) {
        self.first.get_or_insert_with(source);
        self.count += 1;
    }
}

/// A pod that has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each can be true by itself")]
pub struct Pod {
    /// When it was created, Unix seconds of the API server.
    pub created: i64,
    /// The digest of its annotation [`crate::MARKER`]; 0 without it.
    pub marker: u64,
    /// The driver has changed the files of one of its volumes since the pod started.
    pub has_changed_files: bool,
    /// Its containers were started.
    pub is_running: bool,
    /// It is ready.
    pub is_ready: bool,
    /// A container waits to be started again after a crash, or cannot be started.
    pub is_failing: bool,
    /// When a container last ended with an error and was, or will be, restarted, Unix seconds of the node; 0
    /// if none did.
    pub crashed_at: i64,
    /// Its first `metadata.resourceVersion`; 0 if it was first seen later.
    pub revision: u64,
}

/// The progress of a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// All pods are of the current template and available.
    #[default]
    Complete,
    /// All pods are of the current template, and some are not available.
    Unavailable,
    /// There are pods of an older template, or too few.
    Progressing,
    /// The workload's own controller has given up.
    DeadlineExceeded,
}

/// A patch that the API server has refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When it is retried, Unix seconds.
    pub until: i64,
    /// The message of the API server.
    pub message: Box<str>,
}

/// A workload whose pods may have to be restarted.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a workload can be")]
pub struct Workload {
    /// The digest of its `metadata.uid`, for a stable order and jitter.
    pub uid: u64,
    /// Its `metadata.resourceVersion`, which guards the patch.
    pub resource_version: Box<str>,
    /// Whether it is restarted.
    pub mode: Mode,
    /// Whether it is restarted before others that share a secret.
    pub is_canary: bool,
    /// The secrets that its pods read at their start.
    pub deliveries: Box<[Delivery]>,
    /// Secrets that its pods read and that are not followed.
    pub not_followed: NotFollowed,
    /// The versions of its last restart, from its template.
    pub marker: Option<Marker>,
    /// `spec.paused`.
    pub is_paused: bool,
    /// Whether its pods are only replaced after a user deletes them.
    pub is_on_delete: bool,
    /// It is a `StatefulSet` that keeps the pods below a partition.
    pub is_partitioned: bool,
    /// After how many seconds without progress its own controller gives up a rollout; `None` if it does not,
    /// or too late.
    pub deadline: Option<u32>,
    /// A pod without the newest version of a CSI volume; empty if none is known.
    pub awaited_pod: Box<str>,
    /// The progress of its rollout.
    pub progress: Progress,
    /// The number of pods in its status.
    pub replicas: u32,
    /// The windows of the workload or namespace; `None` for those of the settings.
    pub windows: Option<Arc<[Window]>>,
    /// The problems of its annotations; empty if there are none.
    pub problem: Box<str>,
    /// The refusal of the last patch. Until it is retried, the workload does not count towards the limits.
    pub refusal: Option<Refusal>,
    /// The value of the annotation `restart-release`; empty without it.
    pub release: Box<str>,
    /// Whether its pods have the template's marker. Those of an Argo Rollout do not.
    pub are_pods_marked: bool,
    /// Its pods that have not ended.
    pub pods: Box<[Pod]>,
    /// `metadata.resourceVersion` of its `RotationRollout`; empty without one.
    pub record_version: Box<str>,
    /// The state in its `RotationRollout`.
    pub ledger: Option<Ledger>,
}

impl Workload {
    /// Whether all its pods run.
    pub(crate) fn is_healthy(&self) -> bool {
        self.progress == Progress::Complete && !self.pods.iter().any(|pod| pod.is_failing)
    }
}
