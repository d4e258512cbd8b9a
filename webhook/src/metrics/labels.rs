//! The closed sets of values that a label of a counter takes.

use crate::warnings::Cause;

/// Why a request or a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shed {
    Requests,
    Memory,
    MemoryPerSource,
    Connections,
    ConnectionsPerSource,
    Source,
    Waiting,
}

impl From<Shed> for Cause {
    fn from(shed: Shed) -> Self {
        match shed {
            Shed::Requests => Self::Requests,
            Shed::Memory => Self::Memory,
            Shed::MemoryPerSource => Self::MemoryPerSource,
            Shed::Connections => Self::Connections,
            Shed::ConnectionsPerSource => Self::ConnectionsPerSource,
            Shed::Source => Self::Source,
            Shed::Waiting => Self::Waiting,
        }
    }
}

/// What became of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventResult {
    /// The API server has it.
    Posted,
    /// The API server did not take it.
    Failed,
    /// Its owner had enough of them, or all together had.
    Limited,
    /// The queue was full.
    Dropped,
}

/// What holds for a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// It is in force as it is written.
    InForce,
    /// It cannot be used as it is written, and its last good version is in force.
    Kept,
    /// It cannot be used, and no version of it is in force.
    Rejected,
    /// It is in force and disagrees with another one.
    Conflicted,
    /// The API server has deleted it, and it stays in force: its CRD was deleted, too, or the API server does not say.
    Held,
}

/// What became of something that the injector writes because of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyWrite {
    /// The status of a policy is written.
    Status,
    /// Another replica wrote the status first; it is written again.
    StatusConflict,
    /// The API server did not take a status.
    StatusFailed,
    /// The label of a namespace is set or removed.
    Label,
    /// The label of a namespace is set that was made less than a minute before: its first pods may have missed it.
    LabelLate,
    /// The API server did not take a label.
    LabelFailed,
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    Evicted,
    Idle,
    NoRequest,
    Unread,
}

/// Why a look at the Secret and the webhook configurations failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookFailure {
    /// The Secret cannot be read or written, or what it holds cannot be used.
    Secret,
    /// A webhook configuration cannot be read or written.
    Configuration,
    /// Other replicas wrote first, again and again.
    Conflict,
    /// No certificate could be made.
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

/// A counter for each value of a closed set: no lookup, no lock.
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
    Shed {
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
    Closed {
        Evicted = "evicted",
        Idle = "idle",
        NoRequest = "no-request",
        Unread = "unread",
    }
    LookFailure {
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
