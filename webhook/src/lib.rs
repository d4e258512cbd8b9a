//! Admission over HTTPS: the I/O around `scaivault_inject`.
//!
//! ```text
//! bytes -> review::Request (borrowed) -> admit -> Verdict -> Reply (bytes)       synchronous, pure: review_to_response
//! accept -> TLS -> hyper -> router -> body within its limits -> review_to_response -> log line, metrics
//! ```
//!
//! The work on a review grows at most linearly with its size: loops over parts of a pod use sets
//! for lookups, hints and texts are created for the first problems only, and products of two sizes
//! are bounded. The core's unit tests count the accesses to a pod's texts, the fuzz target `cost`
//! checks its random input, and the benchmark `cost` measures CPU time.
//!
//! No lock is taken and no network is used between a request's bytes and its answer. The crate
//! contains no Kubernetes client and issues no certificates: it reads cluster objects through
//! [`Cluster`] and receives the TLS configuration as a rustls type.

mod admit;
mod body;
mod context;
mod endpoint;
mod lanes;
mod limits;
mod metrics;
mod object_meta;
mod ops;
mod pod_events;
mod policy_use;
mod readiness;
mod reason;
mod record;
mod reply;
mod review;
mod router;
mod serve;
#[cfg(test)]
mod testing;
mod throttled_log;

pub use context::{AdmissionContext, Cluster, Lookup, NoCluster, Policies, PolicyReview, PolicyUsage};
pub use endpoint::{Endpoint, MODE_PATH, MUTATE_FOR_POLICIES_PATH, MUTATE_PATH, POLICY_PATH, VALIDATE_PATH};
pub use limits::Limits;
pub use metrics::{EventResult, Metrics, PolicyState, PolicyWrite, SyncFailure};
pub use pod_events::{Owner, PodEvent, PodEventReason, PodEvents};
pub use readiness::{Gate, Readiness};
pub use reply::{Reply, review_to_response};
pub use serve::{
    AllowedSources, BindError, Bound, Network, NetworkError, RunningServer, Server, Shutdown, ShutdownReport,
};
