//! The pure core of the ScaiVault injector: a pod and its context in, a [`Decision`] with a JSON patch out.
//!
//! No I/O, no clock, no environment, no log, no panic; equal input gives equal bytes. The webhook and the command
//! line are two shells around [`decide`].

mod decision;
mod intent;
mod kube_version;
mod patch;
mod pod;
mod problem;
mod settings;

pub mod manifest;

pub use decision::{Decision, Denial, Detachment, Injection, Skip, SkipReason};
pub use intent::Pattern;
pub use kube_version::{KubeVersion, KubeVersionError};
pub use patch::{Operation, Patch, Value};
pub use pod::{MalformedPod, PodView};
pub use problem::{Excerpt, Layer, Problem, Problems};
pub use settings::{InjectorConfig, OnProblem, Settings};

use std::collections::BTreeMap;

/// What is known about a pod besides the pod.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The injector's configuration.
    pub settings: &'a Settings,
    /// The namespace the pod will live in.
    pub namespace: &'a Namespace,
    /// The service account's annotation `scaikey.scailabs.ai/role`, the default of `role`.
    pub service_account_role: Option<&'a str>,
    /// `mutation-mode` on the workload's own metadata (the command line sees it; a pod's review does not carry it).
    pub workload_mutation_mode: Option<&'a str>,
    /// The older of API server and oldest kubelet.
    pub kube_version: KubeVersion,
}

/// A namespace: its name and those of its annotations that start with our prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// The name; empty where it is not known (offline, in a manifest without one).
    pub name: String,
    /// Annotations by full key; keys of others are ignored.
    pub annotations: BTreeMap<String, String>,
}

/// Decides what a pod gets.
pub fn decide(pod: &PodView<'_>, context: &Context<'_>) -> Decision {
    let _ = (pod, context);
    Decision::Skip(SkipReason::NotAnnotated.into())
}

/// Takes out all that carries a reserved name, receipt or not: `detach --by-name`.
pub fn detach_by_name(pod: &PodView<'_>) -> Decision {
    let _ = pod;
    Decision::Skip(SkipReason::NothingToDetach.into())
}
