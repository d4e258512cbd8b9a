//! The pods that have not ended, by name and by workload.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::workload::{Kind, Pod, WorkloadKey};

/// By namespace.
#[derive(Debug, Default)]
pub(super) struct Pods(BTreeMap<Arc<str>, InNamespace>);

/// The kind and name of a pod's workload, which is in the pod's namespace.
type Owner = (Kind, Arc<str>);

#[derive(Debug, Default)]
struct InNamespace {
    by_name: BTreeMap<Arc<str>, (Owner, Pod)>,
    /// The names of each workload's pods.
    by_owner: BTreeSet<(Owner, Arc<str>)>,
}

impl Pods {
    /// Adds or replaces a pod, which keeps the revision with which it was first seen. Returns the
    /// workloads that changed.
    pub(super) fn put(&mut self, key: &WorkloadKey, name: &Arc<str>, mut pod: Pod) -> Vec<WorkloadKey> {
        let namespace = self.0.get_mut(&key.namespace);
        let former = namespace.and_then(|namespace| namespace.by_name.get_mut(name));
        if let Some(((kind, owner), former)) = former {
            if former.created == pod.created {
                pod.revision = former.revision;
            }
            if (*kind, &*owner) == (key.kind, &key.name) {
                let is_changed = *former != pod;
                *former = pod;
                return is_changed.then(|| key.clone()).into_iter().collect();
            }
        }
        let former_owner = self.remove(&key.namespace, name);
        let namespace = self.0.entry(Arc::clone(&key.namespace)).or_default();
        // The pods of a workload share the allocation of its name.
        let owner = namespace.of(key).next().map(|((kind, owner), _)| (*kind, Arc::clone(owner)));
        let owner = owner.unwrap_or_else(|| (key.kind, Arc::clone(&key.name)));
        namespace.by_owner.insert((owner.clone(), Arc::clone(name)));
        namespace.by_name.insert(Arc::clone(name), (owner, pod));
        former_owner.into_iter().chain([key.clone()]).collect()
    }

    /// Removes a pod. Returns its workload.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> Option<WorkloadKey> {
        let pods = self.0.get_mut(namespace)?;
        let (name, (owner, _)) = pods.by_name.remove_entry(name)?;
        pods.by_owner.remove(&(owner.clone(), name));
        if pods.by_name.is_empty() {
            self.0.remove(namespace);
        }
        Some(WorkloadKey { namespace: namespace.into(), kind: owner.0, name: owner.1 })
    }

    /// The workload of a pod.
    pub(super) fn owner(&self, namespace: &str, name: &str) -> Option<WorkloadKey> {
        let ((kind, owner), _) = self.0.get(namespace)?.by_name.get(name)?;
        Some(WorkloadKey { namespace: namespace.into(), kind: *kind, name: Arc::clone(owner) })
    }

    /// The pods of a workload, by name.
    pub(super) fn of_workload(&self, key: &WorkloadKey) -> Vec<(&Arc<str>, Pod)> {
        let Some(namespace) = self.0.get(&key.namespace) else { return Vec::new() };
        let pods = namespace.of(key);
        pods.filter_map(|(_, name)| Some((name, namespace.by_name.get(name)?.1))).collect()
    }

    /// All pods, by namespace and name.
    pub(super) fn names(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let all = self.0.iter().flat_map(|(namespace, pods)| {
            pods.by_name.keys().map(move |name| (Arc::clone(namespace), Arc::clone(name)))
        });
        all.collect()
    }
}

impl InNamespace {
    fn of<'a>(&'a self, key: &WorkloadKey) -> impl Iterator<Item = &'a (Owner, Arc<str>)> + use<'a> {
        let owner = (key.kind, Arc::clone(&key.name));
        let pods = self.by_owner.range((owner.clone(), Arc::default())..);
        pods.take_while(move |(found, _)| *found == owner)
    }
}
