//! What the status of a policy should say. Pure.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use scaivault_contract::names::{INJECTION_BY_POLICY_LABEL, INJECTION_LABEL, LABEL_ENABLED};
use scaivault_inject::{Namespace, PolicySet};
use scaivault_policy::{Condition, InjectionPolicyStatus, LastRefusal, PodCounts, condition};

use super::{
    store::{Entry, Version},
    usage::{Counts, Refusal},
};

/// How many namespaces are named whose pods do not reach the injector.
const NAMED: usize = 3;

/// The longest text of a condition, bytes.
const MESSAGE_BYTES: usize = 4 * 1024;

/// What is only known of all policies and namespaces together.
#[derive(Debug, Default)]
pub(super) struct Overview {
    by_policy: HashMap<Arc<str>, Facts>,
}

/// What is known of one policy.
#[derive(Debug, Default)]
struct Facts {
    namespaces: i64,
    /// Those whose pods are not sent to the injector unless they have an annotation.
    unreached: Vec<String>,
    /// The first disagreement with another one.
    conflict: Option<String>,
}

impl Overview {
    /// Of these namespaces, without those that `is_excluded` names.
    pub(super) fn new(
        set: &PolicySet,
        namespaces: &[Arc<Namespace>],
        is_excluded: impl Fn(&str) -> bool,
    ) -> Self {
        let mut by_policy: HashMap<Arc<str>, Facts> = HashMap::new();
        for namespace in namespaces {
            for policy in set.selects_namespace(namespace) {
                let facts = by_policy.entry(Arc::clone(policy.name())).or_default();
                facts.namespaces += 1;
                if policy.injects() && !is_reached(namespace) && !is_excluded(&namespace.name) {
                    facts.unreached.push(namespace.name.clone());
                }
            }
            for conflict in set.conflicts(namespace) {
                for policy in [conflict.first, conflict.second] {
                    let facts = by_policy.entry(Arc::clone(policy.name())).or_default();
                    if facts.conflict.is_none() {
                        facts.conflict =
                            Some(format!("in namespace {}: {}", namespace.name, conflict.problem));
                    }
                }
            }
        }
        for facts in by_policy.values_mut() {
            // Sorted, so that every replica writes the same.
            facts.unreached.sort_unstable();
        }
        Self { by_policy }
    }

    /// How many policies disagree with another one.
    pub(super) fn conflicts(&self) -> usize {
        self.by_policy.values().filter(|facts| facts.conflict.is_some()).count()
    }
}

/// Whether every pod of the namespace is sent to the injector.
fn is_reached(namespace: &Namespace) -> bool {
    [INJECTION_LABEL, INJECTION_BY_POLICY_LABEL]
        .iter()
        .any(|&label| namespace.labels.get(label).is_some_and(|value| value == LABEL_ENABLED))
}

/// What the status of a policy should say, with these pods added.
pub(super) fn desired(
    name: &str,
    entry: &Entry,
    overview: &Overview,
    counts: Counts,
    refusal: Option<&Refusal>,
    now: i64,
) -> InjectionPolicyStatus {
    let facts = overview.by_policy.get(name);
    let now = time(now);
    let condition = |type_: &str, (status, reason, message): (bool, &str, String)| {
        let status = if status { "True" } else { "False" };
        let former = entry.status.conditions.iter().find(|former| former.type_ == type_);
        let since = former.filter(|former| former.status == status);
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: cut(message),
            last_transition_time: since
                .map_or_else(|| now.clone(), |former| former.last_transition_time.clone()),
            observed_generation: Some(entry.generation),
        }
    };
    InjectionPolicyStatus {
        observed_generation: Some(entry.generation),
        conditions: vec![
            condition(condition::ACCEPTED, accepted(entry)),
            condition(condition::CONFLICTED, conflicted(facts)),
            condition(condition::REACHABLE, reachable(entry, facts)),
        ],
        namespaces: Some(facts.map_or(0, |facts| facts.namespaces)),
        pods: Some(pods(entry.status.pods.clone().unwrap_or_default(), counts, &now)),
        last_refusal: last_refusal(entry.status.last_refusal.clone(), refusal),
        in_force: entry.problems.as_ref().and(entry.in_force.as_ref()).map(Version::for_status),
    }
}

