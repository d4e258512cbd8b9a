//! All policies of a cluster, and which of them select a namespace or a pod.

use super::{
    compiled::Policy,
    conflicts::{self, PolicyConflict},
    index::Index,
    labels::PodLabels,
};
use crate::Namespace;

/// All policies of a cluster, the weakest first. Names are expected to be unique.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Vec<Policy>,
    by_namespace: Index,
    by_pod: Index,
    /// Of those with an environment.
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

    /// The set of no policy.
    pub fn empty() -> &'static Self {
        &EMPTY
    }

    /// Whether there is no policy.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// The policies, the weakest first.
    pub fn iter(&self) -> std::slice::Iter<'_, Policy> {
        self.policies.iter()
    }

    /// The policies whose namespace selector matches, the weakest first. A policy that cannot match is not looked at, but
    /// for those whose selector names no label that must be there.
    pub fn selects_namespace<'s>(
        &'s self,
        namespace: &Namespace,
    ) -> impl Iterator<Item = &'s Policy> + use<'s> {
        let found = self.by_namespace.candidates(&namespace.labels, &PodLabels::none(), "");
        self.pick(found, |policy| policy.selects_namespace(namespace)).into_iter()
    }

    /// The policies that give a namespace an environment, the weakest first.
    pub(crate) fn environments<'s>(&'s self, namespace: &Namespace) -> Vec<&'s Policy> {
        let found = self.by_environment.candidates(&namespace.labels, &PodLabels::none(), "");
        self.pick(found, |policy| policy.selects_namespace(namespace))
    }

    /// The policies that select a pod, the weakest first.
    pub(crate) fn selects_pod<'s>(
        &'s self,
        namespace: &Namespace,
        labels: &PodLabels<'_>,
        service_account: &str,
    ) -> Vec<&'s Policy> {
        let found = self.by_pod.candidates(&namespace.labels, labels, service_account);
        self.pick(found, |policy| policy.selects_pod(namespace, labels, service_account))
    }

    fn pick(&self, found: Vec<u32>, is_selected: impl Fn(&Policy) -> bool) -> Vec<&Policy> {
        let found = found.into_iter().filter_map(|at| self.policies.get(usize::try_from(at).ok()?));
        found.filter(|policy| is_selected(policy)).collect()
    }

    /// The policies that disagree about a namespace: two environments, or one file or variable of different sources for pods
    /// that both may select. Each stronger policy is compared with the weaker ones of the same name of a file or variable,
    /// at most eight.
    pub fn conflicts(&self, namespace: &Namespace) -> Vec<PolicyConflict<'_>> {
        conflicts::in_namespace(&self.selects_namespace(namespace).collect::<Vec<_>>())
    }
}

impl<'a> IntoIterator for &'a PolicySet {
    type Item = &'a Policy;
    type IntoIter = std::slice::Iter<'a, Policy>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
