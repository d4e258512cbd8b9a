//! Conflicts between policies.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use super::{
    applied::AppliedPolicies,
    compiled::{Policy, Source},
    labels,
    parts::{Enforcement, PolicyParts},
    report::{Notes, PolicyEffect},
    variables::{self, Environment, Place, Values},
};
use crate::{
    Namespace,
    annotations::{ExactKey, NamedKey},
    intent::Diagnostics,
    problem::{Code, Excerpt, Layer, Problem, shown_key},
};

/// Maximum number of policies with the same file name that a further one is compared with.
const COMPARED: usize = 8;
/// The options of a file.
const OPTIONS: [NamedKey; 6] = [
    NamedKey::SecretFile,
    NamedKey::SecretFormat,
    NamedKey::SecretTemplate,
    NamedKey::SecretMode,
    NamedKey::SecretEncoding,
    NamedKey::SecretOptional,
];

/// Two policies that contradict each other.
#[derive(Clone, Debug)]
pub struct PolicyConflict<'a> {
    /// The one with the higher precedence.
    pub first: &'a Policy,
    /// The one with the lower precedence.
    pub second: &'a Policy,
    /// The first namespace in which they conflict.
    pub namespace: &'a Namespace,
    /// The problem; it names both policies.
    pub problem: Problem,
}

impl PolicyConflict<'_> {
    /// Whether pods are rejected because of it, which is not the case if one of the two only warns
    /// or audits.
    pub fn is_enforced(&self) -> bool {
        are_enforced(self.first, self.second)
    }
}

fn are_enforced(one: &Policy, other: &Policy) -> bool {
    [one, other].iter().all(|policy| policy.enforcement() == Enforcement::Enforce)
}

/// Two policies that set different environments for one namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnvironmentConflict<'a> {
    first: &'a Policy,
    second: &'a Policy,
}

impl<'a> EnvironmentConflict<'a> {
    /// Finds a conflict among policies with an environment that select one namespace, in ascending
    /// precedence.
    fn find(policies: &[&'a Policy]) -> Option<Self> {
        let first = *policies.last()?;
        let second = policies.iter().rev().find(|policy| policy.environment() != first.environment())?;
        Some(Self { first, second })
    }

    pub(super) const FIX: &'static str =
        "keep one: change the environment or the namespaceSelector of one of the policies";

    fn problem(&self) -> Problem {
        problem(self.first, self.to_string(), Self::FIX)
    }
}

impl fmt::Display for EnvironmentConflict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, second } = self;
        write!(
            f,
            "policy {} gives the namespace the environment {}, and policy {} gives it {}",
            first.name(),
            first.environment().unwrap_or_default(),
            second.name(),
            second.environment().unwrap_or_default(),
        )
    }
}

