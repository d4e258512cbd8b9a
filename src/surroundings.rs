//! What the command line knows about a manifest besides the manifest: what the webhook would see in the cluster.

use std::collections::BTreeMap;

use scaivault_contract::names::SERVICE_ACCOUNT_ROLE_ANNOTATION;
use scaivault_inject::{KubeVersion, Namespace, Settings};

use crate::object::Object;

/// Configuration, cluster version, namespaces and service accounts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// The injector's configuration.
    pub(crate) settings: Settings,
    /// The cluster's version.
    pub(crate) kube_version: KubeVersion,
    namespaces: BTreeMap<String, Namespace>,
    /// `scaikey.scailabs.ai/role` by namespace and service account.
    roles: BTreeMap<(String, String), String>,
}

impl Surroundings {
    /// Without a namespace or service account yet.
    pub(crate) fn new(settings: Settings, kube_version: KubeVersion) -> Self {
        Self { settings, kube_version, ..Self::default() }
    }

    /// Notes the object if it is a namespace, and says whether it is.
    pub(crate) fn note_namespace(&mut self, object: &Object<'_>) -> bool {
        let is_namespace = object.api_version == "v1" && object.kind == "Namespace";
        if is_namespace {
            let name = object.name().to_owned();
            let annotations =
                object.our_annotations().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            self.namespaces.insert(name.clone(), Namespace { name, annotations });
        }
        is_namespace
    }

    /// Notes the object's role if it is a service account with one.
    pub(crate) fn note_service_account(&mut self, object: &Object<'_>) {
        if object.api_version == "v1"
            && object.kind == "ServiceAccount"
            && let Some(role) = object.annotation(SERVICE_ACCOUNT_ROLE_ANNOTATION)
        {
            let key = (object.namespace().to_owned(), object.name().to_owned());
            self.roles.insert(key, role.to_owned());
        }
    }

    /// The namespace of that name. A manifest without one gets the only namespace that is known.
    pub(crate) fn namespace(&self, name: &str) -> Namespace {
        let known = match self.namespaces.first_key_value() {
            Some((_, only)) if name.is_empty() && self.namespaces.len() == 1 => Some(only),
            _ => self.namespaces.get(name),
        };
        known.cloned().unwrap_or_else(|| Namespace { name: name.to_owned(), ..Namespace::default() })
    }

    /// The role of a service account, as `(metadata.namespace, name)` stand in the manifests.
    pub(crate) fn role(&self, namespace: &str, service_account: &str) -> Option<&str> {
        let key = (namespace.to_owned(), service_account.to_owned());
        self.roles.get(&key).map(String::as_str)
    }
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

    fn noted(documents: &[Value]) -> Surroundings {
        let mut surroundings = Surroundings::default();
        for object in documents.iter().flat_map(objects) {
            surroundings.note_namespace(&object);
            surroundings.note_service_account(&object);
        }
        surroundings
    }

    #[test]
    fn a_namespace_brings_its_own_annotations_under_our_prefix() {
        let found = noted(&[namespace("a"), namespace("b")]).namespace("b");
        assert_eq!(found.name, "b");
        let annotations: Vec<_> = found.annotations.into_iter().collect();
        assert_eq!(annotations, [("scaivault.scailabs.ai/url".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn the_only_namespace_is_also_that_of_manifests_without_one() {
        assert_eq!(noted(&[namespace("a")]).namespace("").name, "a");
        assert_eq!(noted(&[namespace("a"), namespace("b")]).namespace("").name, "");
        assert_eq!(noted(&[namespace("a")]).namespace("other").annotations.len(), 0);
    }

    #[test]
    fn a_role_is_found_in_its_namespace_only() {
        let surroundings = noted(&[json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "app", "namespace": "a", "annotations": {"scaikey.scailabs.ai/role": "billing"}},
        })]);
        assert_eq!(surroundings.role("a", "app"), Some("billing"));
        assert_eq!(surroundings.role("", "app"), None);
        assert_eq!(surroundings.role("a", "default"), None);
    }
}
