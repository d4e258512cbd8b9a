//! The cache of the cluster, updated by watches and by the responses to writes.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    mem,
    sync::{Arc, Mutex, MutexGuard},
    time::SystemTime,
};

use kube::core::ObjectMeta;
use scaivault_cluster::{ApiClock, policies::PolicyCache, unix_seconds};
use scaivault_contract::names::ANNOTATION_PREFIX;
use scaivault_inject::{Context, KubeVersion, Namespace, PolicySet, Settings};
use scaivault_restarter::{
    Catalog, ConditionState, Decision, Defaults, Kind, Ledger, ObservedVersions, RotationRollout,
    RotationRolloutStatus, Workload, WorkloadKey, decide, is_older, object_name, workload_of,
};
use serde::Deserialize as _;
use serde_json::Value;
use tokio::sync::Notify;

use super::{kinds::POLICIES, metrics::lock};

/// The maximum size of a namespace's labels and relevant annotations, in bytes. Larger ones are not kept.
/// Then it is not known which policies limit the namespace, so none of its ScaiVault secrets is followed, and
/// only workloads whose own annotations say so are restarted.
const NAMESPACE_BYTES: usize = 32 * 1024;
/// The annotations of such a namespace.
const NOT_FOLLOWED: [(&str, &str); 2] = [("mutation-mode", "ignore"), ("restart", "off")];
/// The label with a namespace's name, which the API server sets on every namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// A namespace that every cluster has.
const SYSTEM_NAMESPACE: &str = "kube-system";
/// A part of the name of Reloader's image.
const RELOADER_IMAGE: &str = "stakater/reloader";

/// The cache of the cluster.
pub(super) struct Memory {
    state: Mutex<State>,
    /// Notified if a decision may change.
    pub(super) changes: Notify,
    /// Notified if workloads must be read again.
    pub(super) to_read: Notify,
    pub(super) clock: ApiClock,
    policies: Option<Arc<PolicyCache>>,
}

/// The state behind the lock.
pub(super) struct State {
    pub(super) catalog: Catalog,
    records: BTreeMap<WorkloadKey, Record>,
    namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
    settings: Arc<Settings>,
    policies: Option<Arc<PolicySet>>,
    outdated: OutdatedTemplates,
    /// The workloads that are being read again.
    reading: OutdatedTemplates,
    /// When the first of them became outdated, Unix seconds.
    outdated_since: Option<i64>,
    /// The `metadata.uid` of the namespace `kube-system`, which identifies a cluster.
    cluster: String,
    /// Deployments of Reloader.
    reloaders: BTreeSet<WorkloadKey>,
    /// The resources that are not listed yet.
    missing: BTreeSet<&'static str>,
}

/// Workloads whose templates must be read again, because a setting that affects them has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum OutdatedTemplates {
    #[default]
    None,
    In(BTreeSet<Arc<str>>),
    All,
}

/// The cached part of a `RotationRollout` in addition to its ledger.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) resource_version: Box<str>,
    /// `status.phase` and `status.reason`.
    pub(super) shown: (Box<str>, Box<str>),
    /// The status of each condition, and when it began.
    pub(super) conditions: Box<[ConditionState]>,
}

