//! The check at `kubectl apply`: what the pods of a workload would be told when they are created.
//!
//! An update that changes none of the injector's keys is not refused: it may come from a controller.

use super::{Former, WorkloadView, failure_policy};
use crate::{
    Context, Decision, Denial, PodView, PolicyReport, Problems, Skip, SkipReason,
    annotations::{Collected, Draft, Fill, Intention, collect, not_text},
    decide::refuse,
    mutation_mode::MUTATION_MODE,
    problem::{Code, Layer},
};

/// The answer for a workload that is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// Whether it is refused, and why.
    pub reason: ValidationReason,
    /// All that is wrong; also where the workload is accepted in spite of it, and then they are among the warnings.
    pub problems: Problems,
    /// For the person who applies the workload.
    pub warnings: Vec<String>,
}

impl From<ValidationReason> for Validation {
    fn from(reason: ValidationReason) -> Self {
        Self { reason, problems: Problems::new(), warnings: Vec::new() }
    }
}

/// Why a workload is accepted or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValidationReason {
    /// Nothing is wrong.
    Valid,
    /// There are problems, and the request did not bring them (to refuse it could keep a controller from its work), or its
    /// pods may not have them: a controller may set a label that a variable needs.
    ProblemsUnchanged,
    /// There are problems, and the injector is set to warn.
    ProblemsAllowed,
    /// The request brings problems: it is refused.
    Problems,
    /// The workload is being deleted.
    Deleting,
}

impl ValidationReason {
    /// Every reason, for metrics and documentation.
    pub const ALL: &'static [Self] =
        &[Self::Valid, Self::ProblemsUnchanged, Self::ProblemsAllowed, Self::Problems, Self::Deleting];

    /// The word for the outcome in logs, metrics and audit annotations.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Problems => "denied",
            Self::Valid | Self::ProblemsUnchanged | Self::ProblemsAllowed | Self::Deleting => "accepted",
        }
    }

    /// The reason beside the outcome.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::ProblemsUnchanged => "problems-unchanged",
            Self::ProblemsAllowed => "problems-allowed",
            Self::Problems => "problems",
            Self::Deleting => "deleting",
        }
    }
}

/// Checks the annotations of a workload and of its template. Refused is only what the request brings itself: an update
/// that changes none of our keys may be one of a controller's, or take a finalizer away.
pub fn validate(workload: &WorkloadView<'_>, former: Former<'_, '_>, context: &Context<'_>) -> Validation {
    if workload.is_deleting {
        return ValidationReason::Deleting.into();
    }
    match decide(workload, context) {
        Decision::Deny(Denial { problems, warnings })
            if brings_keys(workload, former) && !problems.are_all(Code::VariableWithoutValue) =>
        {
            Validation { reason: ValidationReason::Problems, problems, warnings }
        }
        Decision::Deny(Denial { problems, warnings }) => Validation {
            reason: ValidationReason::ProblemsUnchanged,
            warnings: problems.iter().map(ToString::to_string).chain(warnings).collect(),
            problems,
        },
        Decision::Skip(skip) if skip.reason == SkipReason::Problems => Validation {
            reason: ValidationReason::ProblemsAllowed,
            problems: skip.problems,
            warnings: skip.warnings,
        },
        accepted => Validation { warnings: accepted.warnings().to_vec(), ..ValidationReason::Valid.into() },
    }
}

/// Decides what the pods of a workload get, with what is to be said about its own annotations. The mode in the context
/// is not looked at: it is the workload's own.
pub fn decide(workload: &WorkloadView<'_>, context: &Context<'_>) -> Decision {
    decide_with_policies(workload, context).0
}

/// The same, with what policies have to do with it.
pub fn decide_with_policies(workload: &WorkloadView<'_>, context: &Context<'_>) -> (Decision, PolicyReport) {
    let template = workload.template();
    let context = Context { workload_mutation_mode: workload.mutation_mode(), ..*context };
    let (mut decision, report) = crate::decide_with_policies(template, &context);
    if let Decision::Inject(injection) = &mut decision {
        injection.warnings.append(&mut failure_policy::warnings(workload.pod_failure_policy));
    }
    if context.settings.excludes(&context.namespace.name) {
        return (decision, report);
    }
    let (problems, warnings) = own(workload, &decision);
    (add_problems(decision, problems, warnings, template, &context), report)
}

/// What is to be said about the workload's own annotations, beside the decision on its template.
fn own(workload: &WorkloadView<'_>, decision: &Decision) -> (Problems, Vec<String>) {
    let mut collected = Collected::over(Draft::default());
    // Copied to both places, a key has its effect from the template.
    let misplaced = |key: &str| key == MUTATION_MODE || workload.in_template(key).is_none();
    let mut entries = workload.own_annotations().filter(|(key, _)| misplaced(key));
    collect(&mut collected, &Layer::Workload, Fill::Nothing, &mut entries);
    collected.settle_by(|_, intention| match intention {
        Intention::Ask => decision.asks_for_nothing(),
        Intention::OptOut => !decision.leaves_alone(),
    });
    for problem in not_text(&workload.annotations, &Layer::Workload) {
        collected.problems.push(problem);
    }
    let Collected { problems, mut warnings, .. } = collected;
    let is_by_hand = workload.own(MUTATION_MODE).is_none() && !workload.is_from_cron_job;
    if is_by_hand && workload.carried_mode().is_some() {
        warnings.push(
            "workload-mutation-mode in the pod template is the injector's: write mutation-mode on the workload instead"
                .to_owned(),
        );
    }
    (problems, warnings)
}

/// The decision on a pod (template) together with what is found beside it: with problems, the pod is refused, or let through
/// as the configuration wants it.
pub fn add_problems(
    mut decision: Decision,
    problems: Problems,
    mut warnings: Vec<String>,
    template: &PodView<'_>,
    context: &Context<'_>,
) -> Decision {
    if problems.is_empty() {
        decision.warnings_mut().splice(..0, warnings);
        return decision;
    }
    warnings.append(decision.warnings_mut());
    let mut refused = refuse(template, context, problems, warnings);
    if let (
        Decision::Deny(Denial { problems, .. }) | Decision::Skip(Skip { problems, .. }),
        Decision::Deny(Denial { problems: more, .. }) | Decision::Skip(Skip { problems: more, .. }),
    ) = (&mut refused, &decision)
    {
        problems.append(more);
    }
    refused
}

/// Whether the request says something that the workload did not say before. On what it was before and cannot be read,
/// nothing can be refused.
fn brings_keys(workload: &WorkloadView<'_>, former: Former<'_, '_>) -> bool {
    match former {
        Former::Nothing => true,
        Former::Unknown => false,
        Former::Workload(former) => {
            !workload.template.annotations().eq(former.template.annotations())
                || !workload.own_annotations().eq(former.own_annotations())
        }
    }
}
