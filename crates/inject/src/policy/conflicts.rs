//! Policies that contradict one another.

use std::{collections::BTreeMap, fmt};

use super::{
    applied::Applied,
    compiled::{Policy, Source},
    labels,
    parts::{Enforcement, PolicyParts},
    report::{Notes, PolicyEffect},
    variables::{self, Place, Values},
};
use crate::{
    annotations::{ExactKey, NamedKey},
    intent::Findings,
    problem::{Code, Excerpt, Layer, Problem, shown_key},
};

/// The most policies of one file's name that are compared with a further one.
const COMPARED: usize = 8;
/// The keys of a policy that are those of all secrets of a pod, also of the secrets that other policies give.
const SHARED: [ExactKey; 2] = [ExactKey::Containers, ExactKey::InitContainers];
/// The options of a file.
const OPTIONS: [NamedKey; 6] = [
    NamedKey::SecretFile,
    NamedKey::SecretFormat,
    NamedKey::SecretTemplate,
    NamedKey::SecretMode,
    NamedKey::SecretEncoding,
    NamedKey::SecretOptional,
];

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

impl PolicyConflict<'_> {
    /// Whether pods are refused because of it: none is if one of the two only warns or audits.
    pub fn is_enforced(&self) -> bool {
        are_enforced(self.first, self.second)
    }
}

fn are_enforced(one: &Policy, other: &Policy) -> bool {
    [one, other].iter().all(|policy| policy.enforcement() == Enforcement::Enforce)
}

/// Two policies that give one namespace different environments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnvironmentConflict<'a> {
    first: &'a Policy,
    second: &'a Policy,
}

impl<'a> EnvironmentConflict<'a> {
    /// Among policies with an environment that select one namespace, the weakest first.
    pub(super) fn find(policies: &[&'a Policy]) -> Option<Self> {
        let first = *policies.last()?;
        let second = policies.iter().rev().find(|policy| policy.environment() != first.environment())?;
        Some(Self { first, second })
    }

    pub(super) const CURE: &'static str =
        "keep one: change the environment or the namespaceSelector of one of the policies";

    fn problem(&self) -> Problem {
        problem(self.first, self.to_string(), Self::CURE)
    }
}

impl fmt::Display for EnvironmentConflict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, second } = self;
        let environment = |policy: &'_ Policy| policy.environment().unwrap_or_default().to_owned();
        write!(
            f,
            "policy {} gives the namespace the environment {}, and policy {} gives it {}",
            first.name(),
            environment(first),
            second.name(),
            environment(second),
        )
    }
}

/// What disagrees among the policies that select a namespace, the weakest first.
pub(super) fn in_namespace<'a>(policies: &[&'a Policy]) -> Vec<PolicyConflict<'a>> {
    let mut conflicts = Vec::new();
    let with_environment = |counts: fn(&Policy) -> bool| -> Vec<&'a Policy> {
        let found = policies.iter().copied().filter(|policy| policy.environment().is_some());
        found.filter(|policy| counts(policy)).collect()
    };
    let enforced = with_environment(|policy| policy.enforcement() == Enforcement::Enforce);
    let environment = EnvironmentConflict::find(&enforced)
        .or_else(|| EnvironmentConflict::find(&with_environment(|_| true)));
    conflicts.extend(environment.map(|conflict| PolicyConflict {
        first: conflict.first,
        second: conflict.second,
        problem: conflict.problem(),
    }));
    let mut compare = |stronger: &[(&'a Policy, Subject<'a>)], policy: &'a Policy, subject: Subject<'a>| {
        let differ = |(other, found): &&(&'a Policy, Subject<'a>)| {
            may_select_the_same(other, policy) && found.differs(other, &subject, policy, None)
        };
        // Pods are refused because of enforced ones, so these are shown first.
        let is_enforced = |(other, _): &&(&'a Policy, Subject<'a>)| are_enforced(other, policy);
        let mut others = stronger.iter().filter(differ);
        let other = others.clone().find(is_enforced).or_else(|| others.next());
        if let Some((first, found)) = other {
            let problem = found.about(first, &subject, policy);
            conflicts.push(PolicyConflict { first, second: policy, problem });
        }
    };
    let mut seen: BTreeMap<Name<'a>, Vec<(&'a Policy, Subject<'a>)>> = BTreeMap::new();
    for policy in policies.iter().rev().copied() {
        for subject in Subject::of(policy) {
            let stronger = seen.entry(subject.name()).or_default();
            compare(stronger, policy, subject);
            if stronger.len() < COMPARED {
                stronger.push((policy, subject));
            }
        }
    }
    conflicts
}

