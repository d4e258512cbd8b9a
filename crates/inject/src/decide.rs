//! The steps from a pod to a decision.

use crate::{
    Context, Decision, Denial, Detachment, Injection, OnProblem, Operation, PodView, PolicyReport, Problems,
    Skip, SkipReason,
    annotations::{ExactKey, asks_for_secrets},
    detach,
    intent::{self, Diagnostics, Inputs, Intent},
    layer::{self, CollectedDraft},
    limits,
    mutation_mode::{self, MutationMode},
    ownership::{self, MatchBy, RECEIPT},
    patch::{self, Patch, diff},
    plan::Plan,
    policy::{self, AppliedPolicies, Mode, Notes, PodLabels},
    problem::{Code, Layer, Problem},
    receipt::Receipt,
    reinvocation,
};

/// The prefix of a warning that repeats a problem of a pod that is admitted without an injection.
pub const NOT_INJECTED: &str = "not injected: ";

/// Decides what is injected into a pod. Total: every pod gets a decision, whatever its annotations
/// contain.
pub fn decide(pod: &PodView<'_>, context: &Context<'_>) -> Decision {
    decide_with_policies(pod, context).0
}

/// Like [`decide`], and reports how policies took part in the decision.
pub fn decide_with_policies(pod: &PodView<'_>, context: &Context<'_>) -> (Decision, PolicyReport) {
    if context.policies.is_empty() || is_left_alone(pod, context).is_some() {
        let labels = PodLabels::from_pod(pod);
        let decision = bounded(pod, context, &AppliedPolicies::none(&labels), &mut Notes::none());
        return (decision, PolicyReport::default());
    }
    policy::evaluate(pod, context, |applied, notes| bounded(pod, context, applied, notes))
}

/// The decision, or a rejection if its patch is too large.
fn bounded(
    pod: &PodView<'_>,
    context: &Context<'_>,
    applied: &AppliedPolicies<'_>,
    notes: &mut Notes,
) -> Decision {
    let decision = choose(pod, context, applied, notes);
    match decision.patch().and_then(limits::check_patch) {
        Some(problem) => refuse(pod, context, Problems::from(problem), Vec::new()),
        None => decision,
    }
}

/// Why a pod is never injected, whatever its annotations and policies ask for.
fn is_left_alone(pod: &PodView<'_>, context: &Context<'_>) -> Option<SkipReason> {
    if context.settings.excludes(&context.namespace.name) {
        return Some(SkipReason::ExcludedNamespace);
    }
    pod.metadata.annotations.mirror.then_some(SkipReason::MirrorPod)
}

/// The decision, regardless of the size of its patch.
fn choose(
    pod: &PodView<'_>,
    context: &Context<'_>,
    applied: &AppliedPolicies<'_>,
    notes: &mut Notes,
) -> Decision {
    if let Some(reason) = is_left_alone(pod, context) {
        return skip(reason);
    }
    let is_request = |key: &str| {
        asks_for_secrets(key) || key == ExactKey::Inject.text() || key == mutation_mode::MUTATION_MODE
    };
    let asks = || pod.annotations().map(|(key, _)| key).chain(pod.keys_without_text()).any(is_request);
    let said = mutation_mode::strictest(pod, context);
    match policy::mode(said, pod, || asks_itself(pod), applied, notes) {
        Mode::Inject => {}
        Mode::OptOut(mode, reason, warning) => {
            let mut decision = match mode {
                MutationMode::Ignore => skip(reason),
                MutationMode::IgnoreAndDetach => detach(pod),
            };
            decision.warnings_mut().extend(warning);
            return decision;
        }
        Mode::Refused(problem) => {
            return refuse(pod, context, Problems::from(*problem), Vec::new());
        }
    }
    if !pod.is_annotated() && !applied.injects() {
        return skip(SkipReason::NotAnnotated);
    }
    if let Some(problem) = limits::check_pod(pod).or_else(|| limits::check_policies(applied)) {
        return refuse(pod, context, Problems::from(problem), Vec::new());
    }
    if applied.injects() || asks() {
        inject(pod, context, applied, notes)
    } else {
        asks_for_nothing(pod, context, applied)
    }
}

/// Removes everything with a reserved name, with or without a receipt: `detach --by-name`.
pub fn detach_by_name(pod: &PodView<'_>) -> Decision {
    if !ownership::has_reserved_names(pod) {
        return detach(pod);
    }
    let receipt = Receipt::parse(pod.annotation(RECEIPT).unwrap_or_default());
    Decision::Detach(Detachment {
        patch: Patch::new(detach::removals(pod, &receipt, MatchBy::Name)),
        warnings: Vec::new(),
    })
}

