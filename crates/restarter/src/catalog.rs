//! Joins objects of the cluster into the [`World`]. Watches may deliver them in any order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use scaivault_contract::names::ANNOTATION_PREFIX;
use scaivault_inject::Context;
use scaivault_usage::{SECRETS_STORE, SecretUse, csi_volumes, secrets};
use serde_json::Value;

use crate::{
    agreement::{agreements, observed_pods},
    choice::{Annotations, Candidate, Choice, Places, Selection, choose},
    decide::World,
    ledger::Ledger,
    marker::{MARKER, Marker},
    observe::{ClassStatus, State, class_status, pod, revision, secret_version, state},
    resource::RotationRollout,
    source::{NativeVersion, SourceId, SourceKind, SourceRef, Sources, Version, digest},
    workload::{Agreement, Delivery, Kind, Mode, Pod, Refusal, Workload, WorkloadKey},
};

use followed::Followed;
use reference::{Reference, Shared};

/// The provider of this product, whose classes are followed without an annotation.
const PROVIDER: &str = "scaivault";

/// The maximum number of followed secrets of a workload, because a marker contains all of them.
const SECRETS_MAX: usize = 256;

/// The defaults for all workloads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Defaults {
    /// The mode if neither an annotation nor a policy sets one.
    pub mode: Mode,
    /// Whether annotations of Reloader are used.
    pub with_reloader: bool,
}

/// Names in a namespace.
type Named<T> = BTreeMap<Arc<str>, BTreeMap<Arc<str>, T>>;

/// The cache of the cluster's objects.
#[derive(Debug, Default)]
pub struct Catalog {
    defaults: Defaults,
    world: World,
    templates: BTreeMap<WorkloadKey, Template>,
    followed: Followed,
    pods: BTreeMap<WorkloadKey, BTreeMap<Arc<str>, Pod>>,
    secrets: Named<Known>,
    classes: Named<Known>,
    /// By the name of the pod.
    class_statuses: Named<Vec<ClassStatus>>,
    refusals: BTreeMap<WorkloadKey, Refusal>,
    /// The workloads that changed since the world was joined.
    changed: BTreeSet<WorkloadKey>,
    /// Namespaces in which the annotations of a Secret or class changed.
    changed_namespaces: BTreeSet<Arc<str>>,
    /// Whether the version of a source has changed since the world was joined.
    has_new_version: bool,
    /// The number of used sources at the last search for unused ones.
    sources_used: usize,
}

/// A native Secret or a class. A Secret only becomes a source if a workload is restarted for it, because a
/// namespace may have any number of others.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    candidate: Candidate,
    /// Of a Secret.
    version: Option<NativeVersion>,
}

/// The cached part of a workload.
#[derive(Debug)]
struct Template {
    uid: Box<str>,
    resource_version: Box<str>,
    state: State,
    choice: Choice,
    /// The secrets of ScaiVault, and whether a sidecar refreshes them.
    vault: Vec<(SourceId, bool)>,
    /// The number of its secrets that are not followed.
    not_followed: usize,
    /// Native Secrets that the template uses.
    secrets: Vec<Arc<str>>,
    /// Classes that it mounts.
    classes: Vec<Arc<str>>,
    /// The text of its marker.
    marker: Option<Box<str>>,
    shared: Shared,
    reference: Option<Box<Reference>>,
}

impl Catalog {
    /// Empty.
    pub fn new(defaults: Defaults) -> Self {
        Self { defaults, ..Self::default() }
    }

