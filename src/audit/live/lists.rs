//! The lists to read, and their URLs.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResource};
use scaivault_policy::{KIND, VERSION};
use scaivault_usage::SourceKind;
use serde_json::{Map, Value};

use crate::audit::owners::ObjectKey;

/// The workloads that exist in every cluster, except `ReplicaSet`s and pods: `apiVersion`, kind,
/// plural.
pub(super) const WORKLOADS: [(&str, &str, &str); 6] = [
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("apps/v1", "DaemonSet", "daemonsets"),
    ("batch/v1", "CronJob", "cronjobs"),
    ("batch/v1", "Job", "jobs"),
    ("v1", "ReplicationController", "replicationcontrollers"),
];

/// The workloads of other products: API group, kind.
const CUSTOM_WORKLOADS: [(&str, &str); 2] =
    [("argoproj.io", "Rollout"), ("apps.openshift.io", "DeploymentConfig")];

/// The purpose of a listed kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It exists in every cluster.
    Standard,
    /// It creates pods.
    Workload,
    /// It writes native Secrets.
    SecretSource,
    /// The injector's policies.
    Policy,
}

/// A list request of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) api_version: String,
    pub(super) kind_name: String,
    plural: String,
    is_namespaced: bool,
    pub(super) kind: Kind,
}

/// The list of a kind that exists in every cluster.
pub(super) fn standard(api_version: &str, kind: &str, plural: &str) -> List {
    List {
        api_version: api_version.to_owned(),
        kind_name: kind.to_owned(),
        plural: plural.to_owned(),
        is_namespaced: true,
        kind: Kind::Standard,
    }
}

/// The group versions that may contain relevant kinds, with those kinds.
pub(super) fn discovered(groups: &[APIGroup]) -> BTreeMap<String, Vec<(&'static str, Kind)>> {
    let sources = SourceKind::all().map(|(group, kind)| (group, kind, Kind::SecretSource));
    let workloads = CUSTOM_WORKLOADS.into_iter().map(|(group, kind)| (group, kind, Kind::Workload));
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    let group = VERSION.split('/').next().unwrap_or_default();
    for (name, kind, purpose) in sources.chain(workloads).chain([(group, KIND, Kind::Policy)]) {
        let Some(group) = groups.iter().find(|group| group.name == name) else { continue };
        let Some(version) = group.preferred_version.as_ref().or(group.versions.first()) else { continue };
        found.entry(version.group_version.clone()).or_default().push((kind, purpose));
    }
    found
}

/// The lists of those kinds that exist in a group version.
pub(super) fn of_resources(
    version: &str,
    resources: &[APIResource],
    kinds: &[(&'static str, Kind)],
) -> Vec<List> {
    let lists = kinds.iter().filter_map(|(kind, purpose)| {
        // The name of a subresource contains a slash.
        let resource =
            resources.iter().find(|resource| resource.kind == *kind && !resource.name.contains('/'))?;
        Some(List {
            api_version: version.to_owned(),
            kind_name: (*kind).to_owned(),
            plural: resource.name.clone(),
            is_namespaced: resource.namespaced,
            kind: *purpose,
        })
    });
    lists.collect()
}

impl List {
    /// The same list for a cluster-scoped kind.
    pub(super) fn cluster_scoped(self) -> Self {
        Self { is_namespaced: false, ..self }
    }

    /// The URL path of the list, for one namespace or for all.
    pub(super) fn path(&self, namespace: Option<&str>) -> String {
        let Self { api_version, plural, .. } = self;
        let root = if api_version.contains('/') { "/apis" } else { "/api" };
        match namespace.filter(|_| self.is_namespaced) {
            Some(namespace) => format!("{root}/{api_version}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{api_version}/{plural}"),
        }
    }

    /// The resource as RBAC and kubectl name it: `deployments.apps`.
    pub(super) fn resource(&self) -> String {
        match self.api_version.split_once('/') {
            Some((group, _)) => format!("{}.{group}", self.plural),
            None => self.plural.clone(),
        }
    }

    /// The key by which owner references name an item.
    pub(super) fn key(&self, item: &Value) -> ObjectKey {
        let text = |pointer| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        ObjectKey::new(
            text("/metadata/namespace"),
            &self.api_version,
            &self.kind_name,
            text("/metadata/name"),
        )
    }

    /// An item as a complete object, with `apiVersion` and `kind`.
    pub(super) fn standalone(&self, item: Value) -> Value {
        let mut object = Map::new();
        object.insert("apiVersion".to_owned(), self.api_version.as_str().into());
        object.insert("kind".to_owned(), self.kind_name.as_str().into());
        if let Value::Object(fields) = item {
            object.extend(fields.into_iter().filter(|(key, _)| key != "apiVersion" && key != "kind"));
        }
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests;
