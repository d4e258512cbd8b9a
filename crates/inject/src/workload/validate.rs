//! Validates a workload when it is applied: shows the problems and warnings that its pods would
//! get.
//!
//! An update that changes none of the injector's keys is never rejected, because it may come from a
//! controller.

use super::{Former, WorkloadView, failure_policy};
use crate::{
    Context, Decision, Denial, PodView, PolicyReport, Problems, Skip, SkipReason,
    annotations::{Draft, Intention, not_text},
    decide::refuse,
    layer::{CollectedDraft, Fill, collect},
    mutation_mode::MUTATION_MODE,
    problem::{Code, Layer},
};

/// The result for a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// Whether it is rejected, and why.
    pub reason: ValidationReason,
    /// All problems. If the workload is accepted in spite of them, they are among the warnings.
    pub problems: Problems,
    /// Warnings for the user who applies the workload.
    pub warnings: Vec<String>,
}

impl From<ValidationReason> for Validation {
    fn from(reason: ValidationReason) -> Self {
        Self { reason, problems: Problems::new(), warnings: Vec::new() }
    }
}

/// Why a workload is accepted or rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValidationReason {
    /// There are no problems.
    Valid,
    /// There are problems that the request did not introduce (a rejection could block a
    /// controller), or that its pods may not have (a controller may set a label that a variable
    /// needs).
    ProblemsUnchanged,
    /// There are problems, and the injector is configured to warn.
    ProblemsAllowed,
    /// The request introduces problems, so it is rejected.
    Problems,
    /// The workload is being deleted.
    Deleting,
}

impl ValidationReason {
    /// Every reason, for metrics and documentation.
    pub const ALL: &'static [Self] =
        &[Self::Valid, Self::ProblemsUnchanged, Self::ProblemsAllowed, Self::Problems, Self::Deleting];

    /// The outcome's name in logs, metrics and audit annotations.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Problems => "denied",
            Self::Valid | Self::ProblemsUnchanged | Self::ProblemsAllowed | Self::Deleting => "accepted",
        }
    }

    /// The reason's name in logs, metrics and audit annotations.
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

/// Validates the annotations of a workload and of its template. Rejects only problems that the
/// request introduces: an update that changes none of the injector's keys may come from a
/// controller, or remove a finalizer.
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

/// Decides what is injected into the pods of a workload, including the problems and warnings of its
/// own annotations. The mode in the context is ignored in favour of the workload's own.
pub fn decide(workload: &WorkloadView<'_>, context: &Context<'_>) -> Decision {
    decide_with_policies(workload, context).0
}

/// Like [`decide`], and reports how policies took part in the decision.
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

/// The problems and warnings of the workload's own annotations.
fn own(workload: &WorkloadView<'_>, decision: &Decision) -> (Problems, Vec<String>) {
    let mut collected = CollectedDraft::over(Draft::default());
    // A key that is in both places is effective through the template.
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
    let CollectedDraft { problems, mut warnings, .. } = collected;
    let is_by_hand = workload.own(MUTATION_MODE).is_none() && !workload.is_from_cron_job;
    if is_by_hand && workload.carried_mode().is_some() {
        warnings.push(
            "workload-mutation-mode in the pod template is the injector's: write mutation-mode on the workload instead"
                .to_owned(),
        );
    }
    (problems, warnings)
}

/// Combines the decision on a pod or its template with further problems and warnings. With
/// problems, the pod is rejected or admitted without an injection, depending on the configuration.
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

/// Whether the request changes the injector's annotations. False if the former workload cannot be
/// read.
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
