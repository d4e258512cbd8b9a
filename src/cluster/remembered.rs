//! What is kept of each kind of object: its name and what the injector reads off it, nothing else.

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::{api::core::v1 as core, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use scaivault_contract::names::{ANNOTATION_PREFIX, SERVICE_ACCOUNT_ROLE_ANNOTATION};
use scaivault_inject::Namespace;
use serde::de::DeserializeOwned;

use super::{Memory, table::Table};

/// A kind of object that is watched into memory.
pub(super) trait Remembered:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// What is kept of one.
    type Kept: Clone + PartialEq + Send + Sync;

    /// The plural name, as in RBAC rules and metrics.
    const RESOURCE: &'static str;

    /// What `/readyz` waits for until the first list is there.
    const GATE: &'static str;

    /// What is kept of an object with this metadata.
    fn kept(metadata: ObjectMeta) -> Self::Kept;

    /// Where it is kept.
    fn table(memory: &Memory) -> &Table<Self::Kept>;
}

impl Remembered for core::Namespace {
    type Kept = Arc<Namespace>;

    const RESOURCE: &'static str = "namespaces";
    const GATE: &'static str = "namespaces";

    fn kept(metadata: ObjectMeta) -> Arc<Namespace> {
        let ObjectMeta { name, annotations, .. } = metadata;
        let ours = annotations.into_iter().flatten().filter(|(key, _)| key.starts_with(ANNOTATION_PREFIX));
        Arc::new(Namespace { name: name.unwrap_or_default(), annotations: ours.collect() })
    }

    fn table(memory: &Memory) -> &Table<Arc<Namespace>> {
        &memory.namespaces
    }
}

impl Remembered for core::ServiceAccount {
    type Kept = Option<Arc<str>>;

    const RESOURCE: &'static str = "serviceaccounts";
    const GATE: &'static str = "service accounts";

    fn kept(metadata: ObjectMeta) -> Option<Arc<str>> {
        metadata.annotations?.remove(SERVICE_ACCOUNT_ROLE_ANNOTATION).map(Arc::from)
    }

    fn table(memory: &Memory) -> &Table<Option<Arc<str>>> {
        &memory.roles
    }
}

/// The key of an object in its table: neither part of it can hold a slash.
pub(super) fn key(namespace: Option<&str>, name: &str) -> Arc<str> {
    match namespace {
        None => name.into(),
        Some(namespace) => format!("{namespace}/{name}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(annotations: &[(&str, &str)]) -> ObjectMeta {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ObjectMeta {
            name: Some("shop".to_owned()),
            annotations: Some(annotations.collect()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn of_a_namespace_our_annotations_are_kept() {
        let kept = core::Namespace::kept(metadata(&[
            ("scaivault.scailabs.ai/url", "https://vault.example"),
            ("kubectl.kubernetes.io/last-applied-configuration", "long"),
        ]));
        assert_eq!(kept.name, "shop");
        assert_eq!(kept.annotations.keys().collect::<Vec<_>>(), ["scaivault.scailabs.ai/url"]);
    }

    #[test]
    fn of_a_service_account_the_role_is_kept() {
        let role = metadata(&[("scaikey.scailabs.ai/role", "billing"), ("other", "x")]);
        assert_eq!(core::ServiceAccount::kept(role).as_deref(), Some("billing"));
        assert_eq!(core::ServiceAccount::kept(metadata(&[])), None);
    }
}