impl<'a> Environment<'a> {
    /// The environment of a namespace that is selected by these policies (in ascending precedence),
    /// and a conflict about it. A policy cannot override the environment of one that is enforced
    /// more strictly, but the conflict between them is still returned.
    pub(super) fn of_namespace(
        policies: &[&'a Policy],
        enforcement: impl Fn(&Policy) -> Enforcement,
    ) -> (Self, Option<EnvironmentConflict<'a>>) {
        let saying: Vec<&Policy> =
            policies.iter().copied().filter(|policy| policy.environment().is_some()).collect();
        let strictest = saying.iter().map(|policy| enforcement(policy)).max();
        let decisive = saying.iter().filter(|policy| Some(enforcement(policy)) == strictest);
        let decisive: Vec<&Policy> = decisive.copied().collect();
        if let Some(conflict) = EnvironmentConflict::find(&decisive) {
            return (Self::Contested(conflict), Some(conflict));
        }
        let known = decisive.last().and_then(|policy| policy.environment());
        (known.map_or(Self::Unknown, Self::Known), EnvironmentConflict::find(&saying))
    }
}

/// Finds the conflicts among policies (in ascending precedence) that select the same namespaces.
pub(super) fn in_namespaces<'a>(
    policies: &[&'a Policy],
    namespaces: &[&'a Namespace],
    conflicts: &mut Vec<PolicyConflict<'a>>,
) {
    let Some(first_namespace) = namespaces.first() else { return };
    let (environment, conflict) = Environment::of_namespace(policies, Policy::enforcement);
    conflicts.extend(conflict.map(|conflict| PolicyConflict {
        first: conflict.first,
        second: conflict.second,
        namespace: first_namespace,
        problem: conflict.problem(),
    }));
    let namespaces = Namespaces { namespaces, environment };
    let mut compare =
        |stronger: &[(&'a Policy, PolicySetting<'a>)], policy: &'a Policy, setting: &PolicySetting<'a>| {
            let differ = |(other, found): &(&'a Policy, PolicySetting<'a>)| {
                let namespace = namespaces.first_difference((other, found), (policy, setting))?;
                may_select_the_same(other, policy).then_some((*other, found.clone(), namespace))
            };
            // Conflicts with enforced policies come first, because pods are rejected for them.
            let mut others = stronger.iter().filter_map(differ).peekable();
            let first = others.peek().cloned();
            let found = others.find(|(other, ..)| are_enforced(other, policy)).or(first);
            if let Some((first, found, namespace)) = found {
                let problem = found.about(first, setting, policy);
                conflicts.push(PolicyConflict { first, second: policy, namespace, problem });
            }
        };
    let mut seen: BTreeMap<Name<'a>, Vec<(&'a Policy, PolicySetting<'a>)>> = BTreeMap::new();
    for policy in policies.iter().rev().copied() {
        for setting in PolicySetting::from_policy(policy) {
            let stronger = seen.entry(setting.name()).or_default();
            compare(stronger, policy, &setting);
            if stronger.len() < COMPARED {
                stronger.push((policy, setting));
            }
        }
    }
}

/// Namespaces that are selected by the same policies and so have the same environment.
struct Namespaces<'n, 'a> {
    namespaces: &'n [&'a Namespace],
    environment: Environment<'a>,
}

impl<'a> Namespaces<'_, 'a> {
    /// The first namespace in which two policies set different values. Variables that depend on the
    /// pod are compared unfilled.
    fn first_difference(
        &self,
        (stronger, one): (&Policy, &PolicySetting<'_>),
        (weaker, other): (&Policy, &PolicySetting<'_>),
    ) -> Option<&'a Namespace> {
        let has_name = [one, other].iter().any(|setting| setting.text().contains("${namespace}"));
        // Without the variable, all namespaces give the same result.
        let count = if has_name { self.namespaces.len() } else { 1 };
        let mut namespaces = self.namespaces.iter().take(count).copied();
        namespaces.find(|namespace| {
            let fill = |text, place| {
                Some(variables::fill_in_namespace(text, place, &namespace.name, self.environment))
            };
            one.differs(stronger, other, weaker, fill)
        })
    }
}

/// Whether a pod can exist that both select.
fn may_select_the_same(one: &Policy, other: &Policy) -> bool {
    let [PolicyParts { service_accounts: names, pods, .. }, other] = [one.parts(), other.parts()];
    let are_exact =
        |names: &[String]| !names.is_empty() && !names.iter().any(|name| name.contains(['*', '?']));
    let may_share_account = !are_exact(names)
        || !are_exact(&other.service_accounts)
        || names.iter().any(|name| other.service_accounts.contains(name));
    may_share_account && labels::may_overlap(pods, &other.pods)
}

/// Finds the conflicts among the policies of one pod.
pub(crate) fn check(
    applied: &AppliedPolicies<'_>,
    values: &Values<'_>,
    diagnostics: &mut Diagnostics<'_>,
    notes: &mut Notes,
) {
    environment(applied, diagnostics, notes);
    // A single policy has no conflicts: it was validated when it was compiled.
    if applied.injecting().next().is_none() || applied.giving_at().nth(1).is_none() {
        return;
    }
    let mut compare = |stronger: usize, one: &PolicySetting<'_>, weaker: usize, other: &PolicySetting<'_>| {
        let [first, second] = [stronger, weaker].map(|at| applied.policies[at].policy);
        let fill = |text, place| variables::fill(text, place, values).ok().map(|filled| filled.text);
        if one.differs(first, other, second, fill) {
            // If one of the two is enforced, its values apply: the pod is evaluated again without
            // the policies that only warn.
            let is_enforced = !applied.only_warns(stronger) || !applied.only_warns(weaker);
            report(one.about(first, other, second), is_enforced, &[stronger, weaker], diagnostics, notes);
        }
    };
    let mut seen: BTreeMap<Name<'_>, Vec<(usize, PolicySetting<'_>)>> = BTreeMap::new();
    let mut giving: Vec<usize> = applied.giving_at().collect();
    giving.reverse();
    for at in giving {
        for setting in PolicySetting::from_policy(applied.policies[at].policy) {
            seen.entry(setting.name()).or_default().push((at, setting));
        }
    }
    for settings in seen.values() {
        // The effective value is from the policy with the highest precedence that sets one.
        let Some(effective) = settings.iter().position(|(_, setting)| setting.is_set()) else {
            continue;
        };
        let (at, setting) = &settings[effective];
        for (stronger, other) in &settings[..effective] {
            compare(*stronger, other, *at, setting);
        }
        for (weaker, other) in &settings[effective + 1..] {
            compare(*at, setting, *weaker, other);
        }
    }
}