impl Memory {
    pub(super) fn new(
        defaults: Defaults,
        settings: Settings,
        policies: Option<Arc<PolicyCache>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                catalog: Catalog::new(defaults),
                records: BTreeMap::new(),
                namespaces: BTreeMap::new(),
                settings: Arc::new(settings),
                policies: None,
                outdated: OutdatedTemplates::None,
                reading: OutdatedTemplates::None,
                outdated_since: None,
                cluster: String::new(),
                reloaders: BTreeSet::new(),
                missing: BTreeSet::new(),
            }),
            changes: Notify::new(),
            to_read: Notify::new(),
            clock: ApiClock::default(),
            policies,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Applies a change.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let is_outdated = state.outdated != OutdatedTemplates::None;
        if is_outdated || state.reading != OutdatedTemplates::None {
            state.outdated_since.get_or_insert_with(|| unix_seconds(SystemTime::now()));
        } else {
            state.outdated_since = None;
        }
        let is_changed = state.catalog.is_changed();
        drop(state);
        if is_outdated {
            self.to_read.notify_one();
        }
        if is_changed {
            self.changes.notify_one();
        }
    }

    /// Registers a resource that must be listed before the first decision.
    pub(super) fn expect(&self, resource: &'static str) {
        self.lock().missing.insert(resource);
    }

    /// Records that a resource is listed.
    pub(super) fn listed(&self, resource: &'static str) {
        self.lock().missing.remove(resource);
        self.changes.notify_one();
    }

    /// Whether one of these was not listed yet.
    pub(super) fn is_waiting_for_any(&self, resources: &[&'static str]) -> bool {
        let state = self.lock();
        resources.iter().any(|resource| state.missing.contains(resource))
    }

    /// Why nothing can be decided yet.
    pub(super) fn is_waiting_for(&self) -> Option<String> {
        let state = self.lock();
        let missing: Vec<_> = state.missing.iter().copied().collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// Records that the API server does not serve policies, so there are none.
    pub(super) fn policy_kind_is_missing(&self) {
        if let Some(policies) = &self.policies {
            policies.kind_is_missing();
        }
    }

    /// Records that the policies have changed.
    pub(super) fn policies_changed(&self) {
        let set = self.policies.as_ref().and_then(|policies| policies.in_force());
        self.change(|state| {
            let is_first = state.policies.is_none();
            state.policies = set;
            if !is_first {
                state.outdated = OutdatedTemplates::All;
            }
        });
        self.listed(POLICIES);
    }

    /// Records that the settings of the injector have changed.
    pub(super) fn settings_changed(&self, settings: Settings) {
        self.change(|state| {
            state.settings = Arc::new(settings);
            state.outdated = OutdatedTemplates::All;
        });
    }

    /// Decides at `now`. Returns `None` while the cluster is not listed, or policies or settings have
    /// changed. Workloads that must be read again wait.
    pub(super) fn decide(&self, now: i64, settings: &scaivault_restarter::Settings) -> Option<Decision> {
        let mut state = self.lock();
        let State { catalog, outdated, reading, missing, .. } = &mut *state;
        if !missing.is_empty() || *reading == OutdatedTemplates::All || *outdated == OutdatedTemplates::All {
            return None;
        }
        let mut decision = decide(now, catalog.world(), settings);
        decision.steps.retain(|step| {
            let namespace = &step.workload().namespace;
            !outdated.concerns(namespace) && !reading.concerns(namespace)
        });
        Some(decision)
    }
}

impl State {
    /// Adds or replaces a workload.
    pub(super) fn put_workload(&mut self, kind: Kind, object: &Value) {
        let name = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        let unknown = || Arc::new(Namespace { name: name.to_owned(), ..Namespace::default() });
        let namespace = self.namespaces.get(name).cloned().unwrap_or_else(unknown);
        let policies = self.policies.clone();
        let policies = policies.as_deref().unwrap_or(PolicySet::empty());
        let settings = Arc::clone(&self.settings);
        let now = unix_seconds(SystemTime::now());
        // A template that an older Kubernetes cannot run has no pods to restart.
        let context =
            Context::new(&settings, &namespace, KubeVersion::FILE_KEY_REF).with_policies(policies, now);
        self.catalog.put_workload(kind, object, &context);
        self.look_for_reloader(kind, object);
    }

    /// Adds a workload that was read again, unless it was deleted meanwhile.
    pub(super) fn put_workload_again(&mut self, kind: Kind, object: &Value) {
        let Some(key) = WorkloadKey::from_object(kind, object) else { return };
        if self.catalog.uid(&key) == Some(object["metadata"]["uid"].as_str().unwrap_or_default()) {
            self.put_workload(kind, object);
        }
    }

    pub(super) fn remove_workload(&mut self, key: &WorkloadKey) {
        self.catalog.remove_workload(key);
        self.reloaders.remove(key);
    }

    fn look_for_reloader(&mut self, kind: Kind, object: &Value) {
        let containers = object.pointer("/spec/template/spec/containers").and_then(Value::as_array);
        let mut images = containers.into_iter().flatten().filter_map(|container| container["image"].as_str());
        let is_scaled_down = object.pointer("/spec/replicas").and_then(Value::as_u64) == Some(0);
        let is_reloader = !is_scaled_down && images.any(|image| image.contains(RELOADER_IMAGE));
        if !is_reloader && self.reloaders.is_empty() {
            return;
        }
        let Some(key) = WorkloadKey::from_object(kind, object) else { return };
        if !is_reloader {
            self.reloaders.remove(&key);
        } else if self.reloaders.insert(key.clone()) {
            tracing::warn!(
                workload = %key,
                "Reloader runs in this cluster, too: a workload that both know is restarted twice; remove Reloader, or its annotations"
            );
        }
    }

    /// How many Deployments of Reloader there are.
    pub(super) fn reloaders(&self) -> usize {
        self.reloaders.len()
    }

    /// When the first of the outdated workloads became outdated, Unix seconds; 0 if there are none.
    pub(super) fn outdated_since(&self) -> i64 {
        self.outdated_since.unwrap_or_default()
    }

    /// An identifier of the cluster; empty before its namespaces are listed.
    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(super) fn put_namespace(&mut self, metadata: ObjectMeta) {
        let ObjectMeta { name, annotations, labels, uid, .. } = metadata;
        let name = name.unwrap_or_default();
        if name == SYSTEM_NAMESPACE {
            self.cluster = uid.unwrap_or_default();
        }
        let mut labels = labels.unwrap_or_default();
        let mut annotations = annotations.unwrap_or_default();
        annotations.retain(|key, _| key.starts_with(ANNOTATION_PREFIX));
        let texts = labels.iter().chain(&annotations);
        if texts.map(|(key, value)| key.len() + value.len()).sum::<usize>() > NAMESPACE_BYTES {
            labels.clear();
            annotations = NOT_FOLLOWED
                .map(|(key, value)| (format!("{ANNOTATION_PREFIX}{key}"), value.to_owned()))
                .into();
            tracing::warn!(
                namespace = name,
                allowed_bytes = NAMESPACE_BYTES,
                "the namespace has too many labels or annotations, not following its secrets"
            );
        }
        labels.insert(NAME_LABEL.to_owned(), name.clone());
        let namespace = Namespace { name: name.clone(), annotations, labels };
        let name: Arc<str> = name.into();
        let is_same = self.namespaces.get(&name).is_some_and(|known| **known == namespace);
        if !is_same {
            self.namespaces.insert(Arc::clone(&name), Arc::new(namespace));
            if self.catalog.has_workloads_in(&name) {
                self.outdated.add(name);
            }
        }
    }

    pub(super) fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    pub(super) fn keep_namespaces(&mut self, listed: &HashSet<Arc<str>>) {
        self.namespaces.retain(|name, _| listed.contains(name));
    }

    /// Returns the workloads that must be read again. Until then, nothing is written about them.
    pub(super) fn begin_reading(&mut self) -> OutdatedTemplates {
        self.reading = mem::take(&mut self.outdated);
        let reading = self.reading.clone();
        // Objects from the watch are newer than the list.
        self.catalog.read_again(|namespace| reading.concerns(namespace));
        reading
    }

    /// Records that the workloads were read again, except `failed`. Those that became outdated meanwhile
    /// remain so.
    pub(super) fn end_reading(&mut self, failed: OutdatedTemplates) {
        self.reading = OutdatedTemplates::None;
        match failed {
            // Some of them may have become outdated again.
            OutdatedTemplates::None => self.outdated_since = None,
            OutdatedTemplates::In(namespaces) => {
                for name in namespaces {
                    self.outdated.add(name);
                }
            }
            OutdatedTemplates::All => self.outdated = OutdatedTemplates::All,
        }
    }

    /// Adds a `RotationRollout` from a watch. The cached ledger of an object that this process has written
    /// takes precedence, because statuses do not contain all of a ledger.
    pub(super) fn put_record(&mut self, object: &Value) {
        let Ok(object) = RotationRollout::deserialize(object) else { return };
        let Some(key) = object.workload() else { return };
        let version = object.metadata.resource_version.as_deref().unwrap_or_default();
        let is_known = |known: &Record| {
            *known.resource_version == *version || is_older(version, &known.resource_version)
        };
        if self.records.get(&key).is_some_and(is_known) {
            return;
        }
        self.catalog.put_record(&object);
        self.records.insert(self.catalog.share(key), Record::new(version, object.status.as_ref()));
    }

    /// Adds the object in the response to a write of this process.
    pub(super) fn put_own_record(&mut self, key: &WorkloadKey, object: &RotationRollout, ledger: Ledger) {
        let version = object.metadata.resource_version.as_deref().unwrap_or_default();
        self.records.insert(key.clone(), Record::new(version, object.status.as_ref()));
        self.catalog.put_ledger(key, Some(ledger), version);
    }

    pub(super) fn remove_record(&mut self, namespace: &str, name: &str) {
        let named = workload_of(namespace, name).filter(|key| self.records.contains_key(key));
        let Some(key) = named.or_else(|| self.find_record(namespace, name)) else { return };
        self.records.remove(&key);
        self.catalog.remove_record(&key);
    }

    /// The workload of a record with a truncated name.
    fn find_record(&self, namespace: &str, name: &str) -> Option<WorkloadKey> {
        let mut keys = self.records.keys().filter(|key| &*key.namespace == namespace);
        keys.find(|key| object_name(key) == name).cloned()
    }

    /// The workload of a step, if the objects that the step is based on are still current.
    pub(super) fn current(&mut self, key: &WorkloadKey, seen: &ObservedVersions) -> Option<&Workload> {
        let workload: &Workload = self.catalog.world().workloads.get(key)?;
        let is_current = workload.resource_version == seen.workload && workload.record_version == seen.record;
        is_current.then_some(workload)
    }

    pub(super) fn record(&self, key: &WorkloadKey) -> Option<&Record> {
        self.records.get(key)
    }

    pub(super) fn record_names(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let names = self.records.keys().map(|key| (Arc::clone(&key.namespace), object_name(key).into()));
        names.collect()
    }

    /// Stores a ledger in memory, in a dry run.
    pub(super) fn put_ledger(&mut self, key: &WorkloadKey, ledger: Ledger) {
        let shown = (ledger.phase.word().into(), ledger.phase.reason().into());
        self.records.entry(key.clone()).or_default().shown = shown;
        self.catalog.put_ledger(key, Some(ledger), "");
    }
}

impl Record {
    fn new(version: &str, status: Option<&RotationRolloutStatus>) -> Self {
        let Some(status) = status else {
            return Self { resource_version: version.into(), ..Self::default() };
        };
        Self {
            resource_version: version.into(),
            shown: (status.phase.as_str().into(), status.reason.as_str().into()),
            conditions: status.condition_states(),
        }
    }
}

impl OutdatedTemplates {
    fn add(&mut self, namespace: Arc<str>) {
        match self {
            Self::None => *self = Self::In([namespace].into()),
            Self::In(namespaces) => drop(namespaces.insert(namespace)),
            Self::All => {}
        }
    }

    fn concerns(&self, namespace: &str) -> bool {
        match self {
            Self::None => false,
            Self::In(namespaces) => namespaces.contains(namespace),
            Self::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use scaivault_restarter::Mode;
    use serde_json::json;

    use super::*;

    fn namespace(name: &str, label: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(format!("uid-{name}")),
            labels: Some([("team".to_owned(), label.to_owned())].into()),
            ..ObjectMeta::default()
        }
    }

    fn deployment(namespace: &str) -> Value {
        let annotations = json!({"scaivault.scailabs.ai/inject-secret-a": "a/b"});
        json!({
            "metadata": {"namespace": namespace, "name": "web", "uid": "u", "resourceVersion": "5"},
            "spec": {"template": {
                "metadata": {"annotations": annotations},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            }},
        })
    }

    fn decided(memory: &Memory) -> Option<Vec<String>> {
        let steps = memory.decide(1_790_000_000, &scaivault_restarter::Settings::default())?.steps;
        Some(steps.iter().map(|step| step.workload().namespace.to_string()).collect())
    }

    #[test]
    fn a_namespace_with_too_many_labels_is_not_followed() {
        let memory = Memory::new(Defaults::default(), Settings::default(), None);
        for (bytes, expected) in [(10, 1), (NAMESPACE_BYTES, 0)] {
            memory.change(|state| {
                let mut metadata = namespace("a", "1");
                let rest = "x".repeat(bytes);
                metadata.annotations = Some([("scaivault.scailabs.ai/x".to_owned(), rest.clone())].into());
                state.put_namespace(metadata.clone());
                metadata.labels.as_mut().unwrap().insert("rest".to_owned(), rest);
                metadata.annotations = None;
                state.put_workload(Kind::Deployment, &deployment("a"));
                assert_eq!(state.catalog.paths().len(), expected, "annotations of {bytes} bytes");
                state.put_namespace(metadata);
                state.put_workload(Kind::Deployment, &deployment("a"));
                assert_eq!(state.catalog.paths().len(), expected, "labels of {bytes} bytes");
            });
        }
    }

    #[test]
    fn only_workloads_that_are_read_again_wait() {
        let memory = Memory::new(Defaults::default(), Settings::default(), None);
        memory.change(|state| {
            for name in ["a", "b"] {
                state.put_namespace(namespace(name, "1"));
                state.put_workload(Kind::Deployment, &deployment(name));
            }
        });
        let check = |expected: &[&str]| {
            assert_eq!(decided(&memory).unwrap(), expected);
        };
        check(&["a", "b"]);
        memory.change(|state| state.put_namespace(namespace("a", "2")));
        check(&["b"]);
        let outdated = memory.lock().begin_reading();
        check(&["b"]);
        memory.change(|state| state.end_reading(outdated));
        check(&["b"]);
        memory.lock().begin_reading();
        memory.change(|state| state.end_reading(OutdatedTemplates::None));
        check(&["a", "b"]);
        memory.settings_changed(Settings::default());
        assert_eq!(decided(&memory), None);
        memory.lock().begin_reading();
        assert_eq!(decided(&memory), None);
    }

    #[test]
    fn an_event_while_workloads_are_read_again_is_read_too() {
        let memory = Memory::new(Defaults::default(), Settings::default(), None);
        let version = |version: &str| {
            let mut object = deployment("a");
            object["metadata"]["generation"] = json!(1);
            object["metadata"]["resourceVersion"] = json!(version);
            object
        };
        let mut off = namespace("a", "1");
        off.annotations = Some([("scaivault.scailabs.ai/restart".to_owned(), "off".to_owned())].into());
        let mut state = memory.lock();
        state.put_namespace(namespace("a", "1"));
        state.put_workload(Kind::Deployment, &version("5"));
        state.put_namespace(off);
        state.begin_reading();
        state.put_workload(Kind::Deployment, &version("6"));
        state.put_workload_again(Kind::Deployment, &version("5"));
        state.end_reading(OutdatedTemplates::None);
        let modes: Vec<_> = state.catalog.world().workloads.values().map(|workload| workload.mode).collect();
        assert_eq!(modes, [Mode::Off]);
    }

    #[test]
    fn a_removed_record_is_forgotten_by_its_name() {
        let memory = Memory::new(Defaults::default(), Settings::default(), None);
        let keys = ["db".to_owned(), "x".repeat(250)].map(|name| WorkloadKey {
            namespace: "team".into(),
            kind: Kind::StatefulSet,
            name: name.into(),
        });
        let mut state = memory.lock();
        for key in &keys {
            state.put_record(&json!({
                "metadata": {"namespace": "team", "name": object_name(key), "resourceVersion": "5"},
                "spec": {"kind": "StatefulSet", "name": &*key.name},
            }));
        }
        let known = |state: &State| keys.each_ref().map(|key| state.record(key).is_some());
        assert_eq!(known(&state), [true, true]);
        state.remove_record("other", "statefulset-db");
        assert_eq!(known(&state), [true, true]);
        state.remove_record("team", "statefulset-db");
        assert_eq!(known(&state), [false, true]);
        state.remove_record("team", &object_name(&keys[1]));
        assert_eq!(known(&state), [false, false]);
    }

    #[test]
    fn it_is_known_since_when_workloads_are_outdated() {
        let memory = Memory::new(Defaults::default(), Settings::default(), None);
        let is_outdated = || memory.lock().outdated_since() > 0;
        let label = |label: &str| memory.change(|state| state.put_namespace(namespace("a", label)));
        memory.change(|state| {
            state.put_namespace(namespace("a", "1"));
            state.put_workload(Kind::Deployment, &deployment("a"));
        });
        assert!(!is_outdated());
        label("2");
        assert!(is_outdated());
        memory.lock().outdated_since = Some(5);
        // A failing attempt.
        let outdated = memory.lock().begin_reading();
        memory.change(|state| state.end_reading(outdated));
        assert_eq!(memory.lock().outdated_since(), 5);
        // A successful attempt, during which the namespace changes again.
        memory.lock().begin_reading();
        label("3");
        memory.change(|state| state.end_reading(OutdatedTemplates::None));
        assert!(memory.lock().outdated_since() > 5);
        memory.lock().begin_reading();
        memory.change(|state| state.end_reading(OutdatedTemplates::None));
        assert!(!is_outdated());
    }

    #[test]
    fn a_cluster_is_identified_by_kube_system() {
        let memory = Memory::new(Defaults::default(), Settings::default(), None);
        memory.change(|state| {
            state.put_namespace(namespace("kube-system", "1"));
            state.put_namespace(namespace("a", "1"));
        });
        assert_eq!(memory.lock().cluster(), "uid-kube-system");
    }
}
