//! The core of the restart controller: decides which workloads are restarted after a rotation, and when.
//! Pure: no I/O, no clock, no memory of events.
//!
//! [`decide()`] uses the state of the whole cluster each time and returns what to write. A workload is
//! restarted if a running pod is older than the current version of a secret that it reads at its start, and
//! neither the template's [marker](MARKER) nor the [ledger](Ledger) contains that version. A version that is
//! seen for the first time is only recorded.
//!
//! ```text
//! World + Settings + now -> assess each workload -> waves of shared secrets, limits -> Restart | Record
//! ```

#![expect(unreachable_pub, reason = "the derive of a schema copies each type into a function")]
#![expect(clippy::duplicated_attributes, reason = "columns of one type")]

mod agreement;
mod assess;
mod catalog;
mod choice;
mod decide;
mod definition;
mod ledger;
mod marker;
mod observe;
mod patch;
mod resource;
mod settings;
mod source;
mod text;
mod waves;
mod window;
mod workload;

#[cfg(test)]
mod tests;

pub use catalog::{Catalog, Defaults, is_older};
pub use choice::{Annotations, Candidate, Choice, Places, Selection, choose, keys};
pub use decide::{Decision, ObservedVersions, Step, World, decide};
pub use definition::definition;
pub use ledger::{
    AcceptedVersion, Doubt, Failure, Ledger, Outcome, PendingRestart, Phase, Queue, RolloutChange,
    RolloutRecord, Start, StoppedBy, Trial, Wait,
};
pub use marker::{MARKER, MarkedVersions, Marker};
pub use observe::{ClassStatus, State, class_status, pod, secret_version, state};
pub use patch::{FIELD_MANAGER, patch};
pub use resource::{
    ConditionState, PendingStatus, RolloutStatus, RotationRollout, RotationRolloutSpec,
    RotationRolloutStatus, VersionStatus, object_name, workload_of,
};
pub use settings::Settings;
pub use source::{SourceId, SourceKind, SourceRef, SourceState, Sources, Version, VersionError, digest};
pub use window::{Opening, Window, WindowError, WindowFault};
pub use workload::{
    Agreement, Delivery, Kind, Mode, NotFollowed, Pod, Progress, Refusal, Workload, WorkloadKey,
};
