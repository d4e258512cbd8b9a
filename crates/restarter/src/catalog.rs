//! Joins objects of the cluster into the [`World`]. Watches may deliver them in any order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use scaivault_contract::names::ANNOTATION_PREFIX;
use serde_json::Value;

use crate::{
    agreement::{agreements, observed_pods},
    choice::{Annotations, Candidate, reloader},
    decide::World,
    ledger::Ledger,
    observe::{ClassStatus, class_status, pod, revision, secret_version},
    resource::RotationRollout,
    source::{NativeVersion, SourceKind, SourceRef, Version, digest},
    workload::{Kind, Mode, Refusal, Workload, WorkloadKey},
};

use delivery_counts::DeliveryCounts;
use pods::Pods;
use template::Template;

/// ScaiVault's CSI provider. Its classes are followed without an annotation.
const PROVIDER: &str = "scaivault";

/// The defaults for all workloads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Defaults {
    /// The mode if neither an annotation nor a policy sets one.
    pub mode: Mode,
    /// Whether annotations of Reloader are used.
    pub with_reloader: bool,
    /// Whether no ScaiVault is configured. Then none of its secrets is followed.
    pub without_vault: bool,
}

/// Entries by namespace and name.
type ByName<T> = BTreeMap<Arc<str>, BTreeMap<Arc<str>, T>>;

/// The cache of the cluster's objects.
#[derive(Debug, Default)]
pub struct Catalog {
    defaults: Defaults,
    world: World,
    templates: BTreeMap<WorkloadKey, Box<Template>>,
    delivery_counts: DeliveryCounts,
    /// The size of the texts of a namespace's templates, in bytes.
    texts: BTreeMap<Arc<str>, usize>,
    /// The Rollouts that use the template of a workload, by name.
    references: BTreeMap<WorkloadKey, BTreeSet<Arc<str>>>,
    pods: Pods,
    secrets: ByName<SourceObject>,
    classes: ByName<SourceObject>,
    /// By the pod's name.
    class_statuses: ByName<Vec<ClassStatus>>,
    refusals: BTreeMap<WorkloadKey, Refusal>,
    /// The workloads that changed since the last join.
    changed: BTreeSet<WorkloadKey>,
    /// The Secrets and classes whose annotations changed, by namespace.
    changed_names: BTreeMap<Arc<str>, ChangedNames>,
    /// Whether the version of a source changed since the last join.
    has_new_version: bool,
    /// How often the ScaiVault secrets of a workload changed.
    path_changes: u64,
    /// The number of used sources at the last search for unused ones.
    sources_used: usize,
}

/// A native Secret or a class. A Secret only becomes a source if a workload is restarted for it, because a
/// namespace may have any number of others.
#[derive(Clone, Copy, Debug, PartialEq)]
struct SourceObject {
    candidate: Candidate,
    /// The version of a Secret; `None` for a class.
    version: Option<NativeVersion>,
}

/// The names of Secrets and classes whose annotations changed.
#[derive(Debug, Default)]
struct ChangedNames {
    secrets: BTreeSet<Arc<str>>,
    classes: BTreeSet<Arc<str>>,
}

impl Catalog {
    /// An empty catalog.
    pub fn new(defaults: Defaults) -> Self {
        Self { defaults, ..Self::default() }
    }

    /// Adds or replaces a pod; one that has ended or belongs to no workload is removed.
    pub fn put_pod(&mut self, object: &Value) {
        let Some((namespace, name)) = names_of(object) else { return };
        match pod(object) {
            Some((key, pod)) => self.changed.extend(self.pods.put(&key, &name, pod)),
            None => self.remove_pod(&namespace, &name),
        }
    }