    /// Adds or replaces a workload. `context` is that of its namespace; `policy` is the mode in the
    /// strongest policy with `spec.restart` that selects its pods.
    pub fn put_workload(&mut self, kind: Kind, object: &Value, context: &Context<'_>, policy: Option<Mode>) {
        let Some(key) = WorkloadKey::from_object(kind, object) else { return };
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
        if self.templates.get(&key).is_some_and(|known| {
            *known.uid == *text("uid") && is_older(text("resourceVersion"), &known.resource_version)
        }) {
            return;
        }
        let template = object.pointer("/spec/template").unwrap_or(&Value::Null);
        let workload_annotations = annotations(object);
        let template_annotations = annotations(template);
        let choice = choose(&Places {
            workload: &workload_annotations,
            template: &template_annotations,
            namespace: &context.namespace.annotations,
            policy,
            default: self.defaults.mode,
            with_reloader: self.defaults.with_reloader,
        });
        let marker = match kind {
            Kind::Rollout => workload_annotations.get(MARKER),
            Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet => template_annotations.get(MARKER),
        };
        self.forget_vault_sources(&key);
        let (vault, not_followed) = self.vault_sources(&key.namespace, template, context);
        let template = Template {
            uid: text("uid").into(),
            resource_version: text("resourceVersion").into(),
            state: state(kind, object),
            choice,
            vault,
            not_followed,
            secrets: names(
                secrets(template)
                    .into_iter()
                    .filter(SecretUse::is_read_by_containers)
                    .map(|used| used.secret),
            ),
            classes: names(
                csi_volumes(template)
                    .into_iter()
                    .filter(|volume| volume.driver == SECRETS_STORE)
                    .filter_map(|volume| volume.class),
            ),
            marker: marker.map(|text| text.as_str().into()),
            shared: Shared::new(&template_annotations, policy),
            reference: Reference::new(&key, object, &workload_annotations, &context.namespace.annotations),
        };
        self.templates.insert(key.clone(), template);
        self.change_references(&key);
        self.changed.insert(key);
        self.forget_unused_sources();
    }

    /// Removes a workload.
    pub fn remove_workload(&mut self, key: &WorkloadKey) {
        self.forget_vault_sources(key);
        self.templates.remove(key);
        self.change_references(key);
        self.refusals.remove(key);
        self.changed.insert(key.clone());
    }

    /// Adds or replaces a pod; one that has ended or belongs to no workload is removed.
    pub fn put_pod(&mut self, object: &Value) {
        let Some((namespace, name)) = names_of(object) else { return };
        match pod(object) {
            Some((key, mut pod)) => {
                let pods = self.pods.entry(key.clone()).or_default();
                let former = pods.get(&name).copied();
                if let Some(former) = former.filter(|former| former.created == pod.created) {
                    pod.revision = former.revision;
                }
                pods.insert(name, pod);
                if former != Some(pod) {
                    self.changed.insert(key);
                }
            }
            None => self.remove_pod(&namespace, &name),
        }
    }

    /// Removes a pod.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        let owner = in_namespace_mut(&mut self.pods, namespace)
            .find_map(|(key, pods)| pods.remove(name).map(|_| key.clone()));
        if let Some(key) = owner {
            if self.pods.get(&key).is_some_and(BTreeMap::is_empty) {
                self.pods.remove(&key);
            }
            self.changed.insert(key);
        }
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
        let known = Known { candidate, version };
        put_named(&mut self.secrets, &namespace, name, known);
        if former.map(|known| known.candidate) != Some(candidate) {
            self.changed_namespaces.insert(namespace);
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
        let known = Known { candidate, version: None };
        if put_named(&mut self.classes, &namespace, name, known) != Some(known) {
            self.changed_namespaces.insert(namespace);
        }
    }

