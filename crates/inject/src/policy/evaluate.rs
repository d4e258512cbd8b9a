//! Evaluates policies: the actual decision, and those that report what policies would do.
//!
//! Policies under `audit` change nothing: the pod is decided without them, and once more as if they
//! were enforced, only for the report. Policies under `warn` do not reject pods: if a pod would be
//! rejected with what they add, it is decided again without it. So the rules only distinguish
//! `enforce` and `warn`.

use std::sync::Arc;

use super::{
    applied::{AppliedPolicies, Force, SelectedPolicies},
    compiled::Policy,
    labels::PodLabels,
    parts::Enforcement,
    report::{Note, Notes, PolicyEffect, PolicyReport, PolicyUse},
    variables::Environment,
};
use crate::{
    Context, Decision, PodView, SkipReason, ownership,
    problem::{Layer, Problems, shown_key},
};

/// Maximum number of files and variables that a text names.
const NAMES_SHOWN: usize = 8;

/// Decides on a pod with the policies that select it. `decide` makes the decision for a given set
/// of policies in force.
pub(crate) fn evaluate<'a>(
    pod: &PodView<'a>,
    context: &Context<'a>,
    decide: impl Fn(&AppliedPolicies<'_>, &mut Notes) -> Decision,
) -> (Decision, PolicyReport) {
    let selected = SelectedPolicies::new(pod, context.namespace, context.policies, context.now);
    if selected.is_empty() {
        let labels = PodLabels::from_pod(pod);
        return (decide(&AppliedPolicies::none(&labels), &mut Notes::none()), PolicyReport::default());
    }
    let run = |force: Force| {
        let applied = selected.applied(force);
        let mut notes = Notes::new(applied.policies.len());
        let decision = decide(&applied, &mut notes);
        notes.conclude(&decision, &applied);
        (decision, applied, notes)
    };
    let (mut decision, applied, mut notes) = run(Force::Real);
    let warns = |at: usize| applied.policies[at].enforcement == Enforcement::Warn;
    if let Some(problems) = refusal(&decision)
        && applied.giving_at().any(warns)
    {
        // Policies that only warn do not reject pods: without what they add, the pod may be valid.
        let text = format!("policies that only warn give the pod nothing: {problems}");
        (decision, _, notes) = run(Force::WithoutWarning);
        if refusal(&decision).is_none() {
            for at in applied.giving_at().filter(|at| warns(*at)) {
                notes.add(at, PolicyEffect::Warned, || text.clone());
            }
            decision.warnings_mut().push(text);
        }
    }
    let shadow = selected.has_audit().then(|| run(Force::Audit).2);
    let is_repeated = is_repeated(pod, &decision);
    let report = PolicyReport { is_repeated, ..report(&selected, &applied, notes, shadow) };
    (decision, report)
}

/// The report on the policies of a pod, from the notes of the policies in force and, if some only
/// audit, from the notes of an evaluation in which all are enforced.
pub(super) fn report(
    selected: &SelectedPolicies<'_>,
    applied: &AppliedPolicies<'_>,
    real: Notes,
    shadow: Option<Notes>,
) -> PolicyReport {
    let environment = match applied.environment {
        Environment::Known(environment) => Some(Arc::from(environment)),
        Environment::Unknown | Environment::Contested(_) => None,
    };
    let (mut real, mut shadow) = (real.into_iter(), shadow.map(IntoIterator::into_iter));
    let mut uses: Vec<PolicyUse> = Vec::with_capacity(selected.policies.len());
    for policy in &selected.policies {
        let shadow = shadow.as_mut().and_then(Iterator::next);
        let note = if policy.enforcement() == Enforcement::Audit {
            audited(shadow)
        } else {
            real.next().unwrap_or_default()
        };
        uses.push(used(policy, note));
    }
    uses.reverse();
    PolicyReport { uses, environment, is_repeated: false }
}

/// Whether the pod already has the injection, complete or in part. A different plan would replace
/// it.
fn is_repeated(pod: &PodView<'_>, decision: &Decision) -> bool {
    match decision {
        Decision::Skip(skip) => skip.reason == SkipReason::AlreadyInjected,
        Decision::Inject(injection) => !injection.replaced && ownership::has_injection(pod),
        Decision::Detach(_) | Decision::Deny(_) => false,
    }
}

/// Calls `read` with the policies in force for a pod.
pub(crate) fn with_applied<T>(
    pod: &PodView<'_>,
    context: &Context<'_>,
    read: impl FnOnce(&AppliedPolicies<'_>) -> T,
) -> T {
    if context.policies.is_empty() {
        return read(&AppliedPolicies::none(&PodLabels::from_pod(pod)));
    }
    let selected = SelectedPolicies::new(pod, context.namespace, context.policies, context.now);
    read(&selected.applied(Force::Real))
}

fn used(policy: &Policy, note: Note) -> PolicyUse {
    let Note { effect, message } = note;
    PolicyUse { name: policy.name().clone(), generation: policy.generation(), effect, message }
}

/// Turns the note of an evaluation into what the policy would have done.
fn audited(note: Option<Note>) -> Note {
    let Note { effect, message } = note.unwrap_or_default();
    let would = match effect {
        PolicyEffect::Selected | PolicyEffect::Audited if message.is_none() => return Note::default(),
        PolicyEffect::Selected | PolicyEffect::Audited => "would apply",
        PolicyEffect::Injected => "would inject",
        PolicyEffect::Warned => "would warn",
        PolicyEffect::Refused => "would refuse",
    };
    let message = message.unwrap_or_default();
    Note { effect: PolicyEffect::Audited, message: Some(format!("{would}: {message}")) }
}

/// The problems of a pod that does not get the requested injection.
fn refusal(decision: &Decision) -> Option<&Problems> {
    match decision {
        Decision::Deny(denial) => Some(&denial.problems),
        Decision::Skip(skip) if skip.reason == SkipReason::Problems => Some(&skip.problems),
        _ => None,
    }
}

impl Notes {
    /// Adds the effects that follow from the decision.
    fn conclude(&mut self, decision: &Decision, applied: &AppliedPolicies<'_>) {
        if matches!(decision, Decision::Inject(_)) {
            for at in applied.injecting() {
                self.add(at, PolicyEffect::Injected, || names(applied.policies[at].policy));
            }
        }
        let Some(problems) = refusal(decision) else { return };
        for problem in problems {
            if let Layer::Policy(name) = &problem.layer
                && let Some(at) = applied.place(name)
            {
                self.add(at, PolicyEffect::Refused, || problem.to_string());
            }
        }
        if !self.has(PolicyEffect::Refused) {
            for at in applied.injecting() {
                self.add(at, PolicyEffect::Refused, || problems.to_string());
            }
        }
        if !matches!(decision, Decision::Deny(_)) {
            self.soften(PolicyEffect::Warned);
        }
    }
}

/// The files and variables that a policy adds.
fn names(policy: &Policy) -> String {
    let mut sources = policy.sources().map(|source| shown_key(source.name));
    let shown: Vec<_> = sources.by_ref().take(NAMES_SHOWN).collect();
    match sources.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
