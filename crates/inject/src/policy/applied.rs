//! The policies in force for one pod.

use super::{
    compiled::Policy,
    conflicts::EnvironmentConflict,
    labels::PodLabels,
    parts::{Enforcement, PolicyMode},
    set::PolicySet,
    variables::{Environment, Texts, Values},
};
use crate::{Context, Namespace, PodView};

/// The policies that select a pod, and those that set an environment for its namespace.
#[derive(Debug)]
pub(crate) struct SelectedPolicies<'a> {
    labels: PodLabels<'a>,
    /// In ascending precedence.
    pub(super) policies: Vec<&'a Policy>,
    /// The policies with an environment that select the namespace, in ascending precedence.
    environments: Vec<&'a Policy>,
    now: i64,
}

/// Which policies are in force in an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// All except those under `audit`.
    Real,
    /// Likewise, but policies under `warn` add nothing to the pod.
    WithoutWarning,
    /// All, with those under `audit` treated as enforced.
    Audit,
}

impl<'a> SelectedPolicies<'a> {
    pub(super) fn new(
        pod: &PodView<'a>,
        namespace: &'a Namespace,
        policies: &'a PolicySet,
        now: i64,
    ) -> Self {
        let labels = PodLabels::from_pod(pod);
        let environments = policies.environments(namespace);
        let policies = policies.selects_pod(namespace, &labels, pod.service_account());
        Self { labels, policies, environments, now }
    }

    /// Whether no policy concerns the pod.
    pub(super) fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.environments.is_empty()
    }

    pub(super) fn has_audit(&self) -> bool {
        self.policies.iter().any(|policy| policy.enforcement() == Enforcement::Audit)
    }

    pub(super) fn applied(&self, force: Force) -> AppliedPolicies<'_> {
        let is_in_force =
            |policy: &&&Policy| force == Force::Audit || policy.enforcement() != Enforcement::Audit;
        let enforcement = |policy: &Policy| match policy.enforcement() {
            Enforcement::Audit => Enforcement::Enforce,
            other => other,
        };
        let policies = self.policies.iter().filter(is_in_force).map(|policy| AppliedPolicy {
            policy,
            enforcement: enforcement(policy),
            gives: force != Force::WithoutWarning || policy.enforcement() == Enforcement::Enforce,
        });
        let environments: Vec<&Policy> = self.environments.iter().filter(is_in_force).copied().collect();
        let (environment, environment_conflict) = Environment::of_namespace(&environments, enforcement);
        AppliedPolicies {
            policies: policies.collect(),
            environment,
            environment_conflict,
            labels: &self.labels,
            now: self.now,
        }
    }
}

/// The policies in force for one pod, and the environment of its namespace.
#[derive(Debug)]
pub(crate) struct AppliedPolicies<'s> {
    /// In ascending precedence.
    pub(super) policies: Vec<AppliedPolicy<'s>>,
    pub(crate) environment: Environment<'s>,
    /// Two policies that contradict each other about the environment, even if one of them only
    /// warns.
    pub(super) environment_conflict: Option<EnvironmentConflict<'s>>,
    pub(super) labels: &'s dyn Texts,
    pub(super) now: i64,
}

/// A policy that is in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppliedPolicy<'s> {
    pub(crate) policy: &'s Policy,
    /// `Enforce` or `Warn`.
    pub(super) enforcement: Enforcement,
    /// Whether its keys are added to the pod.
    pub(super) gives: bool,
}

/// Maximum number of policies that a text names.
const NAMES_SHOWN: usize = 3;

/// Lists policies in words.
pub(super) fn in_words(names: &[&str]) -> String {
    match names.get(..NAMES_SHOWN) {
        Some(shown) if names.len() > NAMES_SHOWN => {
            format!("policies {} and {} more", shown.join(", "), names.len() - NAMES_SHOWN)
        }
        _ => match names {
            [only] => format!("policy {only}"),
            [others @ .., last] => format!("policies {} and {last}", others.join(", ")),
            [] => "no policy".to_owned(),
        },
    }
}

