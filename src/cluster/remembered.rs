//! What is kept of each kind of object: its name and what the injector reads off it, nothing else.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use k8s_openapi::{api::core::v1 as core, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use scaivault_contract::names::{ANNOTATION_PREFIX, SERVICE_ACCOUNT_ROLE_ANNOTATION};
use scaivault_inject::{
    Layer, Namespace,
    annotations::{Key, specs},
};
use serde::de::DeserializeOwned;

use super::{Memory, table::Table};

/// The longest value that is kept, bytes: no annotation of a namespace or service account takes a longer one. A tenant
/// may write 256 KiB on each of its service accounts, and every replica remembers all of them.
const VALUE_BYTES: usize = 1024;

/// What is kept of a longer value. No annotation takes a control character, so the core refuses it and quotes this.
const TOO_LONG: &str = "\0(longer than 1024 bytes)";

/// The longest key of ours that Kubernetes allows behind the prefix, bytes.
const NAME_BYTES: usize = 63;

/// Of the keys that do nothing on a namespace, how many are kept, without values: as many as a person is warned about.
const OTHERS_KEPT: usize = 16;

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
        let annotations = annotations.map(bounded).unwrap_or_default();
        Arc::new(Namespace { name: name.unwrap_or_default(), annotations, ..Namespace::default() })
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
        metadata.annotations?.remove(SERVICE_ACCOUNT_ROLE_ANNOTATION).map(|role| Arc::from(short(&role)))
    }

    fn table(memory: &Memory) -> &Table<Option<Arc<str>>> {
        &memory.roles
    }
}

/// Of a namespace's annotations those that the registry takes from there, and a few names of ours that it does not.
fn bounded(annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut others = 0;
    let kept = annotations.into_iter().filter_map(|(key, value)| {
        let name = key.strip_prefix(ANNOTATION_PREFIX)?;
        if is_taken(name) {
            let value = short(&value).to_owned();
            return Some((key, value));
        }
        others += 1;
        (others <= OTHERS_KEPT && name.len() <= NAME_BYTES).then(|| (key, String::new()))
    });
    kept.collect()
}

fn is_taken(name: &str) -> bool {
    specs().any(|spec| {
        spec.setters.include(&Layer::Namespace)
            && matches!(spec.key, Key::Exact(exact) if exact.text() == name)
    })
}

/// A value as the registry reads it, or what says that it is too long.
fn short(value: &str) -> &str {
    let value = value.trim();
    if value.len() > VALUE_BYTES { TOO_LONG } else { value }
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
    use scaivault_inject::{Context, Decision, KubeVersion, PodView, Settings, decide};

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

    /// What 250 KiB on a namespace or service account become, and that the core refuses them.
    #[test]
    fn long_values_are_not_kept_and_refused() {
        let long = "x".repeat(250 * 1024);
        let role = core::ServiceAccount::kept(metadata(&[(SERVICE_ACCOUNT_ROLE_ANNOTATION, &long)]));
        assert_eq!(role.as_deref(), Some(TOO_LONG));
        assert!(TOO_LONG.contains(&VALUE_BYTES.to_string()));

        let taken = specs().filter(|spec| spec.setters.include(&Layer::Namespace));
        let keys: Vec<_> = taken.map(|spec| format!("{ANNOTATION_PREFIX}{}", spec.key.display())).collect();
        assert!(keys.len() > 10, "{keys:?}");
        let pod = PodView::parse(
            r#"{"metadata":{"annotations":{"scaivault.scailabs.ai/inject-secret-db":"apps/db"}},
                "spec":{"containers":[{"name":"app"}]}}"#,
        );
        let pod = pod.unwrap();
        for key in &keys {
            let namespace = core::Namespace::kept(metadata(&[(key, &long)]));
            assert_eq!(namespace.annotations[key], TOO_LONG);
            let settings = Settings::default();
            let context = Context::new(&settings, &namespace, KubeVersion::OLDEST);
            let Decision::Deny(denial) = decide(&pod, &context) else { panic!("{key} is accepted") };
            let text = denial.problems.to_string();
            assert!(text.contains(key) && text.contains("longer than 1024 bytes"), "{text}");
        }
    }

    #[test]
    fn of_keys_that_do_nothing_on_a_namespace_a_few_names_are_kept() {
        let long = "x".repeat(1024);
        let names: Vec<_> = (0..1_000).map(|n| format!("scaivault.scailabs.ai/inject-secret-{n}")).collect();
        let kept =
            core::Namespace::kept(metadata(&names.iter().map(|name| (&**name, &*long)).collect::<Vec<_>>()));
        assert_eq!(kept.annotations.len(), OTHERS_KEPT);
        assert!(kept.annotations.values().all(String::is_empty));
    }

    #[test]
    fn of_a_service_account_the_role_is_kept() {
        let role = metadata(&[("scaikey.scailabs.ai/role", "billing"), ("other", "x")]);
        assert_eq!(core::ServiceAccount::kept(role).as_deref(), Some("billing"));
        assert_eq!(core::ServiceAccount::kept(metadata(&[])), None);
    }
}
