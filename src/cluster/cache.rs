//! The cached part of each kind of object: its name and the fields that the injector reads.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Debug,
    marker::PhantomData,
    sync::Arc,
};

use k8s_openapi::{api::core::v1 as core, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Resource, core::PartialObjectMeta};
use scaivault_contract::names::{ANNOTATION_PREFIX, SERVICE_ACCOUNT_ROLE_ANNOTATION};
use scaivault_inject::{
    Layer, Namespace,
    annotations::{Key, specs},
};
use serde::de::DeserializeOwned;

use scaivault_cluster::Watched;

use super::{ClusterCache, sharded_map::ShardedMap};

/// The maximum length of a cached value in bytes: no annotation of a namespace or service account
/// allows more. A tenant may write 256 KiB on each of its service accounts, and every replica
/// caches all of them.
const VALUE_BYTES: usize = 1024;

/// The placeholder for a longer value. No annotation allows a control character, so the core
/// rejects it and quotes this text.
const TOO_LONG: &str = "\0(longer than 1024 bytes)";

/// The maximum length in Kubernetes of a key without its prefix, in bytes.
const NAME_BYTES: usize = 63;

/// The label with a namespace's name, which the API server sets on every namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The maximum number of cached keys that have no effect on a namespace, without values: as many as
/// warnings are shown for.
const OTHERS_KEPT: usize = 16;

/// The maximum size of a namespace's cached labels in bytes. A tenant may be allowed to label its
/// namespace, and an object may have 1.5 MiB.
const LABELS_BYTES: usize = 32 * 1024;

/// A kind of object whose metadata is watched and cached.
pub(super) trait Cached:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// The cached part.
    type Part: Clone + PartialEq + Send + Sync;

    /// The plural name, as in RBAC rules and metrics.
    const RESOURCE: &'static str;

    /// The name of the readiness condition for the first list.
    const GATE: &'static str;

    /// The part to cache of an object with this metadata; `None` removes it from the cache.
    fn part(metadata: ObjectMeta) -> Option<Self::Part>;

    /// The map that caches this kind.
    fn table(memory: &ClusterCache) -> &ShardedMap<Self::Part>;
}

/// Watches only the metadata of a kind, so that neither the API server nor the injector processes
/// the rest.
pub(super) struct CachedKind<K>(PhantomData<fn() -> K>);

impl<K: Cached> Watched for CachedKind<K> {
    type Item = PartialObjectMeta<K>;
    type Memory = ClusterCache;

    const RESOURCE: &'static str = K::RESOURCE;
    const IS_METADATA: bool = true;

    fn url_path() -> String {
        K::url_path(&(), None)
    }

    fn metadata(item: &Self::Item) -> &ObjectMeta {
        &item.metadata
    }

    fn put(memory: &ClusterCache, key: &Arc<str>, item: Self::Item) {
        match K::part(item.metadata) {
            Some(kept) => {
                if K::table(memory).insert(key, kept) {
                    memory.changed();
                }
            }
            None => K::table(memory).remove(key),
        }
    }

    fn remove(memory: &ClusterCache, key: &Arc<str>) {
        K::table(memory).remove(key);
    }

    fn finish_list(memory: &ClusterCache, listed: &HashSet<Arc<str>>) {
        K::table(memory).retain(listed);
    }

    fn count(memory: &ClusterCache) -> usize {
        K::table(memory).len()
    }
}

impl Cached for core::Namespace {
    type Part = Arc<Namespace>;

    const RESOURCE: &'static str = "namespaces";
    const GATE: &'static str = "namespaces";

    fn part(metadata: ObjectMeta) -> Option<Arc<Namespace>> {
        let ObjectMeta { name, annotations, labels, .. } = metadata;
        let name = name.unwrap_or_default();
        let mut labels = labels.unwrap_or_default();
        let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > LABELS_BYTES {
            // Without some of its labels, policies that restrict the namespace might no longer
            // select it.
            tracing::warn!(
                namespace = name,
                bytes,
                "namespace has more than {LABELS_BYTES} bytes of labels, so its pods are refused; remove labels"
            );
            return None;
        }
        labels.insert(NAME_LABEL.to_owned(), name.clone());
        let annotations = annotations.map(bounded).unwrap_or_default();
        Some(Arc::new(Namespace { name, annotations, labels }))
    }

