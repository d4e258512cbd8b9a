//! The watched kinds of objects, and how each updates the cache.

use std::{collections::HashSet, marker::PhantomData, sync::Arc, time::SystemTime};

use jiff::Timestamp;
use kube::core::{DynamicObject, ObjectMeta, PartialObjectMeta};
use scaivault_cluster::{
    Observer, Watched, key,
    policies::{Host, PolicyState},
    unix_seconds,
};
use scaivault_restarter::{Kind, WorkloadKey};
use serde_json::Value;

use super::{
    memory::{Memory, State},
    metrics::Metrics,
};

/// Namespaces.
pub(super) const NAMESPACES: &str = "namespaces";
/// The policies in force.
pub(super) const POLICIES: &str = "injectionpolicies";

/// A kind of object that goes into the catalog.
pub(super) trait Cataloged: Send + Sync + 'static {
    /// The plural name.
    const RESOURCE: &'static str;
    /// The API of all namespaces.
    const PATH: &'static str;
    /// Whether only metadata is requested.
    const IS_METADATA: bool = false;

    fn put(state: &mut State, object: &Value);
    fn remove(state: &mut State, namespace: &str, name: &str);
    /// The known objects, by namespace and name.
    fn known(state: &State) -> Vec<(Arc<str>, Arc<str>)>;
}

/// A kind of the catalog as a watched resource.
pub(super) struct Objects<K>(PhantomData<fn() -> K>);

impl<K: Cataloged> Watched for Objects<K> {
    type Item = DynamicObject;
    type Memory = Memory;

    const RESOURCE: &'static str = K::RESOURCE;
    const IS_METADATA: bool = K::IS_METADATA;

    fn url_path() -> String {
        K::PATH.to_owned()
    }

    fn metadata(item: &DynamicObject) -> &ObjectMeta {
        &item.metadata
    }

    fn put(memory: &Memory, _: &Arc<str>, item: DynamicObject) {
        // Objects of the API server can always be written.
        let Ok(object) = serde_json::to_value(item) else { return };
        memory.change(|state| K::put(state, &object));
    }

    fn remove(memory: &Memory, key: &Arc<str>) {
        let Some((namespace, name)) = key.split_once('/') else { return };
        memory.change(|state| K::remove(state, namespace, name));
    }

    fn finish_list(memory: &Memory, listed: &HashSet<Arc<str>>) {
        memory.change(|state| {
            for (namespace, name) in K::known(state) {
                if !listed.contains(&key(Some(&namespace), &name)) {
                    K::remove(state, &namespace, &name);
                }
            }
        });
    }

    fn count(_: &Memory) -> usize {
        // The metrics are computed when they are requested.
        0
    }
}

/// A kind of workload.
pub(super) trait WorkloadKind: Send + Sync + 'static {
    const KIND: Kind;
    const RESOURCE: &'static str;
    const PATH: &'static str;
}

impl<K: WorkloadKind> Cataloged for K {
    const RESOURCE: &'static str = K::RESOURCE;
    const PATH: &'static str = K::PATH;

    fn put(state: &mut State, object: &Value) {
        state.put_workload(K::KIND, object);
    }

    fn remove(state: &mut State, namespace: &str, name: &str) {
        state.remove_workload(&WorkloadKey { namespace: namespace.into(), kind: K::KIND, name: name.into() });
    }

    fn known(state: &State) -> Vec<(Arc<str>, Arc<str>)> {
        let workloads = state.catalog.workloads(K::KIND).into_iter();
        workloads.map(|key| (key.namespace, key.name)).collect()
    }
}

macro_rules! workload_kinds {
    ($($(#[$doc:meta])* $name:ident, $kind:ident, $resource:literal, $path:literal;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl WorkloadKind for $name {
            const KIND: Kind = Kind::$kind;
            const RESOURCE: &'static str = $resource;
            const PATH: &'static str = $path;
        }
    )*};
}

workload_kinds! {
    /// Deployments.
    Deployments, Deployment, "deployments", "/apis/apps/v1/deployments";
    /// `StatefulSets`.
    StatefulSets, StatefulSet, "statefulsets", "/apis/apps/v1/statefulsets";
    /// `DaemonSets`.
    DaemonSets, DaemonSet, "daemonsets", "/apis/apps/v1/daemonsets";
    /// Argo Rollouts.
    Rollouts, Rollout, "rollouts", "/apis/argoproj.io/v1alpha1/rollouts";
}

/// The plural name of a kind of workload.
pub(super) const fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Deployment => <Deployments as WorkloadKind>::RESOURCE,
        Kind::StatefulSet => <StatefulSets as WorkloadKind>::RESOURCE,
        Kind::DaemonSet => <DaemonSets as WorkloadKind>::RESOURCE,
        Kind::Rollout => <Rollouts as WorkloadKind>::RESOURCE,
    }
}

/// Pods.
pub(super) struct Pods;

impl Cataloged for Pods {
    const RESOURCE: &'static str = "pods";
    const PATH: &'static str = "/api/v1/pods";

    fn put(state: &mut State, object: &Value) {
        state.catalog.put_pod(object);
    }

    fn remove(state: &mut State, namespace: &str, name: &str) {
        state.catalog.remove_pod(namespace, name);
    }

