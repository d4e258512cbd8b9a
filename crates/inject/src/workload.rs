//! Workloads: their annotations are validated when a user applies them, and their own
//! `mutation-mode` is carried over to their pods.
//!
//! Pure functions of the object and its previous state, like [`crate::decide()`] for a pod.

mod failure_policy;
mod mode;
mod templates;
mod validate;
mod view;

pub use mode::{Adjustment, AdjustmentReason, adjust};
pub use templates::{FormerObject, validate_object};
pub use validate::{Validation, ValidationReason, add_problems, decide, decide_with_policies, validate};
pub use view::{MalformedWorkload, WorkloadView};

/// The kinds whose own `mutation-mode` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
    /// `batch/v1` Job.
    Job,
    /// `batch/v1` CronJob.
    CronJob,
    /// `argoproj.io/v1alpha1` Rollout.
    Rollout,
    /// `apps.openshift.io/v1` `DeploymentConfig`.
    DeploymentConfig,
}

impl WorkloadKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::Job,
        Self::CronJob,
        Self::Rollout,
        Self::DeploymentConfig,
    ];

    /// The kind with these names; `None` for other objects. A `ReplicaSet` is not included, because
    /// its owner is.
    pub fn parse(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.names() == (api_version, kind))
    }

    /// The kind's name in Kubernetes.
    pub const fn name(self) -> &'static str {
        self.names().1
    }

    /// The RFC 6901 pointer to the pod template.
    pub const fn template_pointer(self) -> &'static str {
        match self {
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::Job
            | Self::Rollout
            | Self::DeploymentConfig => "/spec/template",
            Self::CronJob => "/spec/jobTemplate/spec/template",
        }
    }

    /// `apiVersion` and `kind`.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Deployment => ("apps/v1", "Deployment"),
            Self::StatefulSet => ("apps/v1", "StatefulSet"),
            Self::DaemonSet => ("apps/v1", "DaemonSet"),
            Self::Job => ("batch/v1", "Job"),
            Self::CronJob => ("batch/v1", "CronJob"),
            Self::Rollout => ("argoproj.io/v1alpha1", "Rollout"),
            Self::DeploymentConfig => ("apps.openshift.io/v1", "DeploymentConfig"),
        }
    }
}

/// The previous state of a workload.
#[derive(Clone, Copy, Debug)]
pub enum Former<'v, 'a> {
    /// There is none: the request creates the workload.
    Nothing,
    /// The previous object.
    Workload(&'v WorkloadView<'a>),
    /// There is a previous object, and it cannot be read.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    #[test]
    fn a_kind_is_known_by_version_and_name() {
        for kind in WorkloadKind::ALL {
            let (api_version, name) = kind.names();
            assert_eq!(WorkloadKind::parse(api_version, name), Some(*kind));
            assert_eq!(manifest::pod_pointer(api_version, name), Some(kind.template_pointer()), "{name}");
        }
        for (api_version, kind) in
            [("apps/v1", "ReplicaSet"), ("v1", "Pod"), ("batch/v1beta1", "CronJob"), ("", "")]
        {
            assert_eq!(WorkloadKind::parse(api_version, kind), None, "{kind}");
        }
    }
}
