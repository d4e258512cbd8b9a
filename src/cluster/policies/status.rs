//! Computes the status of a policy. Pure.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;
use scaivault_cluster::policies::{Entry, Version, WrittenStatus};
use scaivault_contract::names::{INJECTION_BY_POLICY_LABEL, INJECTION_LABEL, LABEL_AUDIT, LABEL_ENABLED};
use scaivault_inject::{Namespace, PolicySet};
use scaivault_policy::{Condition, InForce, InjectionPolicyStatus, LastRefusal, PodCounts, condition};
use serde_json::Value;

use super::usage::{Counts, Refusal};

/// The maximum number of namespaces to name whose pods do not reach the injector.
const NAMED: usize = 3;

/// The maximum length of a condition's message in bytes.
const MESSAGE_BYTES: usize = 4 * 1024;

/// The facts that depend on all policies and namespaces.
#[derive(Debug, Default)]
pub(super) struct Overview {
    by_policy: HashMap<Arc<str>, Facts>,
}

/// The facts about one policy.
#[derive(Debug, Default)]
struct Facts {
    namespaces: i64,
    /// The namespaces whose pods are not sent to the injector unless they have an annotation.
    unreached: Vec<String>,
    conflict: Option<Conflict>,
}

/// The first conflict with another policy; a conflict that causes rejections comes first.
#[derive(Debug)]
struct Conflict {
    is_enforced: bool,
    message: String,
}

impl Overview {
    /// Considers these namespaces except those that `is_excluded` matches. The webhook only selects
    /// the injector's own label if it `labels_namespaces`.
    pub(super) fn new(
        set: &PolicySet,
        namespaces: &[Arc<Namespace>],
        labels_namespaces: bool,
        is_excluded: impl Fn(&str) -> bool,
    ) -> Self {
        let mut by_policy: HashMap<Arc<str>, Facts> = HashMap::new();
        for namespace in namespaces {
            for policy in set.selects_namespace(namespace) {
                let facts = by_policy.entry(Arc::clone(policy.name())).or_default();
                facts.namespaces += 1;
                if policy.injects()
                    && !is_reached(namespace, labels_namespaces)
                    && !is_excluded(&namespace.name)
                {
                    facts.unreached.push(namespace.name.clone());
                }
            }
        }
        let mut by_name: Vec<&Namespace> = namespaces.iter().map(|namespace| &**namespace).collect();
        by_name.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let mut conflicts = set.conflicts(&by_name);
        conflicts.sort_by(|one, other| one.namespace.name.cmp(&other.namespace.name));
        for conflict in conflicts {
            let is_enforced = conflict.is_enforced();
            for policy in [conflict.first, conflict.second] {
                let facts = by_policy.entry(Arc::clone(policy.name())).or_default();
                if facts.conflict.as_ref().is_none_or(|former| is_enforced && !former.is_enforced) {
                    let message = format!("in namespace {}: {}", conflict.namespace.name, conflict.problem);
                    facts.conflict = Some(Conflict { is_enforced, message });
                }
            }
        }
        for facts in by_policy.values_mut() {
            // Sorted, so that every replica writes the same.
            facts.unreached.sort_unstable();
        }
        Self { by_policy }
    }

    /// The number of policies with a conflict that causes rejections.
    pub(super) fn conflicts(&self) -> usize {
        let conflicts = self.by_policy.values().filter_map(|facts| facts.conflict.as_ref());
        conflicts.filter(|conflict| conflict.is_enforced).count()
    }
}

/// Whether every pod of the namespace is sent to the injector.
fn is_reached(namespace: &Namespace, labels_namespaces: bool) -> bool {
    let has = |label, values: &[&str]| {
        namespace.labels.get(label).is_some_and(|value| values.contains(&value.as_str()))
    };
    has(INJECTION_LABEL, &[LABEL_ENABLED])
        || (labels_namespaces && has(INJECTION_BY_POLICY_LABEL, &[LABEL_ENABLED, LABEL_AUDIT]))
}