/// Whether there may be pods that both select.
fn may_select_the_same(one: &Policy, other: &Policy) -> bool {
    let names = |policy: &Policy| {
        let PolicyParts { service_accounts, .. } = policy.parts();
        let is_exact = !service_accounts.iter().any(|name| name.contains(['*', '?']));
        (is_exact && !service_accounts.is_empty()).then(|| service_accounts.clone())
    };
    let may_share_account = match (names(one), names(other)) {
        (Some(one), Some(other)) => one.iter().any(|name| other.contains(name)),
        _ => true,
    };
    may_share_account && labels::may_overlap(&one.parts().pods, &other.parts().pods)
}

/// Checks the policies of one pod.
pub(crate) fn check(
    applied: &Applied<'_>,
    values: &Values<'_>,
    findings: &mut Findings<'_>,
    notes: &mut Notes,
) {
    environment(applied, findings, notes);
    // Of one policy nothing can be at odds: it was checked when it was compiled.
    if applied.injecting().nth(1).is_none() {
        return;
    }
    let mut seen: BTreeMap<Name<'_>, (usize, Subject<'_>)> = BTreeMap::new();
    for at in applied.injecting().collect::<Vec<_>>().into_iter().rev() {
        let policy = applied.policies[at].policy;
        for subject in Subject::of(policy) {
            let Some((stronger, found)) = seen.get(&subject.name()) else {
                seen.insert(subject.name(), (at, subject));
                continue;
            };
            let other = applied.policies[*stronger].policy;
            if found.differs(other, &subject, policy, Some(values)) {
                let is_enforced = !applied.only_warns(at) && !applied.only_warns(*stronger);
                report(found.about(other, &subject, policy), is_enforced, &[*stronger, at], findings, notes);
            }
        }
    }
}

/// Whoever has nothing to do with the environment is not refused because of it: the pod has, if one of the two policies
/// selects it. If its keys or those of another policy have the variable, that has no value.
fn environment(applied: &Applied<'_>, findings: &mut Findings<'_>, notes: &mut Notes) {
    let Some(conflict) = applied.environment_conflict else { return };
    let both = [conflict.first, conflict.second];
    let places: Vec<usize> = both.iter().filter_map(|policy| applied.place(policy.name())).collect();
    if !places.is_empty() {
        let is_enforced = both.iter().all(|policy| policy.enforcement() != Enforcement::Warn);
        report(conflict.problem(), is_enforced, &places, findings, notes);
    }
}

fn report(
    problem: Problem,
    is_enforced: bool,
    places: &[usize],
    findings: &mut Findings<'_>,
    notes: &mut Notes,
) {
    let effect = if is_enforced { PolicyEffect::Refused } else { PolicyEffect::Warned };
    let text = problem.to_string();
    for at in places {
        notes.add(*at, effect, || text.clone());
    }
    if is_enforced {
        findings.problems.push(problem);
    } else {
        findings.warn(text);
    }
}

