//! All policies of a cluster, with lookup by namespace and by pod.

use std::collections::BTreeMap;

use super::{
    compiled::Policy,
    conflicts::{self, PolicyConflict},
    index::Index,
    labels::PodLabels,
    parts::{Enforcement, PolicyRestart},
};
use crate::{Namespace, PodView};

/// All policies of a cluster, in ascending precedence. Names must be unique.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Vec<Policy>,
    by_namespace: Index,
    by_pod: Index,
    /// Only policies with an environment.
    by_environment: Index,
}

static EMPTY: PolicySet = PolicySet {
    policies: Vec::new(),
    by_namespace: Index::new(),
    by_pod: Index::new(),
    by_environment: Index::new(),
};

impl PolicySet {
    /// A set of these policies, in any order.
    pub fn new(mut policies: Vec<Policy>) -> Self {
        policies.sort_by(|one, other| {
            one.priority().cmp(&other.priority()).then_with(|| other.name().cmp(one.name()))
        });
        let (by_namespace, by_pod) = (Index::by_namespace(&policies), Index::by_pod(&policies));
        let by_environment = Index::by_environment(&policies);
        Self { policies, by_namespace, by_pod, by_environment }
    }

    /// The empty set.
    pub fn empty() -> &'static Self {
        &EMPTY
    }

    /// Whether there are no policies.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The number of policies.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// The policies in ascending precedence.
    pub fn iter(&self) -> std::slice::Iter<'_, Policy> {
        self.policies.iter()
    }

    /// The policies whose namespace selector matches, in ascending precedence. Policies that cannot
    /// match are not examined, except those whose selector requires no label.
    pub fn selects_namespace<'s>(
        &'s self,
        namespace: &Namespace,
    ) -> impl Iterator<Item = &'s Policy> + use<'s> {
        self.at(self.places(namespace)).collect::<Vec<_>>().into_iter()
    }

    /// The indices of the policies that [`Self::selects_namespace`] returns.
    fn places(&self, namespace: &Namespace) -> Vec<u32> {
        let found = self.by_namespace.candidates(&namespace.labels, &PodLabels::none(), "");
        self.pick(found, |policy| policy.selects_namespace(namespace))
    }

    /// The policies that set an environment for a namespace, in ascending precedence.
    pub(crate) fn environments<'s>(&'s self, namespace: &Namespace) -> Vec<&'s Policy> {
        let found = self.by_environment.candidates(&namespace.labels, &PodLabels::none(), "");
        self.at(self.pick(found, |policy| policy.selects_namespace(namespace))).collect()
    }

    /// The policies that select a pod, in ascending precedence.
    pub(crate) fn selects_pod<'s>(
        &'s self,
        namespace: &Namespace,
        labels: &PodLabels<'_>,
        service_account: &str,
    ) -> Vec<&'s Policy> {
        let found = self.by_pod.candidates(&namespace.labels, labels, service_account);
        self.at(self.pick(found, |policy| policy.selects_pod(namespace, labels, service_account))).collect()
    }

    /// `restart` of the strongest policy that says one and selects the pod. Policies under audit change nothing.
    pub fn restart(&self, namespace: &Namespace, pod: &PodView<'_>) -> Option<PolicyRestart> {
        let policies = self.selects_pod(namespace, &PodLabels::from_pod(pod), pod.service_account());
        let mut in_force = policies.iter().rev().filter(|policy| policy.enforcement() != Enforcement::Audit);
        in_force.find_map(|policy| policy.parts().restart)
    }

    fn pick(&self, mut found: Vec<u32>, is_selected: impl Fn(&Policy) -> bool) -> Vec<u32> {
        found.retain(|at| self.policy(*at).is_some_and(&is_selected));
        found
    }

    fn at(&self, places: Vec<u32>) -> impl Iterator<Item = &Policy> {
        places.into_iter().filter_map(|at| self.policy(at))
    }

    fn policy(&self, at: u32) -> Option<&Policy> {
        self.policies.get(usize::try_from(at).ok()?)
    }

    /// The policies that conflict in one of these namespaces: different environments, or different
    /// injections into pods that both may select. Two policies are compared once for all namespaces
    /// that are selected by the same policies, and each one with the eight of highest precedence
    /// that have the same file or variable.
    pub fn conflicts<'a>(&'a self, namespaces: &[&'a Namespace]) -> Vec<PolicyConflict<'a>> {
        let mut groups: BTreeMap<Vec<u32>, Vec<&Namespace>> = BTreeMap::new();
        for namespace in namespaces {
            groups.entry(self.places(namespace)).or_default().push(namespace);
        }
        let mut conflicts = Vec::new();
        for (places, namespaces) in groups {
            let policies: Vec<&Policy> = self.at(places).collect();
            conflicts::in_namespaces(&policies, &namespaces, &mut conflicts);
        }
        conflicts
    }
}

impl<'a> IntoIterator for &'a PolicySet {
    type Item = &'a Policy;
    type IntoIter = std::slice::Iter<'a, Policy>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