impl<'s> AppliedPolicies<'s> {
    /// No policies, for a pod with these labels.
    pub(crate) const fn none(labels: &'s PodLabels<'s>) -> Self {
        Self {
            policies: Vec::new(),
            environment: Environment::Unknown,
            environment_conflict: None,
            labels,
            now: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.policies.is_empty() && matches!(self.environment, Environment::Unknown)
    }

    /// The same pod and namespace without the policies.
    pub(crate) const fn without_policies(&self) -> Self {
        Self { policies: Vec::new(), environment_conflict: None, ..*self }
    }

    /// The values for the variables in a pod's keys.
    pub(crate) fn values<'v>(&'v self, pod: &'v PodView<'v>, context: &Context<'v>) -> Values<'v> {
        let Self { environment, labels, .. } = self;
        let namespace = context.namespace;
        Values { pod, labels: *labels, namespace, environment: *environment, names: None }
    }

    /// The number of policies that select the pod.
    pub(crate) fn len(&self) -> usize {
        self.policies.len()
    }

    /// The total number of entries in all allow-lists.
    pub(crate) fn allowed(&self) -> usize {
        self.policies.iter().map(|applied| applied.policy.allowed()).sum()
    }

    /// The policies that add keys to the pod, in ascending precedence.
    pub(crate) fn giving(&self) -> impl Iterator<Item = &'s Policy> {
        self.giving_at().map(|at| self.policies[at].policy)
    }

    /// The indices of the policies that add keys to the pod: secrets, or only defaults.
    pub(super) fn giving_at(&self) -> impl Iterator<Item = usize> {
        self.places(|policy| policy.entries().next().is_some())
    }

    /// The indices of the policies that add secrets to the pod.
    pub(super) fn injecting(&self) -> impl Iterator<Item = usize> {
        self.places(Policy::injects)
    }

    fn places(&self, gives: impl Fn(&Policy) -> bool) -> impl Iterator<Item = usize> {
        let policies = self.policies.iter().enumerate();
        policies.filter(move |(_, applied)| applied.gives && gives(applied.policy)).map(|(at, _)| at)
    }

    /// Whether a policy adds secrets to the pod.
    pub(crate) fn injects(&self) -> bool {
        self.injecting().next().is_some()
    }

    /// The policies that add secrets to the pod, in words; names at most three.
    pub(crate) fn injectors(&self) -> Option<String> {
        let places: Vec<usize> = self.injecting().collect();
        let names: Vec<&str> = places.iter().rev().map(|at| &**self.policies[*at].policy.name()).collect();
        (!names.is_empty()).then(|| in_words(&names))
    }

    /// The index of a policy.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.policies.iter().position(|applied| **applied.policy.name() == *name)
    }

    /// Whether a policy does not reject pods.
    pub(super) fn only_warns(&self, at: usize) -> bool {
        self.policies.get(at).is_some_and(|applied| applied.enforcement != Enforcement::Enforce)
    }

    /// The mode of the policy with the highest precedence among those that set one.
    pub(super) fn mode(&self) -> Option<PolicyModeSetting> {
        self.mode_of(|_| true)
    }

    /// Likewise, among enforced policies.
    pub(super) fn enforced_mode(&self) -> Option<PolicyModeSetting> {
        self.mode_of(|enforcement| enforcement == Enforcement::Enforce)
    }

    fn mode_of(&self, counts: impl Fn(Enforcement) -> bool) -> Option<PolicyModeSetting> {
        let mut policies = self.policies.iter().enumerate().rev();
        policies.find_map(|(at, applied)| {
            let parts = applied.policy.parts();
            let is_silent = parts.mutation_mode.is_none() && parts.pods_may_override.is_none();
            if is_silent || !counts(applied.enforcement) {
                return None;
            }
            let mode = parts.mutation_mode.unwrap_or_default();
            let may_override = parts.pods_may_override.unwrap_or(mode == PolicyMode::Inject);
            Some(PolicyModeSetting { at, mode, may_override })
        })
    }
}

/// The mode that a policy sets for pods.
#[derive(Clone, Copy, Debug)]
pub(super) struct PolicyModeSetting {
    /// The policy's index.
    pub(super) at: usize,
    pub(super) mode: PolicyMode,
    /// Whether pods may override the mode.
    pub(super) may_override: bool,
}

impl PolicyModeSetting {
    /// Whether pods must not opt out.
    pub(super) fn forbids(self) -> bool {
        self.mode == PolicyMode::Inject && !self.may_override
    }
}
