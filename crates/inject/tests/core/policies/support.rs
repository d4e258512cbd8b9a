//! Builders for policies, and a cluster with policies.

use scaivault_inject::{
    Allow, Context, Decision, Enforcement, Exception, Explanation, InjectorConfig, KubeVersion, Namespace,
    PodView, Policy, PolicyMode, PolicyParts, PolicyReport, PolicySet, Settings, decide_with_policies,
    explain,
};
use scaivault_testkit::key;
use serde_json::Value;

use crate::support::{after, config};

/// The current time in the tests, in Unix seconds.
pub(crate) const NOW: i64 = 1_800_000_000;

/// A builder for a policy.
#[derive(Clone, Debug)]
pub(crate) struct Draft(pub(crate) PolicyParts);

/// A policy that selects everything and has no effect.
pub(crate) fn policy(name: &str) -> Draft {
    Draft(PolicyParts { name: name.to_owned(), generation: 1, ..PolicyParts::default() })
}

/// A list of allowed values.
#[expect(clippy::unnecessary_wraps, reason = "it is assigned to fields that may have no list")]
pub(crate) fn named<const N: usize>(entries: [&str; N]) -> Option<Vec<String>> {
    Some(entries.map(str::to_owned).to_vec())
}

impl Draft {
    fn with(mut self, change: impl FnOnce(&mut PolicyParts)) -> Self {
        change(&mut self.0);
        self
    }

    pub(crate) fn inject(self, key: &str, value: &str) -> Self {
        self.with(|parts| parts.inject.push((key.to_owned(), value.to_owned())))
    }

    pub(crate) fn defaults(self, key: &str, value: &str) -> Self {
        self.with(|parts| parts.defaults.push((key.to_owned(), value.to_owned())))
    }

    pub(crate) fn priority(self, priority: i32) -> Self {
        self.with(|parts| parts.priority = priority)
    }

    pub(crate) fn environment(self, environment: &str) -> Self {
        self.with(|parts| parts.environment = Some(environment.to_owned()))
    }

    pub(crate) fn select_namespaces(self, key: &str, value: &str) -> Self {
        self.with(|parts| drop(parts.namespaces.match_labels.insert(key.to_owned(), value.to_owned())))
    }

    pub(crate) fn select_pods(self, key: &str, value: &str) -> Self {
        self.with(|parts| drop(parts.pods.match_labels.insert(key.to_owned(), value.to_owned())))
    }

    pub(crate) fn service_account(self, glob: &str) -> Self {
        self.with(|parts| parts.service_accounts.push(glob.to_owned()))
    }

    pub(crate) fn allow(self, change: impl FnOnce(&mut Allow)) -> Self {
        self.with(|parts| change(&mut parts.allow))
    }

    pub(crate) fn mode(self, mode: PolicyMode) -> Self {
        self.with(|parts| parts.mutation_mode = Some(mode))
    }

    pub(crate) fn pods_may_override(self, may: bool) -> Self {
        self.with(|parts| parts.pods_may_override = Some(may))
    }

    pub(crate) fn enforcement(self, enforcement: Enforcement) -> Self {
        self.with(|parts| parts.enforcement = enforcement)
    }

    pub(crate) fn exception(self, change: impl FnOnce(&mut Exception)) -> Self {
        let mut exception = Exception {
            name: "legacy".to_owned(),
            owner: "team".to_owned(),
            reason: "until it is replaced".to_owned(),
            expires: NOW + 1,
            ..Exception::default()
        };
        change(&mut exception);
        self.with(|parts| parts.exceptions.push(exception))
    }

    pub(crate) fn compiled(self) -> Policy {
        Policy::compile(self.0).unwrap_or_else(|problems| panic!("{problems}"))
    }
}

/// A cluster with policies, and the namespace `billing`.
#[derive(Clone, Debug)]
pub(crate) struct World {
    settings: Settings,
    namespace: Namespace,
    policies: PolicySet,
    role: Option<&'static str>,
    now: i64,
}

impl World {
    pub(crate) fn new(policies: impl IntoIterator<Item = Draft>) -> Self {
        Self::with(config(), policies)
    }

    pub(crate) fn with(config: InjectorConfig, policies: impl IntoIterator<Item = Draft>) -> Self {
        let name = "billing".to_owned();
        let labels = [("kubernetes.io/metadata.name".to_owned(), name.clone())].into();
        Self {
            settings: Settings::try_from(config).expect("the tests' configuration has no problems"),
            namespace: Namespace { name, labels, ..Namespace::default() },
            policies: PolicySet::new(policies.into_iter().map(Draft::compiled).collect()),
            role: None,
            now: NOW,
        }
    }

