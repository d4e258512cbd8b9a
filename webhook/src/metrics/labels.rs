//! The closed sets of values of counter labels.

use crate::throttled_log::Cause;

/// Why a request or a connection was shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShedReason {
    Requests,
    Memory,
    MemoryPerSource,
    Connections,
    ConnectionsPerSource,
    Source,
    Waiting,
}

impl From<ShedReason> for Cause {
    fn from(shed: ShedReason) -> Self {
        match shed {
            ShedReason::Requests => Self::Requests,
            ShedReason::Memory => Self::Memory,
            ShedReason::MemoryPerSource => Self::MemoryPerSource,
            ShedReason::Connections => Self::Connections,
            ShedReason::ConnectionsPerSource => Self::ConnectionsPerSource,
            ShedReason::Source => Self::Source,
            ShedReason::Waiting => Self::Waiting,
        }
    }
}

/// The result of posting an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventResult {
    /// The API server accepted it.
    Posted,
    /// The API server rejected it.
    Failed,
    /// The rate limit of its owner, or the global one, was exceeded.
    Limited,
    /// The queue was full.
    Dropped,
}

/// The state of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// It is in force in its current version.
    InForce,
    /// Its current version cannot be used, and its last valid version is in force.
    Kept,
    /// It cannot be used, and no version of it is in force.
    Rejected,
    /// It is in force and conflicts with another policy.
    Conflicted,
    /// It was deleted and stays in force, because its CRD was deleted too, or because the API
    /// server cannot confirm that the CRD exists.
    Held,
}

/// The result of a write that policies cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyWrite {
    /// The status of a policy was written.
    Status,
    /// Another replica wrote the status first; the write is retried.
    StatusConflict,
    /// The API server rejected a status.
    StatusFailed,
    /// The label of a namespace was set or removed.
    Label,
    /// The label was set on a namespace created less than a minute before, whose first pods may not
    /// have been injected.
    LabelLate,
    /// The API server rejected a label.
    LabelFailed,
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    Evicted,
    Idle,
    NoRequest,
    Unread,
}

/// Why a sync of the Secret and the webhook configurations failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFailure {
    /// The Secret cannot be read or written, or its content cannot be used.
    Secret,
    /// A webhook configuration cannot be read or written.
    Configuration,
    /// Other replicas wrote first in every attempt.
    Conflict,
    /// No certificate could be issued.
    Issue,
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeFailure {
    Timeout,
    Closed,
    Rejected,
    Invalid,
}

/// A counter for each value of a closed set, without lookups and locks.
pub(super) trait Label: Copy + Eq + 'static {
    const ALL: &'static [Self];
    fn name(self) -> &'static str;
}

macro_rules! labels {
    ($($type:ident { $($variant:ident = $name:literal),* $(,)? })*) => {
        $(impl Label for $type {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        })*
    };
}

labels! {
    ShedReason {
        Requests = "requests",
        Memory = "memory",
        MemoryPerSource = "memory-per-source",
        Connections = "connections",
        ConnectionsPerSource = "connections-per-source",
        Source = "source",
        Waiting = "waiting",
    }
    EventResult {
        Posted = "posted",
        Failed = "failed",
        Limited = "limited",
        Dropped = "dropped",
    }
    PolicyState {
        InForce = "in-force",
        Kept = "kept",
        Rejected = "rejected",
        Conflicted = "conflicted",
        Held = "held",
    }
    PolicyWrite {
        Status = "status",
        StatusConflict = "status-conflict",
        StatusFailed = "status-failed",
        Label = "label",
        LabelLate = "label-late",
        LabelFailed = "label-failed",
    }
    CloseReason {
        Evicted = "evicted",
        Idle = "idle",
        NoRequest = "no-request",
        Unread = "unread",
    }
    SyncFailure {
        Secret = "secret",
        Configuration = "configuration",
        Conflict = "conflict",
        Issue = "issue",
    }
    HandshakeFailure {
        Timeout = "timeout",
        Closed = "closed",
        Rejected = "rejected",
        Invalid = "invalid",
    }
}