fn skip(reason: SkipReason) -> Decision {
    Decision::Skip(reason.into())
}

fn detach(pod: &PodView<'_>) -> Decision {
    if ownership::has_injection(pod) {
        let receipt = Receipt::parse(pod.annotation(RECEIPT).unwrap_or_default());
        return Decision::Detach(Detachment {
            patch: Patch::new(detach::removals(pod, &receipt, MatchBy::Receipt)),
            warnings: Vec::new(),
        });
    }
    if !ownership::has_reserved_names(pod) {
        return skip(SkipReason::NothingToDetach);
    }
    Decision::Skip(Skip {
        warnings: vec![
            "mutation-mode: ignore-and-detach leaves the scaivault-… containers and volumes in \
             place: without the injector's receipt they may be hand-written; `scaivault-injector \
             detach --by-name` removes them"
                .to_owned(),
        ],
        ..Skip::from(SkipReason::NoReceipt)
    })
}

/// The decision for a pod with injector annotations of which none asks for a secret. It is rejected
/// if one of them looks like a misspelt request.
fn asks_for_nothing(pod: &PodView<'_>, context: &Context<'_>, applied: &AppliedPolicies<'_>) -> Decision {
    // Policies add nothing to such a pod.
    let none = applied.without_policies();
    let mut collected = layer::merge(pod, context, &none, &none.values(pod, context));
    let others = collected.problems.len();
    collected.settle(false);
    let CollectedDraft { problems, mut warnings, .. } = collected;
    if problems.len() > others {
        return refuse(pod, context, problems, warnings);
    }
    warnings.extend(problems.iter().map(|problem| format!("nothing is injected; also: {problem}")));
    Decision::Skip(Skip { warnings, ..Skip::from(SkipReason::NotAnnotated) })
}

fn inject(
    pod: &PodView<'_>,
    context: &Context<'_>,
    applied: &AppliedPolicies<'_>,
    notes: &mut Notes,
) -> Decision {
    let existing = ExistingInjection::find(pod);
    let values = applied.values(pod, context);
    let mut collected = layer::merge(pod, context, applied, &values);
    collected.settle(applied.injects() || asks_itself(pod));
    let CollectedDraft { draft, problems, warnings, .. } = collected;
    if let Some(problem) = limits::check_draft(&draft) {
        return refuse(pod, context, Problems::from(problem), warnings);
    }
    let mut diagnostics = Diagnostics::new(&draft, problems, warnings);
    ownership::check_reserved_names(
        existing.as_ref().map_or(pod, |existing| &existing.before),
        &mut diagnostics.problems,
    );
    policy::check_conflicts(applied, &values, &mut diagnostics, notes);
    let lists = &policy::check_limits(&draft, context.settings, applied, &values, &mut diagnostics, notes);
    if draft.secrets.is_empty() && draft.dynamic.is_empty() && draft.variables.is_empty() {
        if draft.inject == Some(true) && diagnostics.problems.is_empty() {
            diagnostics.problems.push(nothing_to_inject());
        }
        if diagnostics.problems.is_empty() {
            return Decision::Skip(Skip {
                warnings: diagnostics.warnings,
                ..Skip::from(SkipReason::NotAnnotated)
            });
        }
    }
    let Some(existing) = existing else {
        return inject_fresh(
            Vec::new(),
            &Inputs::new(&draft, pod, context, lists),
            diagnostics,
            pod,
            context,
            applied,
        );
    };
    let inputs = Inputs::new(&draft, &existing.before, context, lists);
    if let Some(decision) = existing.complete(pod, &inputs, &diagnostics, applied) {
        return decision;
    }
    // The intent has changed: remove the old injection and add the new one in one patch.
    let ExistingInjection { receipt, before: mut base } = existing;
    let removals = detach::removals(pod, &receipt, MatchBy::Receipt);
    base.renumber();
    inject_fresh(removals, &Inputs::new(&draft, &base, context, lists), diagnostics, pod, context, applied)
}

/// An injection that the pod already has.
pub(crate) struct ExistingInjection<'a> {
    receipt: Receipt,
    /// The pod without the injection. Containers keep their index in the document.
    pub(crate) before: PodView<'a>,
}

impl<'a> ExistingInjection<'a> {
    pub(crate) fn find(pod: &PodView<'a>) -> Option<Self> {
        let receipt = Receipt::parse(pod.annotation(RECEIPT).filter(|_| ownership::has_injection(pod))?);
        let before = detach::without_injection(pod, &receipt, MatchBy::Receipt);
        Some(Self { receipt, before })
    }

