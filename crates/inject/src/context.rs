//! What is known about a pod besides the pod.

use std::collections::BTreeMap;

use scaivault_contract::names::ANNOTATION_PREFIX;

use crate::{kube_version::KubeVersion, mutation_mode::MutationMode, settings::Settings};

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
}

impl<'a> Context<'a> {
    /// What is always known. The rest is absent until it is added.
    pub const fn new(settings: &'a Settings, namespace: &'a Namespace, kube_version: KubeVersion) -> Self {
        Self { settings, namespace, service_account_role: None, workload_mutation_mode: None, kube_version }
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

/// A namespace: its name and those of its annotations that start with our prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// The name; empty where it is not known (offline, in a manifest without one).
    pub name: String,
    /// Annotations by full key; keys of others are ignored.
    pub annotations: BTreeMap<String, String>,
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