    /// Removes a pod.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        self.changed.extend(self.pods.remove(namespace, name));
    }

    /// Adds or replaces a native Secret, of which only the metadata is used. `now` is this process's clock.
    pub fn put_secret(&mut self, object: &Value, now: i64) {
        let Some((namespace, name)) = names_of(object) else { return };
        let former = self.secrets.get(&namespace).and_then(|names| names.get(&name)).copied();
        let version = secret_version(&object["metadata"]).map(|version| {
            let same = former.and_then(|known| known.version).filter(|seen| seen.version == version);
            let revision = revision(&object["metadata"]).unwrap_or_default();
            NativeVersion { version, revision, seen_at: same.map_or(now, |seen| seen.seen_at) }
        });
        let source = self.world.sources.find(&namespace, &SourceRef::new(SourceKind::Secret, &name));
        if let (Some(id), Some(version)) = (source, version) {
            self.has_new_version |= self.world.sources.observe_native(id, version);
        }
        let candidate = Candidate::new(&annotations(object), self.defaults.with_reloader);
        let known = SourceObject { candidate, version };
        put_named(&mut self.secrets, &namespace, Arc::clone(&name), known);
        if former.map(|known| known.candidate) != Some(candidate) {
            self.changed_names.entry(namespace).or_default().secrets.insert(name);
        }
    }

    /// Removes a native Secret. Its version is kept, because a new Secret of the same name has a newer one.
    pub fn remove_secret(&mut self, namespace: &str, name: &str) {
        remove_named(&mut self.secrets, namespace, name);
    }

    /// Adds or replaces a `SecretProviderClass`.
    pub fn put_class(&mut self, object: &Value) {
        let Some((namespace, name)) = names_of(object) else { return };
        let mut candidate = Candidate::new(&annotations(object), self.defaults.with_reloader);
        candidate.asks |= object.pointer("/spec/provider").and_then(Value::as_str) == Some(PROVIDER);
        let known = SourceObject { candidate, version: None };
        if put_named(&mut self.classes, &namespace, Arc::clone(&name), known) != Some(known) {
            self.changed_names.entry(namespace).or_default().classes.insert(name);
        }
    }

    /// Removes a class.
    pub fn remove_class(&mut self, namespace: &str, name: &str) {
        remove_named(&mut self.classes, namespace, name);
        self.changed_names.entry(namespace.into()).or_default().classes.insert(name.into());
    }

    /// Adds or replaces the driver's status of a volume.
    pub fn put_class_status(&mut self, object: &Value) {
        let (Some((namespace, _)), Some(status)) = (names_of(object), class_status(object)) else { return };
        let pod: Arc<str> = (&*status.pod).into();
        let statuses = self.class_statuses.entry(Arc::clone(&namespace)).or_default();
        let statuses = statuses.entry(Arc::clone(&pod)).or_default();
        if statuses.contains(&status) {
            return;
        }
        statuses.retain(|known| known.class != status.class);
        statuses.push(status);
        self.change_pod(&namespace, &pod);
    }

    /// Removes the driver's status of a volume, the object with this name.
    pub fn remove_class_status(&mut self, namespace: &str, name: &str) {
        let Some(pods) = self.class_statuses.get_mut(namespace) else { return };
        // The driver builds the name from the pod, the namespace and the class. Each may contain the
        // separator.
        let separator = format!("-{namespace}-");
        let places = name.match_indices(&*separator);
        let halves = places.map(|(at, _)| (&name[..at], &name[at + separator.len()..]));
        let mut known = halves.filter(|(pod, class)| {
            pods.get(*pod).is_some_and(|statuses| statuses.iter().any(|status| &*status.class == *class))
        });
        let Some((pod, class)) = known.next() else { return };
        if let Some(statuses) = pods.get_mut(pod) {
            statuses.retain(|status| &*status.class != class);
            if statuses.is_empty() {
                pods.remove(pod);
            }
        }
        self.change_pod(namespace, pod);
    }

    fn change_pod(&mut self, namespace: &str, pod: &str) {
        self.changed.extend(self.pods.owner(namespace, pod));
    }

    /// Adds or replaces a `RotationRollout`.
    pub fn put_record(&mut self, record: &RotationRollout) {
        let Some(key) = record.workload() else { return };
        let status = record.status.clone().unwrap_or_default();
        let ledger = status.ledger(&key.namespace, &mut self.world.sources);
        let version = record.metadata.resource_version.as_deref().unwrap_or_default();
        self.put_ledger(&key, Some(ledger), version);
    }

    /// Removes a `RotationRollout`.
    pub fn remove_record(&mut self, key: &WorkloadKey) {
        self.put_ledger(key, None, "");
    }

    /// Stores the ledger of a workload, which may not be known yet, and the `resourceVersion` of its
    /// `RotationRollout`.
    pub fn put_ledger(&mut self, key: &WorkloadKey, ledger: Option<Ledger>, version: &str) {
        let workload = self.world.workloads.entry(key.clone()).or_default();
        workload.ledger = ledger;
        workload.record_version = version.into();
        self.changed.insert(key.clone());
        self.forget_unused_sources();
    }

    /// Records that the patch of a workload was refused, or removes the refusal.
    pub fn put_refusal(&mut self, key: &WorkloadKey, refusal: Option<Refusal>) {
        match refusal {
            Some(refusal) => drop(self.refusals.insert(key.clone(), refusal)),
            None if !self.refusals.contains_key(key) => return,
            None => drop(self.refusals.remove(key)),
        }
        self.changed.insert(key.clone());
    }

    /// Records ScaiVault's version of a secret. `old_ends` is when the previous version stops working. A
    /// secret that no workload delivers any more is ignored.
    pub fn put_version(&mut self, path: &str, version: Version, old_ends: Option<i64>, now: i64) {
        let source = SourceRef::new(SourceKind::ScaiVault, path);
        let Some(id) = self.world.sources.find("", &source) else { return };
        self.has_new_version |= self.world.sources.observe(id, version, old_ends, now);
    }

    /// Records that ScaiVault returns no version of a secret.
    pub fn put_unreadable(&mut self, path: &str) {
        let source = SourceRef::new(SourceKind::ScaiVault, path);
        let Some(id) = self.world.sources.find("", &source) else { return };
        self.has_new_version |= self.world.sources.fail(id);
    }

    /// Returns a workload that delivers a secret of ScaiVault.
    pub fn workload_with(&self, path: &str) -> Option<&WorkloadKey> {
        let id = self.world.sources.find("", &SourceRef::new(SourceKind::ScaiVault, path))?;
        let mut templates = self.templates.iter();
        let has_it = |template: &Template| template.vault.iter().any(|(source, _)| *source == id);
        templates.find(|(_, template)| has_it(template)).map(|(key, _)| key)
    }

    /// The `metadata.uid` of a known workload.
    pub fn uid(&self, key: &WorkloadKey) -> Option<&str> {
        self.templates.get(key).map(|template| &*template.uid)
    }

    /// Whether a workload of a namespace is known.
    pub fn has_workloads_in(&self, namespace: &str) -> bool {
        self.first_in(namespace).is_some()
    }

    fn first_in(&self, namespace: &str) -> Option<&WorkloadKey> {
        in_namespace(&self.templates, namespace).next().map(|(key, _)| key)
    }

    /// Returns the key with the strings of known keys, so that each string is in memory once.
    pub fn share(&self, key: WorkloadKey) -> WorkloadKey {
        if let Some((known, _)) = self.templates.get_key_value(&key) {
            return known.clone();
        }
        if let Some((known, _)) = self.world.workloads.get_key_value(&key) {
            return known.clone();
        }
        match self.first_in(&key.namespace) {
            Some(known) => WorkloadKey { namespace: Arc::clone(&known.namespace), ..key },
            None => key,
        }
    }

    /// A counter that increases whenever [`Self::paths`] may have changed.
    pub fn path_changes(&self) -> u64 {
        self.path_changes
    }

    /// Whether the result of [`Self::world`] would differ from the last one.
    pub fn is_changed(&self) -> bool {
        self.has_new_version || !self.changed.is_empty() || !self.changed_names.is_empty()
    }

    /// The paths of the secrets of ScaiVault that workloads deliver, each once.
    pub fn paths(&self) -> BTreeSet<Arc<str>> {
        let delivered = self.templates.values().flat_map(|template| &template.vault);
        delivered.map(|(source, _)| Arc::clone(&self.world.sources.name(*source).name)).collect()
    }

    /// The known workloads of a kind, so that a new list can remove the others.
    pub fn workloads(&self, kind: Kind) -> Vec<WorkloadKey> {
        self.templates.keys().filter(|key| key.kind == kind).cloned().collect()
    }

    /// The known pods, by namespace and name.
    pub fn pods(&self) -> Vec<(Arc<str>, Arc<str>)> {
        self.pods.names()
    }

    /// The known Secrets, by namespace and name.
    pub fn secrets(&self) -> Vec<(Arc<str>, Arc<str>)> {
        all_names(&self.secrets)
    }

    /// The known classes, by namespace and name.
    pub fn classes(&self) -> Vec<(Arc<str>, Arc<str>)> {
        all_names(&self.classes)
    }

    /// The driver's statuses of volumes, by namespace and object name.
    pub fn class_statuses(&self) -> Vec<(Arc<str>, String)> {
        let all = self.class_statuses.iter().flat_map(|(namespace, pods)| {
            pods.values().flatten().map(move |status| {
                (Arc::clone(namespace), format!("{}-{namespace}-{}", status.pod, status.class))
            })
        });
        all.collect()
    }

    /// Joins the changed objects and returns the current state.
    pub fn world(&mut self) -> &World {
        self.has_new_version = false;
        for (namespace, names) in std::mem::take(&mut self.changed_names) {
            let templates = in_namespace(&self.templates, &namespace);
            let concerned = templates.filter(|(_, template)| template.concerns(&names));
            self.changed.extend(concerned.map(|(key, _)| key.clone()));
        }
        for key in std::mem::take(&mut self.changed) {
            self.join(&key);
        }
        &self.world
    }

    fn join(&mut self, key: &WorkloadKey) {
        let Some((key, template)) = self.templates.get_key_value(key) else {
            // A ledger may arrive before its workload.
            match self.world.workloads.get_mut(key) {
                Some(workload) if workload.ledger.is_none() => drop(self.world.workloads.remove(key)),
                Some(workload) => {
                    **workload = Workload {
                        ledger: workload.ledger.take(),
                        record_version: std::mem::take(&mut workload.record_version),
                        mode: Mode::Off,
                        ..Workload::default()
                    };
                }
                None => {}
            }
            return;
        };
        let pods = self.pods.of_workload(key);
        let statuses = self.class_statuses.get(&key.namespace);
        let (agreements, awaited_pod) = agreements(&pods, statuses);
        let candidates = (&self.secrets, &self.classes);
        let delivering = template.delivering(&self.templates);
        let (deliveries, not_followed) = delivering.deliveries(
            &key.namespace,
            &template.choice,
            &agreements,
            candidates,
            &mut self.world.sources,
        );
        let marker = template.marker.as_ref().map(|marker| {
            marker.delivered(deliveries.iter().map(|delivery| delivery.source), &self.world.sources)
        });
        let Template { uid, resource_version, state, choice, .. } = &**template;
        let entry = self.world.workloads.entry(key.clone()).or_default();
        **entry = Workload {
            uid: digest(&[uid]),
            resource_version: resource_version.clone(),
            mode: choice.mode,
            is_canary: choice.is_canary,
            deliveries: deliveries.into(),
            not_followed,
            marker,
            is_paused: state.is_paused,
            is_on_delete: state.is_on_delete,
            is_partitioned: state.is_partitioned,
            deadline: state.deadline,
            awaited_pod,
            progress: state.progress,
            replicas: state.replicas,
            are_pods_marked: key.kind != Kind::Rollout,
            windows: choice.windows.clone(),
            problem: choice.problem.clone(),
            release: choice.release.clone(),
            refusal: self.refusals.get(key).cloned(),
            pods: observed_pods(&pods, statuses),
            record_version: std::mem::take(&mut entry.record_version),
            ledger: entry.ledger.take(),
        };
    }
}