    /// Adds the missing parts if the intent is the same; `None` if the injection must be replaced.
    /// The agent is validated at its current position, because other webhooks may have inserted
    /// containers before it.
    fn complete(
        &self,
        pod: &PodView<'_>,
        inputs: &Inputs<'_, '_>,
        diagnostics: &Diagnostics<'_>,
        applied: &AppliedPolicies<'_>,
    ) -> Option<Decision> {
        if !diagnostics.problems.is_empty() {
            return None;
        }
        let mut actual_diagnostics =
            Diagnostics::new(inputs.draft, Problems::new(), diagnostics.warnings.clone());
        let intent = intent::resolve(&Inputs { injected: Some(pod), ..*inputs }, &mut actual_diagnostics);
        let plan = Plan::new(&intent, &self.before, inputs.settings, applied);
        let readers = intent.readers.names(&self.before);
        if !actual_diagnostics.problems.is_empty()
            || !plan.receipt.has_plan_of(&self.receipt)
            || !reinvocation::is_up_to_date(&plan, pod, |container| readers.contains(&*container.name))
        {
            return None;
        }
        let missing = diff(plan, pod, &self.before, &intent.readers);
        Some(if missing.is_empty() {
            Decision::Skip(Skip {
                warnings: actual_diagnostics.warnings,
                ..Skip::from(SkipReason::AlreadyInjected)
            })
        } else {
            injected(missing, &intent, false, actual_diagnostics.warnings)
        })
    }
}

/// Adds the injection to a pod from which `removals` have removed an earlier one, if any.
fn inject_fresh(
    mut removals: Vec<Operation>,
    inputs: &Inputs<'_, '_>,
    mut diagnostics: Diagnostics<'_>,
    pod: &PodView<'_>,
    context: &Context<'_>,
    applied: &AppliedPolicies<'_>,
) -> Decision {
    let intent = intent::resolve(inputs, &mut diagnostics);
    let Diagnostics { mut problems, warnings, .. } = diagnostics;
    if !problems.is_empty() {
        if !asks_itself(pod) {
            blame_policies(&mut problems, applied);
        }
        return refuse(pod, context, problems, warnings);
    }
    let replaced = !removals.is_empty();
    let plan = Plan::new(&intent, inputs.pod, inputs.settings, applied);
    removals.append(&mut diff(plan, inputs.pod, inputs.pod, &intent.readers));
    injected(removals, &intent, replaced, warnings)
}

/// Whether the pod's own annotations ask for secrets.
fn asks_itself(pod: &PodView<'_>) -> bool {
    pod.annotations().map(|(key, _)| key).chain(pod.keys_without_text()).any(asks_for_secrets)
}

/// Adds to the problems of a pod without a request of its own which policies inject into it.
fn blame_policies(problems: &mut Problems, applied: &AppliedPolicies<'_>) {
    let Some(policies) = applied.injectors() else { return };
    for problem in problems.iter_mut() {
        if !matches!(problem.layer, Layer::Policy(_)) && !problem.code.is_about_policies() {
            problem.message = format!("{} ({policies} injects into this pod)", problem.message).into();
        }
    }
}

fn injected(
    operations: Vec<Operation>,
    intent: &Intent<'_>,
    replaced: bool,
    warnings: Vec<String>,
) -> Decision {
    Decision::Inject(Box::new(Injection {
        patch: Patch::new(operations),
        pattern: intent.pattern,
        secrets: intent.count(),
        replaced,
        warnings,
    }))
}

/// Rejects the pod, or admits it without an injection and with an annotation that says so.
pub(crate) fn refuse(
    pod: &PodView<'_>,
    context: &Context<'_>,
    problems: Problems,
    mut warnings: Vec<String>,
) -> Decision {
    match context.settings.config.on_problem {
        OnProblem::Deny => Decision::Deny(Denial { problems, warnings }),
        OnProblem::Warn => {
            let reason = SkipReason::Problems;
            warnings.extend(problems.iter().map(|problem| format!("{NOT_INJECTED}{problem}")));
            let patch = patch::skipped(pod, reason.name()).map(|operation| Patch::new(vec![operation]));
            Decision::Skip(Skip { reason, patch, problems, warnings })
        }
    }
}

fn nothing_to_inject() -> Problem {
    Problem {
        code: Code::NothingToInject,
        key: Some(ExactKey::Inject.text().to_owned()),
        layer: Layer::Pod,
        value: Some(crate::Excerpt::new("true")),
        message: "no annotation names a secret".into(),
        allowed: None,
        fix: "add inject-secret-<name>: <path>, or remove inject".into(),
    }
}