/// What two policies may say differently.
#[derive(Clone, Copy, Debug)]
enum Subject<'p> {
    /// What a file or a variable is made from, with its options.
    Source(Source<'p>),
    /// A key of [`SHARED`], none where the policy does not say it.
    Shared(ExactKey, Option<&'p str>),
}

/// Files share their names, whatever they are made from; so do variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name<'p> {
    File(&'p str),
    Variable(&'p str),
    Shared(&'static str),
}

impl<'p> Subject<'p> {
    /// Those of a policy that gives secrets; none of another one.
    fn of(policy: &'p Policy) -> impl Iterator<Item = Self> {
        let shared = SHARED.into_iter().filter(|_| policy.injects());
        let shared = shared.map(|key| Self::Shared(key, policy.injected(key.text())));
        policy.sources().map(Self::Source).chain(shared)
    }

    fn name(&self) -> Name<'p> {
        match self {
            Self::Source(Source { key: NamedKey::InjectEnv, name, .. }) => Name::Variable(name),
            Self::Source(Source { name, .. }) => Name::File(name),
            Self::Shared(key, _) => Name::Shared(key.text()),
        }
    }

    /// Whether two of one name say different things, for a pod with these values or as they are written.
    fn differs(&self, policy: &Policy, other: &Self, of: &Policy, values: Option<&Values<'_>>) -> bool {
        match (self, other) {
            (Self::Source(one), Self::Source(other)) => {
                is_other(one, other, values) || first_option(one, policy, of).is_some()
            }
            (Self::Shared(_, one), Self::Shared(_, other)) => one != other,
            _ => false,
        }
    }

    fn about(&self, first: &Policy, other: &Self, second: &Policy) -> Problem {
        let names = format!("policies {} and {}", first.name(), second.name());
        let said = |value: Option<&str>| match value {
            Some(value) => Excerpt::new(value).to_string(),
            None => "not set".to_owned(),
        };
        match (self, other) {
            (Self::Source(one), Self::Source(other)) => {
                let what = if one.key == NamedKey::InjectEnv { "the variable" } else { "the file" };
                let what = format!("{what} {}", shown_key(one.name));
                let cure = "give one of them another name, or let the policies select different pods";
                let message = match first_option(one, first, second) {
                    Some((key, values)) if one.key == other.key && one.value == other.value => {
                        let [one, other] = values.map(said);
                        format!(
                            "{names} give {what} with different options: {} is {one} and {other}",
                            key.text()
                        )
                    }
                    _ => {
                        let [one, other] = [one.value, other.value].map(Excerpt::new);
                        format!("{names} give {what} from different sources: {one} and {other}")
                    }
                };
                problem(first, message, cure)
            }
            (Self::Shared(key, one), Self::Shared(_, other)) => {
                let [one, other] = [*one, *other].map(said);
                let key = key.text();
                let message = format!(
                    "{names} give the pod secrets for different containers: {key} is {one} and {other}"
                );
                problem(
                    first,
                    message,
                    "name the same containers in both, or let the policies select different pods",
                )
            }
            _ => unreachable!("what has one name is of one kind"),
        }
    }
}

/// The first option of a file or variable that two policies set differently, with both values.
fn first_option<'p>(
    source: &Source<'p>,
    one: &'p Policy,
    other: &'p Policy,
) -> Option<(NamedKey, [Option<&'p str>; 2])> {
    OPTIONS.into_iter().find_map(|key| {
        let values = [one, other].map(|policy| policy.option(key, source.name));
        (values[0] != values[1]).then_some((key, values))
    })
}

/// Whether two sources of one name differ when their variables are filled; without values, as they are written.
fn is_other(one: &Source<'_>, other: &Source<'_>, values: Option<&Values<'_>>) -> bool {
    let filled = |source: &Source<'_>, values: &Values<'_>| {
        let place = if source.key == NamedKey::InjectDynamic { Place::Dynamic } else { Place::Secrets };
        variables::fill(source.value, place, values).map(|filled| filled.text.into_owned()).ok()
    };
    one.key != other.key
        || one.value != other.value
            && values.is_none_or(|values| filled(one, values) != filled(other, values))
}

fn problem(policy: &Policy, message: String, cure: &'static str) -> Problem {
    Problem {
        code: Code::PolicyConflict,
        key: None,
        layer: Layer::Policy(policy.name().clone()),
        value: None,
        message: message.into(),
        allowed: None,
        cure: cure.into(),
    }
}