/// The desired status of a policy, with these counts added.
pub(super) fn desired(
    name: &str,
    entry: &Entry,
    overview: &Overview,
    counts: Counts,
    refusal: Option<&Refusal>,
    now: i64,
) -> InjectionPolicyStatus {
    let facts = overview.by_policy.get(name);
    let (unix_now, now) = (now, time(now));
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
        last_refusal: last_refusal(entry.status.last_refusal.clone(), refusal, unix_now),
        in_force: in_force(entry),
    }
}

/// The version in force while the current one cannot be used.
fn in_force(entry: &Entry) -> Option<InForce> {
    entry.problems.as_ref()?;
    // A replica that can use no version keeps the one that another replica has stored.
    entry.in_force.as_ref().map(Version::for_status).or_else(|| entry.status.in_force.clone())
}

/// The status to write, and the hash of this replica's verdict if it is included. If another
/// replica has overwritten the verdict, because it has other data or runs another release, the
/// verdict is not written again for a while; otherwise the two would overwrite each other without
/// end. Counts are added in any case.
pub(super) fn without_dispute(
    status: InjectionPolicyStatus,
    former: &InjectionPolicyStatus,
    written: Option<WrittenStatus>,
    now: Instant,
) -> (InjectionPolicyStatus, Option<u64>) {
    let is_same = status.observed_generation == former.observed_generation
        && status.conditions == former.conditions
        && status.namespaces == former.namespaces
        && status.in_force == former.in_force;
    if is_same {
        return (status, None);
    }
    let verdict = verdict(&status);
    if written.is_some_and(|written| written.is_recent(verdict, now)) {
        let InjectionPolicyStatus { pods, last_refusal, .. } = status;
        return (InjectionPolicyStatus { pods, last_refusal, ..former.clone() }, None);
    }
    (status, Some(verdict))
}

/// A hash of everything except counts and times.
fn verdict(status: &InjectionPolicyStatus) -> u64 {
    let InjectionPolicyStatus {
        observed_generation,
        conditions,
        namespaces,
        pods: _,
        last_refusal: _,
        in_force,
    } = status;
    let mut hasher = DefaultHasher::new();
    (observed_generation, namespaces).hash(&mut hasher);
    for Condition { type_, status, reason, message, last_transition_time: _, observed_generation } in
        conditions
    {
        (type_, status, reason, message, observed_generation).hash(&mut hasher);
    }
    if let Some(InForce { api_version, generation, spec }) = in_force {
        (api_version, generation, Value::Object(spec.clone()).to_string()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether a user may be waiting for the change: another generation, version in force or verdict.
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
                "generation {generation} is invalid, and generation {former} remains in force: \
                 {problems}"
            );
            (false, "PreviousInForce", message)
        }
        (Some(problems), None) => {
            let message = format!(
                "generation {generation} is invalid, and no other generation is in force: \
                 {problems}"
            );
            (false, "NotInForce", message)
        }
    }
}

fn conflicted(facts: Option<&Facts>) -> Verdict {
    match facts.and_then(|facts| facts.conflict.as_ref()) {
        Some(Conflict { is_enforced: true, message }) => (true, "Contradiction", message.clone()),
        Some(Conflict { message, .. }) => {
            let message =
                format!("one of two policies only warns or audits, so no pod is refused: {message}");
            (false, "NotEnforced", message)
        }
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

/// The later one. A previous one in the future was written with a wrong clock.
fn last_refusal(former: Option<LastRefusal>, refusal: Option<&Refusal>, now: i64) -> Option<LastRefusal> {
    let Some(Refusal { time: at, namespace, pod, message }) = refusal else { return former };
    let former_time =
        former.as_ref().and_then(|former| former.time.parse::<Timestamp>().ok()).map(Timestamp::as_second);
    if former_time.is_some_and(|former| (*at..=now).contains(&former)) {
        return former;
    }
    let (namespace, pod, message) = (namespace.clone(), pod.clone(), message.clone());
    Some(LastRefusal { time: time(*at), namespace, pod, message })
}

/// The time in the format of Kubernetes.
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
