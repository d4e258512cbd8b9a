//! What is known about a pod besides the pod.

use std::collections::BTreeMap;

use scaivault_contract::names::ANNOTATION_PREFIX;

use crate::{kube_version::KubeVersion, mutation_mode::MutationMode, policy::PolicySet, settings::Settings};

/// What is known about a pod besides the pod.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Context<'a> {
    /// The injector's configuration.
    pub settings: &'a Settings,
    /// The namespace the pod will live in.
    pub namespace: &'a Namespace,
    /// The service account's annotation `scaikey.scailabs.ai/role`, the default of `role`.
    pub service_account_role: Option<&'a str>,
    /// `mutation-mode` on the workload's own metadata. A pod's review does not carry it: there it stands in the pod's
    /// annotation `workload-mutation-mode`.
    pub workload_mutation_mode: Option<MutationMode>,
    /// The older of API server and oldest kubelet.
    pub kube_version: KubeVersion,
    /// The cluster's policies.
    pub policies: &'a PolicySet,
    /// The time by which exceptions of policies are over, Unix seconds.
    pub now: i64,
}

impl<'a> Context<'a> {
    /// What is always known. The rest is absent until it is added.
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

    /// With the cluster's policies and the time, in Unix seconds, by which their exceptions are over.
    #[must_use]
    pub const fn with_policies(self, policies: &'a PolicySet, now: i64) -> Self {
        Self { policies, now, ..self }
    }

    /// With the service account's `scaikey.scailabs.ai/role`, where it has one.
    #[must_use]
    pub const fn with_service_account_role(self, role: Option<&'a str>) -> Self {
        Self { service_account_role: role, ..self }
    }

    /// With the `mutation-mode` of the workload's own metadata, where it has one.
    #[must_use]
    pub const fn with_workload_mutation_mode(self, mode: Option<MutationMode>) -> Self {
        Self { workload_mutation_mode: mode, ..self }
    }
}

/// A namespace: its name, those of its annotations that start with our prefix, and its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// The name; empty where it is not known (offline, in a manifest without one).
    pub name: String,
    /// Annotations by full key; keys of others are ignored.
    pub annotations: BTreeMap<String, String>,
    /// Labels by full key, which policies select by. `kubernetes.io/metadata.name` is added by whoever makes the namespace.
    pub labels: BTreeMap<String, String>,
}

impl Namespace {
    /// Our annotations by key without the prefix.
    pub(crate) fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.annotations
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(ANNOTATION_PREFIX)?, value.as_str())))
    }

    /// One of our annotations, by its key without the prefix.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations().find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}
