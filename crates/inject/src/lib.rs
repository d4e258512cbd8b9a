//! The pure core of the ScaiVault injector: takes a pod and its context, and returns a [`Decision`]
//! with a JSON patch.
//!
//! No I/O, no clock, no environment, no log, no panic; equal input gives equal bytes. The webhook and the
//! command line are two shells around [`decide()`].
//!
//! ```text
//! PodView + Context -> mode -> Draft + Problems -> Intent -> Plan + Receipt -> Patch -> Decision
//! ```

mod bare_pod;
mod context;
mod decide;
mod decision;
mod delivered;
mod derived;
mod detach;
mod explain;
mod intent;
mod known_sidecars;
mod kube_version;
mod layer;
mod limits;
mod mutation_mode;
mod ownership;
mod patch;
mod pattern;
mod plan;
mod pod;
mod policy;
mod problem;
mod quantity;
mod receipt;
mod reinvocation;
mod settings;

pub mod annotations;
pub mod manifest;
#[cfg(any(test, feature = "count-work"))]
pub mod work;
pub mod workload;

pub use bare_pod::{DefaultsReport, check_namespace, check_service_account_role};
pub use context::{Context, Namespace};
pub use decide::{NOT_INJECTED, decide, decide_with_policies, detach_by_name};
pub use decision::{Decision, Denial, Detachment, Injection, Skip, SkipReason};
pub use delivered::{DeliveredSecret, PodSecrets, delivered};
pub use derived::{DerivedSetting, derived};
pub use explain::{Explanation, explain};
pub use known_sidecars::SidecarsConfig;
pub use kube_version::{KubeVersion, KubeVersionError};
pub use layer::{Layer, Setters};
pub use mutation_mode::MutationMode;
pub use patch::{Operation, Patch, Value};
pub use pattern::Pattern;
pub use pod::{MalformedPod, PodView, each_item};
pub use policy::{
    Allow, Ask, AskKind, Enforcement, Exception, Expression, Operator, Policy, PolicyConflict, PolicyEffect,
    PolicyMode, PolicyParts, PolicyReport, PolicyRestart, PolicySet, PolicyUse, Selector, VariablePlace,
    VolumeContext, VolumeRefusal, VolumeReview, VolumeVariables, sample_volume_text,
};
pub use problem::{Code, Excerpt, Problem, Problems, shown_key};
pub use settings::{ImagePullPolicy, InjectorConfig, OnProblem, Settings};