    fn table(memory: &ClusterCache) -> &ShardedMap<Arc<Namespace>> {
        &memory.namespaces
    }
}

impl Cached for core::ServiceAccount {
    type Part = Option<Arc<str>>;

    const RESOURCE: &'static str = "serviceaccounts";
    const GATE: &'static str = "service accounts";

    fn part(metadata: ObjectMeta) -> Option<Option<Arc<str>>> {
        let annotations = metadata.annotations.unwrap_or_default();
        Some(annotations.get(SERVICE_ACCOUNT_ROLE_ANNOTATION).map(|role| Arc::from(short(role))))
    }

    fn table(memory: &ClusterCache) -> &ShardedMap<Option<Arc<str>>> {
        &memory.roles
    }
}

/// Keeps the annotations that the registry reads from namespaces, and a few other keys under the
/// injector's prefix.
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

/// A value as the registry reads it, or the placeholder if it is too long.
fn short(value: &str) -> &str {
    let value = value.trim();
    if value.len() > VALUE_BYTES { TOO_LONG } else { value }
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
    fn own_annotations_of_a_namespace_are_kept() {
        let kept = core::Namespace::part(metadata(&[
            ("scaivault.scailabs.ai/url", "https://vault.example"),
            ("kubectl.kubernetes.io/last-applied-configuration", "long"),
        ]));
        let kept = kept.unwrap();
        assert_eq!(kept.name, "shop");
        assert_eq!(kept.annotations.keys().collect::<Vec<_>>(), ["scaivault.scailabs.ai/url"]);
    }

    /// Values of 250 KiB on a namespace or service account are not cached, and the core rejects the
    /// placeholder. Values about restarts are rejected by the restart controller.
    #[test]
    fn long_values_are_not_kept_and_refused() {
        let long = "x".repeat(250 * 1024);
        let role = core::ServiceAccount::part(metadata(&[(SERVICE_ACCOUNT_ROLE_ANNOTATION, &long)]));
        assert_eq!(role.unwrap().as_deref(), Some(TOO_LONG));
        assert!(TOO_LONG.contains(&VALUE_BYTES.to_string()));

        let taken =
            specs().filter(|spec| spec.setters.include(&Layer::Namespace) && !spec.key.is_for_restarts());
        let keys: Vec<_> = taken.map(|spec| format!("{ANNOTATION_PREFIX}{}", spec.key.display())).collect();
        assert!(keys.len() > 10, "{keys:?}");
        let pod = PodView::parse(
            r#"{"metadata":{"annotations":{"scaivault.scailabs.ai/inject-secret-db":"apps/db"}},
                "spec":{"containers":[{"name":"app"}]}}"#,
        );
        let pod = pod.unwrap();
        for key in &keys {
            let namespace = core::Namespace::part(metadata(&[(key, &long)])).unwrap();
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
            core::Namespace::part(metadata(&names.iter().map(|name| (&**name, &*long)).collect::<Vec<_>>()))
                .unwrap();
        assert_eq!(kept.annotations.len(), OTHERS_KEPT);
        assert!(kept.annotations.values().all(String::is_empty));
    }

    #[test]
    fn of_a_service_account_the_role_is_kept() {
        let role = metadata(&[("scaikey.scailabs.ai/role", "billing"), ("other", "x")]);
        assert_eq!(core::ServiceAccount::part(role).unwrap().as_deref(), Some("billing"));
        assert_eq!(core::ServiceAccount::part(metadata(&[])), Some(None));
    }

    #[test]
    fn labels_of_a_namespace_are_kept_with_its_name() {
        let labels = |count: usize| {
            (0..count).map(|n| (format!("label-{n}"), "x".repeat(60))).collect::<BTreeMap<_, _>>()
        };
        let with = |labels| ObjectMeta { labels: Some(labels), ..metadata(&[]) };
        let kept = core::Namespace::part(with(labels(3))).unwrap();
        assert_eq!(kept.labels[NAME_LABEL], "shop");
        assert_eq!(kept.labels.len(), 4);
        let forged = BTreeMap::from([(NAME_LABEL.to_owned(), "billing".to_owned())]);
        assert_eq!(core::Namespace::part(with(forged)).unwrap().labels[NAME_LABEL], "shop");
        assert_eq!(core::Namespace::part(with(labels(1_000))), None, "its pods wait, and none is missed");
    }
}