    /// Removes a class.
    pub fn remove_class(&mut self, namespace: &str, name: &str) {
        remove_named(&mut self.classes, namespace, name);
        self.changed_namespaces.insert(namespace.into());
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
        let owner = in_namespace_mut(&mut self.pods, namespace)
            .find(|(_, pods)| pods.contains_key(pod))
            .map(|(key, _)| key.clone());
        self.changed.extend(owner);
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

    /// The ledger of a workload, also before the workload itself is known, and the version of the `RotationRollout` that has it.
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

    /// The `metadata.uid` of a workload that is known.
    pub fn uid(&self, key: &WorkloadKey) -> Option<&str> {
        self.templates.get(key).map(|template| &*template.uid)
    }

    /// Whether a workload of a namespace is known.
    pub fn has_workloads_in(&self, namespace: &str) -> bool {
        let first = WorkloadKey { namespace: namespace.into(), kind: Kind::ALL[0], name: "".into() };
        self.templates.range(first..).next().is_some_and(|(key, _)| &*key.namespace == namespace)
    }

    /// Whether the result of [`Self::world`] would differ from the last one.
    pub fn is_changed(&self) -> bool {
        self.has_new_version || !self.changed.is_empty() || !self.changed_namespaces.is_empty()
    }

    /// The paths of the secrets of ScaiVault that workloads deliver, each once.
    pub fn paths(&self) -> BTreeSet<Arc<str>> {
        let delivered = self.templates.values().flat_map(|template| &template.vault);
        delivered.map(|(source, _)| Arc::clone(&self.world.sources.name(*source).name)).collect()
    }

    /// The names of all objects of a kind that are known, so that a new list can remove the rest.
    pub fn workloads(&self, kind: Kind) -> Vec<WorkloadKey> {
        self.templates.keys().filter(|key| key.kind == kind).cloned().collect()
    }

    /// The pods that are known, by namespace and name.
    pub fn pods(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let pods = self.pods.iter();
        pods.flat_map(|(key, pods)| pods.keys().map(|name| (Arc::clone(&key.namespace), Arc::clone(name))))
            .collect()
    }

    /// The Secrets that are known, by namespace and name.
    pub fn secrets(&self) -> Vec<(Arc<str>, Arc<str>)> {
        all_names(&self.secrets)
    }

    /// The classes that are known, by namespace and name.
    pub fn classes(&self) -> Vec<(Arc<str>, Arc<str>)> {
        all_names(&self.classes)
    }

    /// What the driver said about volumes, by namespace and the object's name.
    pub fn class_statuses(&self) -> Vec<(Arc<str>, String)> {
        let all = self.class_statuses.iter().flat_map(|(namespace, pods)| {
            pods.values().flatten().map(move |status| {
                (Arc::clone(namespace), format!("{}-{namespace}-{}", status.pod, status.class))
            })
        });
        all.collect()
    }

    /// The world as it is now.
    pub fn world(&mut self) -> &World {
        self.has_new_version = false;
        let namespaces = std::mem::take(&mut self.changed_namespaces);
        if !namespaces.is_empty() {
            let concerned = self.templates.keys().filter(|key| namespaces.contains(&key.namespace));
            self.changed.extend(concerned.cloned());
        }
        for key in std::mem::take(&mut self.changed) {
            self.join(&key);
        }
        &self.world
    }

    fn join(&mut self, key: &WorkloadKey) {
        let Some(template) = self.templates.get(key) else {
            // A ledger may arrive before its workload.
            match self.world.workloads.get(key) {
                Some(Workload { ledger: None, .. }) => {
                    self.world.workloads.remove(key);
                }
                Some(Workload { ledger: Some(_), .. }) => {
                    let workload = self.world.workloads.entry(key.clone()).or_default();
                    *workload = Workload {
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
        let pods = self.pods.get(key);
        let statuses = self.class_statuses.get(&key.namespace);
        let (agreements, awaited_pod) = agreements(pods, statuses);
        let candidates = (&self.secrets, &self.classes);
        let delivering = template.delivering(&self.templates);
        let deliveries =
            deliveries(key, delivering, &template.choice, &agreements, candidates, &mut self.world.sources);
        let marker = template.marker.as_deref().map(|text| {
            let delivered: Vec<SourceId> = deliveries.iter().map(|delivery| delivery.source).collect();
            Marker::parse(text, &delivered, &self.world.sources)
        });
        let Template { uid, resource_version, state, choice, .. } = template;
        let workload = Workload {
            uid: digest(&[uid]),
            resource_version: resource_version.clone(),
            mode: choice.mode,
            is_canary: choice.is_canary,
            deliveries: deliveries.into(),
            marker,
            is_paused: state.is_paused,
            is_on_delete: state.is_on_delete,
            is_partitioned: state.is_partitioned,
            has_deadline: state.has_deadline,
            awaited_pod,
            progress: state.progress,
            replicas: state.replicas,
            windows: choice.windows.clone(),
            problem: choice.problems.join("; ").into(),
            release: choice.release.clone(),
            refusal: self.refusals.get(key).cloned(),
            pods: observed_pods(pods, statuses),
            record_version: Box::default(),
            ledger: None,
        };
        let entry = self.world.workloads.entry(key.clone()).or_default();
        let record_version = std::mem::take(&mut entry.record_version);
        *entry = Workload { ledger: entry.ledger.take(), record_version, ..workload };
    }
}

/// What a workload delivers, sorted by source.
fn deliveries(
    key: &WorkloadKey,
    Template { vault, secrets: used_secrets, classes: used_classes, .. }: &Template,
    choice: &Choice,
    agreements: &BTreeMap<&str, Agreement>,
    (secrets, classes): (&Named<Known>, &Named<Known>),
    sources: &mut Sources,
) -> Vec<Delivery> {
    let mut found: Vec<Delivery> = vault
        .iter()
        .filter(|(_, is_refreshed)| !is_refreshed || choice.is_asked)
        .map(|(source, _)| Delivery { source: *source, agreement: Agreement::NotAsked })
        .collect();
    for name in selected(&choice.secrets, used_secrets, secrets.get(&key.namespace)) {
        let source = sources.intern(&key.namespace, &SourceRef::new(SourceKind::Secret, name));
        let known = secrets.get(&key.namespace).and_then(|names| names.get(name));
        if let Some(version) = known.and_then(|known| known.version) {
            sources.observe_native(source, version);
        }
        found.push(Delivery { source, agreement: Agreement::NotAsked });
    }
    for name in selected(&choice.classes, used_classes, classes.get(&key.namespace)) {
        let source = sources.intern(&key.namespace, &SourceRef::new(SourceKind::Class, name));
        let agreement = agreements.get(&**name).copied().unwrap_or(Agreement::Disagreeing(None));
        found.push(Delivery { source, agreement });
    }
    found.sort_unstable_by_key(|delivery| delivery.source);
    found.truncate(SECRETS_MAX);
    found
}

/// The names that a workload is restarted for, among those that it uses and those of the namespace.
fn selected<'a>(
    selection: &Selection,
    used: &'a [Arc<str>],
    known: Option<&'a BTreeMap<Arc<str>, Known>>,
) -> BTreeSet<&'a Arc<str>> {
    let candidate = |name: &Arc<str>| {
        let known = known.and_then(|known| known.get(name));
        known.map(|known| known.candidate).unwrap_or_default()
    };
    let lookup = selection.lookup();
    let is_included = |name: &Arc<str>| {
        let is_used = used.contains(name);
        lookup.includes(name, Candidate { is_used, ..candidate(name) })
    };
    let unused = known.filter(|_| selection.has_names()).into_iter().flat_map(BTreeMap::keys);
    used.iter().chain(unused).filter(|name| is_included(name)).collect()
}

impl WorkloadKey {
    /// The key of an object of this kind; none without a namespace or a name.
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
    let is_read = |key: &str| key.starts_with(ANNOTATION_PREFIX) || key.contains("reloader.stakater.com/");
    let entries = annotations.into_iter().flatten().filter(|(key, _)| is_read(key));
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn names(names: impl Iterator<Item = String>) -> Vec<Arc<str>> {
    let names: BTreeSet<String> = names.collect();
    names.into_iter().take(SECRETS_MAX).map(Arc::from).collect()
}

/// Adds an entry and returns the previous one.
fn put_named(all: &mut Named<Known>, namespace: &Arc<str>, name: Arc<str>, known: Known) -> Option<Known> {
    all.entry(Arc::clone(namespace)).or_default().insert(name, known)
}

fn remove_named<T>(all: &mut Named<T>, namespace: &str, name: &str) {
    if let Some(names) = all.get_mut(namespace) {
        names.remove(name);
        if names.is_empty() {
            all.remove(namespace);
        }
    }
}

fn all_names<T>(all: &Named<T>) -> Vec<(Arc<str>, Arc<str>)> {
    let names = all.iter().flat_map(|(namespace, names)| {
        names.keys().map(move |name| (Arc::clone(namespace), Arc::clone(name)))
    });
    names.collect()
}

/// The entries of a namespace: keys begin with it.
fn in_namespace_mut<'a, T>(
    all: &'a mut BTreeMap<WorkloadKey, T>,
    namespace: &str,
) -> impl Iterator<Item = (&'a WorkloadKey, &'a mut T)> {
    let first = WorkloadKey { namespace: namespace.into(), kind: Kind::ALL[0], name: "".into() };
    let namespace = Arc::clone(&first.namespace);
    all.range_mut(first..).take_while(move |(key, _)| key.namespace == namespace)
}

/// Whether a `resourceVersion` of an object is older than another one of the same object. Versions that are not numbers have no order.
pub fn is_older(version: &str, known: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    number(version).zip(number(known)).is_some_and(|(version, known)| version < known)
}

mod followed;
mod reference;
mod unused;

#[cfg(test)]
mod tests;