/// Rejects a pod because of contradicting environments only if one of the two policies selects it.
/// If keys use the variable, it has no value and they are reported separately.
fn environment(applied: &AppliedPolicies<'_>, diagnostics: &mut Diagnostics<'_>, notes: &mut Notes) {
    match environment_problem(applied, notes) {
        Some((problem, true)) => diagnostics.problems.push(problem),
        Some((problem, false)) => diagnostics.warn(problem.to_string()),
        None => {}
    }
}

/// The conflict about the environment among policies that select a pod, and whether it is enforced.
pub(super) fn environment_problem(
    applied: &AppliedPolicies<'_>,
    notes: &mut Notes,
) -> Option<(Problem, bool)> {
    let conflict = applied.environment_conflict?;
    let both = [conflict.first, conflict.second];
    let places: Vec<usize> = both.iter().filter_map(|policy| applied.place(policy.name())).collect();
    if places.is_empty() {
        return None;
    }
    let is_enforced = both.iter().all(|policy| policy.enforcement() != Enforcement::Warn);
    let problem = conflict.problem();
    note(&problem, is_enforced, &places, notes);
    Some((problem, is_enforced))
}

fn report(
    problem: Problem,
    is_enforced: bool,
    places: &[usize],
    diagnostics: &mut Diagnostics<'_>,
    notes: &mut Notes,
) {
    note(&problem, is_enforced, places, notes);
    if is_enforced {
        diagnostics.problems.push(problem);
    } else {
        diagnostics.warn(problem.to_string());
    }
}

fn note(problem: &Problem, is_enforced: bool, places: &[usize], notes: &mut Notes) {
    let effect = if is_enforced { PolicyEffect::Refused } else { PolicyEffect::Warned };
    let text = problem.to_string();
    for at in places {
        notes.add(*at, effect, || text.clone());
    }
}

/// A setting that two policies can set differently.
#[derive(Clone, Debug)]
enum PolicySetting<'p> {
    /// The source of a file or variable, with its options.
    Source(Source<'p>),
    /// A setting that applies to all secrets of a pod; `None` if the policy does not set it.
    Shared(PodSetting, Option<String>),
}

/// Files share one namespace, whatever their kind of source; so do variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name<'p> {
    File(&'p str),
    Variable(&'p str),
    Shared(PodSetting),
}

/// The settings that apply to all secrets of a pod, including those that other policies add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PodSetting {
    Containers,
    InitContainers,
    Pattern,
    Reload,
}

impl PodSetting {
    const ALL: [Self; 4] = [Self::Containers, Self::InitContainers, Self::Pattern, Self::Reload];

    const fn keys(self) -> &'static [ExactKey] {
        match self {
            Self::Containers => &[ExactKey::Containers],
            Self::InitContainers => &[ExactKey::InitContainers],
            Self::Pattern => &[ExactKey::Pattern],
            Self::Reload => &[ExactKey::ReloadSignal, ExactKey::ReloadTarget, ExactKey::ReloadUrl],
        }
    }

    /// The field of a policy that sets it.
    const fn field(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::InitContainers => "initContainers",
            Self::Pattern => "pattern",
            Self::Reload => "reload",
        }
    }

    /// Whether a policy that omits it selects the default containers, instead of leaving the choice
    /// to other policies.
    const fn has_default(self) -> bool {
        matches!(self, Self::Containers | Self::InitContainers)
    }

    /// The value that a policy sets, in canonical form.
    fn value_in(self, policy: &Policy) -> Option<String> {
        let values = self.keys().iter().filter_map(|key| policy.injected(key.text()));
        let values: Vec<&str> = values.collect();
        if values.is_empty() {
            return None;
        }
        if !self.has_default() {
            return Some(values.join(" "));
        }
        let mut names: Vec<&str> = values.iter().flat_map(|value| value.split(',')).map(str::trim).collect();
        names.sort_unstable();
        names.dedup();
        Some(names.join(","))
    }
}

