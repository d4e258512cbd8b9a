//! The inputs of a decision other than the pod.

use std::collections::BTreeMap;

use scaivault_contract::names::ANNOTATION_PREFIX;

use crate::{kube_version::KubeVersion, mutation_mode::MutationMode, policy::PolicySet, settings::Settings};

/// The inputs of a decision other than the pod.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Context<'a> {
    /// The injector's configuration.
    pub settings: &'a Settings,
    /// The namespace of the pod.
    pub namespace: &'a Namespace,
    /// The service account's annotation `scaikey.scailabs.ai/role`, the default of `role`.
    pub service_account_role: Option<&'a str>,
    /// `mutation-mode` of the workload's own metadata. `None` in the review of a pod, which has the
    /// mode in its annotation `workload-mutation-mode`.
    pub workload_mutation_mode: Option<MutationMode>,
    /// The version of the API server or of the oldest kubelet, whichever is older.
    pub kube_version: KubeVersion,
    /// The cluster's policies.
    pub policies: &'a PolicySet,
    /// The current time for exceptions of policies, in Unix seconds.
    pub now: i64,
}

impl<'a> Context<'a> {
    /// A context with the required inputs and defaults for the others.
    pub fn new(settings: &'a Settings, namespace: &'a Namespace, kube_version: KubeVersion) -> Self {
        Self {
            settings,
            namespace,
            service_account_role: None,
            workload_mutation_mode: None,
            kube_version,
            policies: PolicySet::empty(),
            now: 0,
        }
    }

    /// Sets the cluster's policies, and the current time for their exceptions in Unix seconds.
    #[must_use]
    pub const fn with_policies(self, policies: &'a PolicySet, now: i64) -> Self {
        Self { policies, now, ..self }
    }

    /// Sets the service account's annotation `scaikey.scailabs.ai/role`, if it has one.
    #[must_use]
    pub const fn with_service_account_role(self, role: Option<&'a str>) -> Self {
        Self { service_account_role: role, ..self }
    }

    /// Sets the `mutation-mode` of the workload's own metadata, if it has one.
    #[must_use]
    pub const fn with_workload_mutation_mode(self, mode: Option<MutationMode>) -> Self {
        Self { workload_mutation_mode: mode, ..self }
    }
}

/// A namespace: its name, its annotations with the injector's prefix, and its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// The name; empty if it is unknown (offline, in a manifest without a namespace).
    pub name: String,
    /// Annotations by full key. Keys without the injector's prefix are ignored.
    pub annotations: BTreeMap<String, String>,
    /// Labels by full key, for policies' selectors. The caller must add
    /// `kubernetes.io/metadata.name`.
    pub labels: BTreeMap<String, String>,
}

impl Namespace {
    /// The injector's annotations, by key without the prefix.
    pub(crate) fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.annotations
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(ANNOTATION_PREFIX)?, value.as_str())))
    }

    /// The value of one of the injector's annotations, by key without the prefix.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations().find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}