impl WorkloadKey {
    /// The key of an object of this kind; `None` without a namespace or a name.
    pub fn from_object(kind: Kind, object: &Value) -> Option<Self> {
        let (namespace, name) = names_of(object)?;
        Some(Self { namespace, kind, name })
    }
}

/// The namespace and name of an object.
fn names_of(object: &Value) -> Option<(Arc<str>, Arc<str>)> {
    let text = |key: &str| object.get("metadata")?.get(key)?.as_str().map(Arc::from);
    Some((text("namespace")?, text("name")?))
}

/// The annotations of an object or template that the controller reads.
fn annotations(object: &Value) -> Annotations {
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    let is_read = |key: &str| key.starts_with(ANNOTATION_PREFIX) || reloader::has_key(key);
    let entries = annotations.into_iter().flatten().filter(|(key, _)| is_read(key));
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Adds an entry and returns the previous one.
fn put_named(
    all: &mut ByName<SourceObject>,
    namespace: &Arc<str>,
    name: Arc<str>,
    known: SourceObject,
) -> Option<SourceObject> {
    all.entry(Arc::clone(namespace)).or_default().insert(name, known)
}

fn remove_named<T>(all: &mut ByName<T>, namespace: &str, name: &str) {
    if let Some(names) = all.get_mut(namespace) {
        names.remove(name);
        if names.is_empty() {
            all.remove(namespace);
        }
    }
}

fn all_names<T>(all: &ByName<T>) -> Vec<(Arc<str>, Arc<str>)> {
    let names = all.iter().flat_map(|(namespace, names)| {
        names.keys().map(move |name| (Arc::clone(namespace), Arc::clone(name)))
    });
    names.collect()
}

/// The entries of a namespace, whose keys begin with it.
fn in_namespace<'a, T>(
    all: &'a BTreeMap<WorkloadKey, T>,
    namespace: &str,
) -> impl Iterator<Item = (&'a WorkloadKey, &'a T)> {
    let first = WorkloadKey { namespace: namespace.into(), kind: Kind::ALL[0], name: "".into() };
    let namespace = Arc::clone(&first.namespace);
    all.range(first..).take_while(move |(key, _)| key.namespace == namespace)
}

/// Whether one `resourceVersion` of an object is older than another. Versions that are not numbers have no
/// order.
pub fn is_older(version: &str, known: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    number(version).zip(number(known)).is_some_and(|(version, known)| version < known)
}

mod delivery_counts;
mod pods;
mod reference;
mod template;
mod unused;
mod workloads;

#[cfg(test)]
mod tests;