    pub(crate) fn namespace_label(mut self, key: &str, value: &str) -> Self {
        self.namespace.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn namespace_annotation(mut self, name: &str, value: &str) -> Self {
        self.namespace.annotations.insert(key(name), value.to_owned());
        self
    }

    pub(crate) fn role(self, role: &'static str) -> Self {
        Self { role: Some(role), ..self }
    }

    pub(crate) fn at(self, now: i64) -> Self {
        Self { now, ..self }
    }

    pub(crate) fn context(&self) -> Context<'_> {
        Context::new(&self.settings, &self.namespace, KubeVersion::new(1, 36))
            .with_service_account_role(self.role)
            .with_policies(&self.policies, self.now)
    }

    pub(crate) fn decide_with(&self, pod: &Value) -> (Decision, PolicyReport) {
        let text = pod.to_string();
        let decided = decide_with_policies(&PodView::parse(&text).expect("a pod"), &self.context());
        let again = decide_with_policies(&PodView::parse(&text).expect("a pod"), &self.context());
        assert_eq!(decided, again, "equal input gives equal output");
        decided
    }

    pub(crate) fn decide(&self, pod: &Value) -> Decision {
        self.decide_with(pod).0
    }

    pub(crate) fn report(&self, pod: &Value) -> PolicyReport {
        self.decide_with(pod).1
    }

    pub(crate) fn explain(&self, pod: &Value) -> Vec<Explanation> {
        let text = pod.to_string();
        explain(&PodView::parse(&text).expect("a pod"), &self.context())
    }

    /// The injected pod; panics with the decision if there is no injection.
    pub(crate) fn inject(&self, pod: &Value) -> Value {
        let decision = self.decide(pod);
        if let Decision::Deny(denial) = &decision {
            panic!("denied: {}", denial.problems);
        }
        assert_eq!(decision.outcome(), "injected", "{decision:?}");
        after(pod, &decision)
    }

    /// The pod without its injection.
    pub(crate) fn detach(&self, pod: &Value) -> Value {
        let without = Self { policies: PolicySet::default(), ..self.clone() };
        let detaching = without.namespace_annotation("mutation-mode", "ignore-and-detach");
        after(pod, &detaching.decide(pod))
    }

    /// The text of a rejection.
    pub(crate) fn refusal(&self, pod: &Value) -> String {
        match self.decide(pod) {
            Decision::Deny(denial) => denial.problems.to_string(),
            other => panic!("not denied: {other:?}"),
        }
    }

    /// Checks the outcome and the reason of a decision.
    #[track_caller]
    pub(crate) fn expect(&self, pod: &Value, outcome: &str, reason: &str) -> Decision {
        let decision = self.decide(pod);
        assert_eq!((decision.outcome(), decision.reason()), (outcome, reason), "{decision:?}");
        decision
    }

    /// The conflicts of policies in the namespace, as pairs of names.
    pub(crate) fn conflicts(&self) -> Vec<(String, String)> {
        self.all_conflicts().map(|(pair, _)| pair).collect()
    }

    /// Those for which pods are rejected.
    pub(crate) fn enforced_conflicts(&self) -> Vec<(String, String)> {
        self.all_conflicts().filter(|(_, is_enforced)| *is_enforced).map(|(pair, _)| pair).collect()
    }

    fn all_conflicts(&self) -> impl Iterator<Item = ((String, String), bool)> {
        let conflicts = self.policies.conflicts(&[&self.namespace]).into_iter();
        conflicts.map(|found| {
            ((found.first.name().to_string(), found.second.name().to_string()), found.is_enforced())
        })
    }

    /// The names of the policies that select a pod, in descending precedence, found by evaluating
    /// each policy alone.
    pub(crate) fn selected_by_all(&self, pod: &Value) -> Vec<String> {
        let alone = |policy: &Policy| {
            let world = Self { policies: PolicySet::new(vec![policy.clone()]), ..self.clone() };
            !world.report(pod).uses.is_empty()
        };
        let mut names: Vec<_> = self
            .policies
            .iter()
            .filter(|policy| alone(policy))
            .map(|policy| policy.name().to_string())
            .collect();
        names.reverse();
        names
    }
}
