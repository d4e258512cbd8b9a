//! The kinds of objects that are watched, and how changes are applied to the cache.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use kube::core::{ObjectMeta, PartialObjectMeta};
use scaivault_cluster::{
    Observer, Watched,
    policies::{Host, PolicyCache, PolicyState},
};
use serde_json::json;
use tokio::time::Instant;

use super::{Cluster, KnownPod};

/// The maximum size of an object's labels. An object with more is not cached with a part of its labels,
/// because policies that limit a pod might not select it.
pub(super) const LABELS_BYTES: usize = 32 * 1024;
/// How many bytes of an annotation's value are kept. Variables accept no longer values.
const VALUE_BYTES: usize = 64;
/// The label with a namespace's name, which the API server sets on every namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The pods of this node.
pub(super) struct NodePods;

impl Watched for NodePods {
    type Item = PartialObjectMeta;
    type Memory = Cluster;

    const RESOURCE: &'static str = "pods";
    const IS_METADATA: bool = true;

    fn url_path() -> String {
        "/api/v1/pods".to_owned()
    }

    fn field_selector(cluster: &Cluster) -> Option<&str> {
        Some(&cluster.selector)
    }

    fn metadata(item: &Self::Item) -> &ObjectMeta {
        &item.metadata
    }

    fn put(cluster: &Cluster, key: &Arc<str>, item: Self::Item) {
        let ObjectMeta { uid, labels, annotations, .. } = item.metadata;
        let (labels, mut annotations) = (labels.unwrap_or_default(), annotations.unwrap_or_default());
        for value in annotations.values_mut() {
            value.truncate(value.floor_char_boundary(VALUE_BYTES));
        }
        let metadata = are_bounded(&labels)
            .then(|| json!({"labels": labels, "annotations": annotations}).to_string().into());
        cluster.put_pod(key, KnownPod { uid: uid.unwrap_or_default(), metadata, logged: Mutex::default() });
    }

    fn remove(cluster: &Cluster, key: &Arc<str>) {
        cluster.remove_pod(key);
    }

    fn finish_list(cluster: &Cluster, listed: &HashSet<Arc<str>>) {
        cluster.keep_pods(listed);
    }

    fn count(cluster: &Cluster) -> usize {
        cluster.pods().known.len()
    }
}

/// All namespaces, because neither RBAC nor field selectors can select the namespaces of a node's pods, and
/// one watch costs less than many.
pub(super) struct Namespaces;

impl Watched for Namespaces {
    type Item = PartialObjectMeta;
    type Memory = Cluster;

    const RESOURCE: &'static str = "namespaces";
    const IS_METADATA: bool = true;

    fn url_path() -> String {
        "/api/v1/namespaces".to_owned()
    }

    fn metadata(item: &Self::Item) -> &ObjectMeta {
        &item.metadata
    }

    fn put(cluster: &Cluster, key: &Arc<str>, item: Self::Item) {
        let mut labels = item.metadata.labels.unwrap_or_default();
        labels.insert(NAME_LABEL.to_owned(), key.to_string());
        let labels = are_bounded(&labels).then(|| json!(labels).to_string().into());
        cluster.namespaces().insert(Arc::clone(key), labels);
        cluster.changes.send_replace(());
    }

    fn remove(cluster: &Cluster, key: &Arc<str>) {
        cluster.namespaces().remove(key);
    }

    fn finish_list(cluster: &Cluster, listed: &HashSet<Arc<str>>) {
        cluster.namespaces().retain(|name, _| listed.contains(name));
        cluster.are_namespaces_listed.store(true, Ordering::Relaxed);
    }

    fn count(cluster: &Cluster) -> usize {
        cluster.namespaces().len()
    }
}

fn are_bounded(labels: &BTreeMap<String, String>) -> bool {
    labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= LABELS_BYTES
}

/// Logs the state of the watches of pods and namespaces.
pub(super) struct WatchObserver {
    cluster: Arc<Cluster>,
    is_for_pods: bool,
}

impl WatchObserver {
    pub(super) fn for_pods(cluster: &Arc<Cluster>) -> Self {
        Self { cluster: Arc::clone(cluster), is_for_pods: true }
    }

    pub(super) fn for_namespaces(cluster: &Arc<Cluster>) -> Self {
        Self { cluster: Arc::clone(cluster), is_for_pods: false }
    }
}

impl Observer for WatchObserver {
    fn lists(&self) {
        if self.is_for_pods {
            self.cluster.pods().list_began = Some(Instant::now());
        }
    }

    fn created(&self, time: jiff::Timestamp, clock: SystemTime) -> bool {
        self.cluster.clock.saw(time, clock)
    }
}

/// The same for the watch of policies.
pub(super) struct PolicyObserver {
    cluster: Arc<Cluster>,
    policies: Arc<PolicyCache>,
    /// Whether it was logged that the CRD is missing.
    logged: AtomicBool,
}

impl PolicyObserver {
    pub(super) fn new(cluster: &Arc<Cluster>, policies: &Arc<PolicyCache>) -> Self {
        Self { cluster: Arc::clone(cluster), policies: Arc::clone(policies), logged: AtomicBool::new(false) }
    }
}

impl Observer for PolicyObserver {
    fn listed(&self, _: usize) {
        self.logged.store(false, Ordering::Relaxed);
    }

    fn created(&self, time: jiff::Timestamp, clock: SystemTime) -> bool {
        self.cluster.clock.saw(time, clock)
    }

    fn missing(&self) -> bool {
        let is_none_in_force = self.policies.in_force().is_none_or(|set| set.is_empty());
        if is_none_in_force && !self.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the CRD injectionpolicies.scaivault.scailabs.ai does not exist, so no policy limits mounts; install it with the chart of \
                 the injector, or set policies.enabled to false (start without --policies)"
            );
        }
        self.policies.kind_is_missing();
        true
    }
}

/// Applies changes of policies.
pub(super) struct PolicyHost(pub(super) Arc<Cluster>);

impl Host for PolicyHost {
    fn removed(&self, name: &str) {
        self.0.metrics.forget(name);
    }

    fn counted(&self, state: PolicyState, count: usize) {
        self.0.metrics.counted(state, count);
    }

    fn held(&self, count: usize) {
        self.0.metrics.held(count);
    }

    fn published(&self) {
        self.0.changes.send_replace(());
    }
}
