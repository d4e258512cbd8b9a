//! The offline equivalent of a cluster: what the webhook would read there in addition to the
//! manifest.

use std::collections::BTreeMap;

use scaivault_contract::names::SERVICE_ACCOUNT_ROLE_ANNOTATION;
use scaivault_inject::{KubeVersion, Namespace, PolicySet, Settings};

use crate::object::Object;

/// Configuration, cluster version, namespaces and service accounts.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfflineCluster {
    /// The injector's configuration.
    pub(crate) settings: Settings,
    /// The cluster's version.
    pub(crate) kube_version: KubeVersion,
    /// The cluster's policies.
    pub(crate) policies: PolicySet,
    /// The time at which expiry of exceptions is checked, Unix seconds.
    pub(crate) now: i64,
    /// From `--namespace-file`: these take precedence, and a single one also applies to manifests
    /// without a namespace.
    given: BTreeMap<String, Namespace>,
    /// From the manifests.
    found: BTreeMap<String, Namespace>,
    /// `scaikey.scailabs.ai/role` by namespace and service account.
    roles: BTreeMap<(String, String), String>,
}

impl OfflineCluster {
    /// Without namespaces and service accounts.
    pub(crate) fn new(settings: Settings, kube_version: KubeVersion) -> Self {
        Self { settings, kube_version, ..Self::default() }
    }

    /// Records the object as a given namespace if it is one, and returns whether it is.
    pub(crate) fn give_namespace(&mut self, object: &Object<'_>) -> bool {
        let namespace = namespace(object);
        let is_namespace = namespace.is_some();
        self.given.extend(namespace.map(|namespace| (namespace.name.clone(), namespace)));
        is_namespace
    }

    /// Records an object in the manifests that others depend on: a namespace, or a service
    /// account's role.
    pub(crate) fn note(&mut self, object: &Object<'_>) {
        self.found.extend(namespace(object).map(|namespace| (namespace.name.clone(), namespace)));
        if object.api_version == "v1"
            && object.kind == "ServiceAccount"
            && let Some(role) = object.annotation(SERVICE_ACCOUNT_ROLE_ANNOTATION)
        {
            let key = (object.namespace().to_owned(), object.name().to_owned());
            self.roles.insert(key, role.to_owned());
        }
    }

    /// The namespace of that name. A manifest without one gets the only given namespace.
    pub(crate) fn namespace(&self, name: &str) -> Namespace {
        let known = match self.given.first_key_value() {
            Some((_, only)) if name.is_empty() && self.given.len() == 1 => Some(only),
            _ => self.given.get(name).or_else(|| self.found.get(name)),
        };
        known.cloned().unwrap_or_else(|| {
            let labels = named_label(name).into_iter().collect();
            Namespace { name: name.to_owned(), labels, ..Namespace::default() }
        })
    }

    /// Whether the namespace of that name is in the manifests.
    pub(crate) fn knows_namespace(&self, name: &str) -> bool {
        let is_only = name.is_empty() && self.given.len() == 1;
        is_only || self.given.contains_key(name) || self.found.contains_key(name)
    }

    /// The role of a service account, by `metadata.namespace` and name as written in the manifests.
    pub(crate) fn role(&self, namespace: &str, service_account: &str) -> Option<&str> {
        let key = (namespace.to_owned(), service_account.to_owned());
        self.roles.get(&key).map(String::as_str)
    }
}

/// Converts an object to a namespace, with its annotations that concern the injector; `None` for
/// other kinds.
pub(crate) fn namespace(object: &Object<'_>) -> Option<Namespace> {
    let is_namespace = object.api_version == "v1" && object.kind == "Namespace";
    is_namespace.then(|| Namespace {
        name: object.name().to_owned(),
        annotations: object
            .our_annotations()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        labels: object
            .labels()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .chain(named_label(object.name()))
            .collect(),
    })
}

/// The label that the API server sets on every namespace.
pub(crate) const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// That label with a value; `None` if the name is not known.
pub(crate) fn named_label(name: &str) -> Option<(String, String)> {
    (!name.is_empty()).then(|| (NAMESPACE_NAME_LABEL.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::object::objects;

    fn namespace(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": {
            "scaivault.scailabs.ai/url": name,
            "other.example.com/url": name,
        }}})
    }

    fn given(documents: &[Value]) -> OfflineCluster {
        let mut cluster = OfflineCluster::default();
        for object in documents.iter().flat_map(objects) {
            assert!(cluster.give_namespace(&object));
        }
        cluster
    }

    fn noted(documents: &[Value]) -> OfflineCluster {
        let mut cluster = OfflineCluster::default();
        for object in documents.iter().flat_map(objects) {
            cluster.note(&object);
        }
        cluster
    }

    #[test]
    fn a_namespace_has_its_prefixed_annotations() {
        let found = given(&[namespace("a"), namespace("b")]).namespace("b");
        assert_eq!(found.name, "b");
        let annotations: Vec<_> = found.annotations.into_iter().collect();
        assert_eq!(annotations, [("scaivault.scailabs.ai/url".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn the_only_namespace_is_also_that_of_manifests_without_one() {
        assert_eq!(given(&[namespace("a")]).namespace("").name, "a");
        assert_eq!(given(&[namespace("a"), namespace("b")]).namespace("").name, "");
        assert_eq!(given(&[namespace("a")]).namespace("other").annotations.len(), 0);
    }

    /// kubectl decides the namespace of a manifest without one, independent of other manifests.
    #[test]
    fn a_given_namespace_overrides_the_manifests_one() {
        let mut cluster = noted(&[namespace("a")]);
        assert_eq!(cluster.namespace("a").annotations.len(), 1);
        assert_eq!(cluster.namespace("").annotations.len(), 0);
        let plain = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
        cluster.give_namespace(&objects(&plain)[0]);
        assert_eq!(cluster.namespace("a").annotations.len(), 0);
    }

    #[test]
    fn a_role_is_found_in_its_namespace_only() {
        let cluster = noted(&[json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "app", "namespace": "a", "annotations": {"scaikey.scailabs.ai/role": "billing"}},
        })]);
        assert_eq!(cluster.role("a", "app"), Some("billing"));
        assert_eq!(cluster.role("", "app"), None);
        assert_eq!(cluster.role("a", "default"), None);
    }
}
