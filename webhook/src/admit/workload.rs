//! Decisions on workloads: the template follows the workload's mode, and the annotations are
//! validated.

use scaivault_inject::{
    Context, SkipReason,
    manifest::{find_templates, pod_pointer},
    workload::{
        Adjustment, Former, FormerObject, Validation, ValidationReason, WorkloadKind, WorkloadView, adjust,
        validate as check, validate_object,
    },
};

use super::{Refusal, Verdict, deferred};
use crate::{
    context::{AdmissionContext, Lookup},
    reason::{Deferral, IgnoreReason, Reason},
    review::{Object, Operation, Request},
};

/// Updates the pod template to the workload's own `mutation-mode`.
pub(super) fn mode(request: &Request<'_>, context: &AdmissionContext) -> Verdict {
    with_workload(request, context, |workload, former| {
        let Adjustment { reason, patch, warnings } = adjust(workload, former);
        Verdict { patch: Some(patch), warnings, ..Reason::Adjusted(reason).into() }
    })
}

/// Validates the annotations. Problems that the request introduces reject it.
pub(super) fn validate(request: &Request<'_>, context: &AdmissionContext) -> Verdict {
    if kind(request) == Err(IgnoreReason::NotAWorkload) {
        return validate_templates(request, context);
    }
    with_workload(request, context, |workload, former| {
        with_namespace(request, context, |inputs| check(workload, former, inputs))
    })
}

/// Validates the pod templates in an object of an unknown kind. Kinds whose objects are created by
/// a workload controller are known and are not validated, because their owners are.
fn validate_templates(request: &Request<'_>, context: &AdmissionContext) -> Verdict {
    let not_a_workload = || Reason::Ignored(IgnoreReason::NotAWorkload).into();
    let api_version = request.kind.api_version();
    let is_written = matches!(request.operation, Operation::Create | Operation::Update);
    let Some(Object::Text(object)) = &request.object else { return not_a_workload() };
    if !is_written || pod_pointer(&api_version, &request.kind.kind).is_some() || request.namespace.is_empty()
    {
        return not_a_workload();
    }
    let templates = find_templates(&api_version, object.get());
    if templates.is_empty() {
        return not_a_workload();
    }
    if context.settings().excludes(&request.namespace) {
        return Reason::Skipped(SkipReason::ExcludedNamespace).into();
    }
    let former = match (request.operation, request.old_object) {
        (Operation::Create, _) => FormerObject::Nothing,
        (_, Some(former)) => FormerObject::Object(former.get()),
        (_, None) => FormerObject::Unknown,
    };
    with_namespace(request, context, |inputs| {
        validate_object(&api_version, object.get(), &templates, former, inputs)
    })
}

/// The verdict of a check that needs the namespace.
fn with_namespace(
    request: &Request<'_>,
    context: &AdmissionContext,
    check: impl FnOnce(&Context<'_>) -> Validation,
) -> Verdict {
    let Lookup::Known(policies) = context.cluster().policies() else {
        return deferred(Deferral::Policies, request, None);
    };
    let Lookup::Known(namespace) = context.cluster().namespace(&request.namespace) else {
        return deferred(Deferral::Namespace, request, None);
    };
    let settings = context.settings();
    let inputs = Context::new(&settings, &namespace, context.kube_version())
        .with_policies(&policies.set, policies.now);
    let Validation { reason, problems, warnings } = check(&inputs);
    let refusal = (reason == ValidationReason::Problems).then(|| Refusal::from(&problems));
    Verdict { warnings, problems, refusal, ..Reason::Validated(reason).into() }
}

/// Reads the workload and its previous version. An object that cannot be read as a workload is
/// allowed: its pods are checked when they are created.
fn with_workload(
    request: &Request<'_>,
    context: &AdmissionContext,
    decide: impl Fn(&WorkloadView<'_>, Former<'_, '_>) -> Verdict,
) -> Verdict {
    let kind = match kind(request) {
        Ok(kind) => kind,
        Err(ignored) => return Reason::Ignored(ignored).into(),
    };
    if context.settings().excludes(&request.namespace) {
        return Reason::Skipped(SkipReason::ExcludedNamespace).into();
    }
    let Some(Object::Text(object)) = &request.object else {
        return Reason::Ignored(IgnoreReason::MalformedWorkload).into();
    };
    let workload = match WorkloadView::parse(kind, object.get()) {
        Ok(workload) => workload,
        Err(error) => {
            let warnings = vec![format!("not checked: {error}")];
            return Verdict { warnings, ..Reason::Ignored(IgnoreReason::MalformedWorkload).into() };
        }
    };
    if request.operation == Operation::Create {
        return decide(&workload, Former::Nothing);
    }
    let former = request.old_object.and_then(|former| WorkloadView::parse(kind, former.get()).ok());
    decide(&workload, former.as_ref().map_or(Former::Unknown, Former::Workload))
}

fn kind(request: &Request<'_>) -> Result<WorkloadKind, IgnoreReason> {
    if !request.subresource.is_empty() {
        return Err(IgnoreReason::Subresource);
    }
    let kind = WorkloadKind::parse(&request.kind.api_version(), &request.kind.kind)
        .ok_or(IgnoreReason::NotAWorkload)?;
    match request.operation {
        Operation::Create | Operation::Update => Ok(kind),
        Operation::Delete => Err(IgnoreReason::Delete),
        Operation::Connect => Err(IgnoreReason::Connect),
        Operation::Other => Err(IgnoreReason::OtherOperation),
    }
}

#[cfg(test)]
mod tests;