    fn known(state: &State) -> Vec<(Arc<str>, Arc<str>)> {
        state.catalog.pods()
    }
}

/// Native Secrets: their metadata alone.
pub(super) struct Secrets;

impl Cataloged for Secrets {
    const RESOURCE: &'static str = "secrets";
    const PATH: &'static str = "/api/v1/secrets";
    const IS_METADATA: bool = true;

    fn put(state: &mut State, object: &Value) {
        state.catalog.put_secret(object, unix_seconds(SystemTime::now()));
    }

    fn remove(state: &mut State, namespace: &str, name: &str) {
        state.catalog.remove_secret(namespace, name);
    }

    fn known(state: &State) -> Vec<(Arc<str>, Arc<str>)> {
        state.catalog.secrets()
    }
}

/// `SecretProviderClasses`.
pub(super) struct Classes;

impl Cataloged for Classes {
    const RESOURCE: &'static str = "secretproviderclasses";
    const PATH: &'static str = "/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasses";

    fn put(state: &mut State, object: &Value) {
        state.catalog.put_class(object);
    }

    fn remove(state: &mut State, namespace: &str, name: &str) {
        state.catalog.remove_class(namespace, name);
    }

    fn known(state: &State) -> Vec<(Arc<str>, Arc<str>)> {
        state.catalog.classes()
    }
}

/// The CSI driver's statuses of volumes.
pub(super) struct ClassStatuses;

impl Cataloged for ClassStatuses {
    const RESOURCE: &'static str = "secretproviderclasspodstatuses";
    const PATH: &'static str = "/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasspodstatuses";

    fn put(state: &mut State, object: &Value) {
        state.catalog.put_class_status(object);
    }

    fn remove(state: &mut State, namespace: &str, name: &str) {
        state.catalog.remove_class_status(namespace, name);
    }

    fn known(state: &State) -> Vec<(Arc<str>, Arc<str>)> {
        let statuses = state.catalog.class_statuses().into_iter();
        statuses.map(|(namespace, name)| (namespace, name.into())).collect()
    }
}

/// `RotationRollouts`.
pub(super) struct Records;

impl Cataloged for Records {
    const RESOURCE: &'static str = "rotationrollouts";
    const PATH: &'static str = "/apis/scaivault.scailabs.ai/v1alpha1/rotationrollouts";

    fn put(state: &mut State, object: &Value) {
        state.put_record(object);
    }

    fn remove(state: &mut State, namespace: &str, name: &str) {
        state.remove_record(namespace, name);
    }

    fn known(state: &State) -> Vec<(Arc<str>, Arc<str>)> {
        state.record_names()
    }
}

/// Namespaces: names, labels, and the relevant annotations.
pub(super) struct Namespaces;

impl Watched for Namespaces {
    type Item = PartialObjectMeta;
    type Memory = Memory;

    const RESOURCE: &'static str = NAMESPACES;
    const IS_METADATA: bool = true;

    fn url_path() -> String {
        "/api/v1/namespaces".to_owned()
    }

    fn metadata(item: &Self::Item) -> &ObjectMeta {
        &item.metadata
    }

    fn put(memory: &Memory, _: &Arc<str>, item: Self::Item) {
        memory.change(|state| state.put_namespace(item.metadata));
    }

    fn remove(memory: &Memory, key: &Arc<str>) {
        memory.change(|state| state.remove_namespace(key));
    }

    fn finish_list(memory: &Memory, listed: &HashSet<Arc<str>>) {
        memory.change(|state| state.keep_namespaces(listed));
    }

    fn count(_: &Memory) -> usize {
        0
    }
}

/// Handles the results of a watch.
pub(super) struct WatchObserver {
    pub(super) resource: &'static str,
    pub(super) memory: Arc<Memory>,
    pub(super) metrics: Arc<Metrics>,
    /// Whether the API server may not know the kind, because its product is not installed.
    pub(super) is_optional: bool,
}

impl Observer for WatchObserver {
    fn listed(&self, _: usize) {
        // Listed policies are not in force yet.
        if self.resource != POLICIES {
            self.memory.listed(self.resource);
        }
    }

    fn down_since(&self, since: Option<SystemTime>) {
        self.metrics.watch_down_since(self.resource, since.map(unix_seconds));
    }

    fn created(&self, time: Timestamp, clock: SystemTime) -> bool {
        self.memory.clock.saw(time, clock)
    }

    fn missing(&self) -> bool {
        match self.resource {
            POLICIES => self.memory.policy_kind_is_missing(),
            resource if self.is_optional => self.memory.listed(resource),
            _ => {}
        }
        self.is_optional
    }

    fn if_missing(&self) -> &'static str {
        if self.resource == <Records as Cataloged>::RESOURCE {
            "the CRD rotationrollouts.scaivault.scailabs.ai does not exist: upgrade the chart with restarter.enabled true, which installs it"
        } else {
            "check with `kubectl api-resources` whether the cluster serves this resource"
        }
    }
}

/// Handles changes of policies.
pub(super) struct PolicyHost(pub(super) Arc<Memory>);

impl Host for PolicyHost {
    fn removed(&self, _: &str) {}

    fn counted(&self, _: PolicyState, _: usize) {}

    fn held(&self, _: usize) {}

    fn published(&self) {
        self.0.policies_changed();
    }
}
