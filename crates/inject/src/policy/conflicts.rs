//! Policies that contradict one another.

use std::collections::BTreeMap;

use super::{
    applied::Applied,
    compiled::{Policy, Source},
    labels,
    parts::{Enforcement, PolicyParts},
    report::{Notes, PolicyEffect},
    variables::{self, Place, Values},
};
use crate::{
    annotations::NamedKey,
    intent::Findings,
    pod::PodView,
    problem::{Code, Excerpt, Layer, Problem, shown_key},
};

/// The most policies of one file's name that are compared with a further one.
const COMPARED: usize = 8;
/// The variable that a namespace's environment fills.
const ENVIRONMENT: &str = "${environment}";

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

/// Two policies that give one namespace different environments.
#[derive(Clone, Copy, Debug)]
pub(super) struct EnvironmentConflict<'a> {
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

    fn problem(&self) -> Problem {
        let Self { first, second } = self;
        let environment = |policy: &'a Policy| policy.environment().unwrap_or_default();
        problem(
            first,
            format!(
                "policy {} gives the namespace the environment {}, and policy {} gives it {}",
                first.name(),
                environment(first),
                second.name(),
                environment(second),
            ),
            "keep one: change the environment or the namespaceSelector of one of the policies",
        )
    }
}

/// What disagrees among the policies that select a namespace, the weakest first.
pub(super) fn in_namespace<'a>(policies: &[&'a Policy]) -> Vec<PolicyConflict<'a>> {
    let with_environment: Vec<&Policy> =
        policies.iter().copied().filter(|policy| policy.environment().is_some()).collect();
    let environment = EnvironmentConflict::find(&with_environment);
    let mut conflicts: Vec<PolicyConflict<'a>> = environment
        .map(|conflict| PolicyConflict {
            first: conflict.first,
            second: conflict.second,
            problem: conflict.problem(),
        })
        .into_iter()
        .collect();
    let mut seen: BTreeMap<(bool, &str), Vec<(&Policy, Source<'_>)>> = BTreeMap::new();
    for policy in policies.iter().rev().copied() {
        for source in policy.sources() {
            let stronger = seen.entry(name_of(&source)).or_default();
            let other = stronger
                .iter()
                .find(|(stronger, found)| is_other(found, &source) && may_select_the_same(stronger, policy));
            if let Some((first, found)) = other {
                let problem = about_source(first, found, policy, &source);
                conflicts.push(PolicyConflict { first, second: policy, problem });
            }
            if stronger.len() < COMPARED {
                stronger.push((policy, source));
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
    pod: &PodView<'_>,
    applied: &Applied<'_>,
    values: &Values<'_>,
    findings: &mut Findings<'_>,
    notes: &mut Notes,
) {
    if applied.policies.is_empty() && applied.environment_conflict.is_none() {
        return;
    }
    environment(pod, applied, values, findings, notes);
    let mut seen: BTreeMap<(bool, &str), (usize, Source<'_>)> = BTreeMap::new();
    // Of one policy nothing can be at odds: it was checked when it was compiled.
    if applied.injecting().nth(1).is_none() {
        return;
    }
    for at in applied.injecting().collect::<Vec<_>>().into_iter().rev() {
        for source in applied.policies[at].policy.sources() {
            match seen.get(&name_of(&source)) {
                None => {
                    seen.insert(name_of(&source), (at, source));
                }
                Some((stronger, found)) if is_other_when_filled(found, &source, values) => {
                    let first = &applied.policies[*stronger];
                    let second = &applied.policies[at];
                    let problem = about_source(first.policy, found, second.policy, &source);
                    let is_enforced = [first, second].iter().all(|it| it.enforcement == Enforcement::Enforce);
                    report(problem, is_enforced, &[*stronger, at], findings, notes);
                }
                Some(_) => {}
            }
        }
    }
}

fn environment(
    pod: &PodView<'_>,
    applied: &Applied<'_>,
    values: &Values<'_>,
    findings: &mut Findings<'_>,
    notes: &mut Notes,
) {
    let Some(conflict) = applied.environment_conflict else { return };
    let both = [conflict.first, conflict.second];
    let places: Vec<usize> = both.iter().filter_map(|policy| applied.place(policy.name())).collect();
    let mut said = pod
        .annotations()
        .map(|(_, value)| value)
        .chain(values.namespace.annotations().map(|(_, value)| value))
        .chain(applied.policies.iter().flat_map(|applied| applied.policy.texts()));
    // Whoever has nothing to do with the environment is not refused because of it.
    if !places.is_empty() || said.any(|text| text.contains(ENVIRONMENT)) {
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

/// Files share their names, whatever they are made from; so do variables.
fn name_of<'p>(source: &Source<'p>) -> (bool, &'p str) {
    (source.key == NamedKey::InjectEnv, source.name)
}

fn is_other(one: &Source<'_>, other: &Source<'_>) -> bool {
    one.key != other.key || one.value != other.value
}

fn is_other_when_filled(one: &Source<'_>, other: &Source<'_>, values: &Values<'_>) -> bool {
    if !is_other(one, other) {
        return false;
    }
    let filled = |source: &Source<'_>| {
        let place = if source.key == NamedKey::InjectDynamic { Place::Dynamic } else { Place::Secrets };
        variables::fill(source.value, place, values).map(|filled| filled.text.into_owned()).ok()
    };
    one.key != other.key || filled(one) != filled(other)
}

fn about_source(first: &Policy, one: &Source<'_>, second: &Policy, other: &Source<'_>) -> Problem {
    let what = if one.key == NamedKey::InjectEnv { "the variable" } else { "the file" };
    problem(
        first,
        format!(
            "policies {} and {} give {what} {} from different sources: {} and {}",
            first.name(),
            second.name(),
            shown_key(one.name),
            Excerpt::new(one.value),
            Excerpt::new(other.value),
        ),
        "give one of them another name, or let the policies select different pods",
    )
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