impl<'p> PolicySetting<'p> {
    /// The settings of a policy.
    fn from_policy(policy: &'p Policy) -> impl Iterator<Item = Self> {
        let injects = policy.injects();
        let shared = PodSetting::ALL.into_iter().map(|shared| (shared, shared.value_in(policy)));
        // A policy that adds no secrets leaves unset fields to others.
        let shared = shared.filter(move |(_, said)| injects || said.is_some());
        policy.sources().map(Self::Source).chain(shared.map(|(shared, said)| Self::Shared(shared, said)))
    }

    fn name(&self) -> Name<'p> {
        match self {
            Self::Source(Source { key: NamedKey::InjectEnv, name, .. }) => Name::Variable(name),
            Self::Source(Source { name, .. }) => Name::File(name),
            Self::Shared(shared, _) => Name::Shared(*shared),
        }
    }

    fn is_set(&self) -> bool {
        !matches!(self, Self::Shared(_, None))
    }

    /// The text that may contain variables.
    fn text(&self) -> &str {
        match self {
            Self::Source(source) => source.value,
            Self::Shared(..) => "",
        }
    }

    /// Whether two settings with the same name differ in such a way that pods would not get what
    /// one of the policies intends: the one with lower precedence, or one with higher precedence
    /// that does not set it. `fill` fills the variables of a text; `None` if that is not possible.
    fn differs<'t>(
        &'t self,
        stronger: &Policy,
        other: &'t Self,
        weaker: &Policy,
        fill: impl Fn(&'t str, Place) -> Option<Cow<'t, str>>,
    ) -> bool {
        match (self, other) {
            (Self::Source(one), Self::Source(other)) => {
                is_other(one, other, fill) || first_option(one, stronger, weaker).is_some()
            }
            (Self::Shared(shared, one), Self::Shared(_, other)) => {
                let effective = one.as_ref().or(other.as_ref());
                let loses = |policy: &Policy, own: Option<&String>| {
                    policy.injects() && (own.is_some() || shared.has_default()) && own != effective
                };
                loses(stronger, one.as_ref()) || loses(weaker, other.as_ref())
            }
            _ => false,
        }
    }

    fn about(&self, first: &Policy, other: &Self, second: &Policy) -> Problem {
        const OTHER_PODS: &str = "or let the policies select different pods";
        let names = format!("policies {} and {}", first.name(), second.name());
        let said = |value: Option<&str>| match value {
            Some(value) => Excerpt::new(value).to_string(),
            None => "not set".to_owned(),
        };
        let (message, fix) = match (self, other) {
            (Self::Source(one), Self::Source(other)) => {
                let what = if one.key == NamedKey::InjectEnv { "the variable" } else { "the file" };
                let what = format!("{what} {}", shown_key(one.name));
                match first_option(one, first, second) {
                    Some((key, values)) if one.key == other.key && one.value == other.value => {
                        let [one, other] = values.map(said);
                        let key = key.text().trim_end_matches('-');
                        let message =
                            format!("{names} give {what} with different options: {key} is {one} and {other}");
                        (
                            message,
                            format!(
                                "set the same options in both, give one of them another name, {OTHER_PODS}"
                            ),
                        )
                    }
                    _ => {
                        let [one, other] = [one.value, other.value].map(Excerpt::new);
                        let message =
                            format!("{names} give {what} from different sources: {one} and {other}");
                        (message, format!("give one of them another name, {OTHER_PODS}"))
                    }
                }
            }
            (Self::Shared(shared, one), Self::Shared(_, other)) => {
                let [one, other] = [one, other].map(|value| said(value.as_deref()));
                let field = shared.field();
                let message = format!(
                    "{names} disagree about {field}, which all secrets of a pod share: {one} and {other}"
                );
                (message, format!("set the same {field} in both, {OTHER_PODS}"))
            }
            _ => unreachable!("equal names have equal kinds"),
        };
        problem(first, message, fix)
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

/// Whether two sources with the same name differ after their variables are filled.
fn is_other<'t>(
    one: &Source<'t>,
    other: &Source<'t>,
    fill: impl Fn(&'t str, Place) -> Option<Cow<'t, str>>,
) -> bool {
    let place = if one.key == NamedKey::InjectDynamic { Place::Dynamic } else { Place::Secrets };
    one.key != other.key || one.value != other.value && fill(one.value, place) != fill(other.value, place)
}

fn problem(policy: &Policy, message: String, fix: impl Into<Cow<'static, str>>) -> Problem {
    Problem {
        code: Code::PolicyConflict,
        key: None,
        layer: Layer::Policy(policy.name().clone()),
        value: None,
        message: message.into(),
        allowed: None,
        fix: fix.into(),
    }
}