/// Whether somebody may wait for it: another generation, version in force or verdict.
pub(super) fn is_urgent(former: &InjectionPolicyStatus, status: &InjectionPolicyStatus) -> bool {
    let verdicts = |status: &InjectionPolicyStatus| {
        let each = status.conditions.iter();
        each.map(|found| [&found.type_, &found.status, &found.reason].map(Clone::clone)).collect::<Vec<_>>()
    };
    former.observed_generation != status.observed_generation
        || former.in_force != status.in_force
        || verdicts(former) != verdicts(status)
}

type Verdict = (bool, &'static str, String);

fn accepted(entry: &Entry) -> Verdict {
    let Entry { generation, problems, in_force, .. } = entry;
    match (problems, in_force) {
        (None, _) => (true, "InForce", format!("generation {generation} is in force")),
        (Some(problems), Some(version)) => {
            let former = version.policy.generation();
            let message = format!(
                "generation {generation} cannot be used, and generation {former} stays in force: {problems}"
            );
            (false, "PreviousInForce", message)
        }
        (Some(problems), None) => {
            let message =
                format!("generation {generation} cannot be used, and no other one is in force: {problems}");
            (false, "NotInForce", message)
        }
    }
}

fn conflicted(facts: Option<&Facts>) -> Verdict {
    match facts.and_then(|facts| facts.conflict.as_ref()) {
        Some(conflict) => (true, "Contradiction", conflict.clone()),
        None => (false, "NoContradiction", "no other policy contradicts this one".to_owned()),
    }
}

fn reachable(entry: &Entry, facts: Option<&Facts>) -> Verdict {
    if !entry.in_force.as_ref().is_some_and(|version| version.policy.injects()) {
        let message = "pods with annotations are sent to the injector in every namespace, and the policy gives nothing to others";
        return (true, "NotNeeded", message.to_owned());
    }
    let unreached = facts.map_or(&[][..], |facts| &facts.unreached);
    if unreached.is_empty() {
        return (true, "Labelled", "all selected namespaces send their pods to the injector".to_owned());
    }
    let named = unreached.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = unreached.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let message = format!(
        "pods without annotations are not sent to the injector in namespaces without the label {INJECTION_LABEL}: {LABEL_ENABLED}: \
         {named}{more}"
    );
    (false, "NotLabelled", message)
}

fn pods(former: PodCounts, counts: Counts, now: &str) -> PodCounts {
    let Counts { injected, refused, warned, audited } = counts;
    let sum = |former: i64, more: u64| former.saturating_add(i64::try_from(more).unwrap_or(i64::MAX));
    PodCounts {
        injected: sum(former.injected, injected),
        refused: sum(former.refused, refused),
        warned: sum(former.warned, warned),
        audited: sum(former.audited, audited),
        since: former.since.or_else(|| Some(now.to_owned())),
    }
}

/// The later one.
fn last_refusal(former: Option<LastRefusal>, refusal: Option<&Refusal>) -> Option<LastRefusal> {
    let Some(Refusal { time: at, namespace, pod, message }) = refusal else { return former };
    let former_time =
        former.as_ref().and_then(|former| former.time.parse::<Timestamp>().ok()).map(Timestamp::as_second);
    if former_time.is_some_and(|former| former >= *at) {
        return former;
    }
    let (namespace, pod, message) = (namespace.clone(), pod.clone(), message.clone());
    Some(LastRefusal { time: time(*at), namespace, pod, message })
}

/// As Kubernetes writes it.
fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

fn cut(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
