//! Validates an `InjectionPolicy` when it is applied and rejects one that cannot be used, so that
//! its author sees the reason.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Refusal, Verdict};
use crate::{
    context::{AdmissionContext, PolicyReview},
    reason::{IgnoreReason, Reason},
    review::{Object, Operation, Request},
};
use scaivault_inject::workload::ValidationReason;

/// The API group of policies.
const GROUP: &str = "scaivault.scailabs.ai";
/// The kind of policies.
const KIND: &str = "InjectionPolicy";

/// The part of a policy that is validated, as text.
#[derive(Deserialize)]
struct Policy<'a> {
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
}

/// Validates a policy that is created or changed. An update that leaves `spec` unchanged is
/// allowed, so that labels and finalizers of an invalid policy can still be changed.
pub(super) fn review(request: &Request<'_>, context: &AdmissionContext) -> Verdict {
    if let Some(ignored) = ignored(request) {
        return Reason::Ignored(ignored).into();
    }
    let Some(Object::Text(object)) = &request.object else {
        return Reason::Ignored(IgnoreReason::NotAPolicy).into();
    };
    let PolicyReview { problems, warnings } = context.cluster().review_policy(object.get());
    let verdict = |reason| Verdict { warnings: warnings.clone(), ..Reason::Validated(reason).into() };
    if problems.is_empty() {
        return verdict(ValidationReason::Valid);
    }
    let message = problems.join("; ");
    if request.old_object.is_some_and(|former| has_same_spec(object, former)) {
        let mut verdict = verdict(ValidationReason::ProblemsUnchanged);
        verdict.warnings.push(format!("this policy cannot be used: {message}"));
        return verdict;
    }
    let refusal = Refusal { code: 422, reason: "Invalid", message };
    Verdict { refusal: Some(refusal), ..verdict(ValidationReason::Problems) }
}

fn has_same_spec(object: &RawValue, former: &RawValue) -> bool {
    let [now, before] = [object, former].map(|object| serde_json::from_str::<Policy<'_>>(object.get()));
    // The text can be compared, because the API server writes both in the same form.
    matches!((now, before), (Ok(Policy { spec: Some(now) }), Ok(Policy { spec: Some(before) }))
        if now.get() == before.get())
}

fn ignored(request: &Request<'_>) -> Option<IgnoreReason> {
    if !request.subresource.is_empty() {
        return Some(IgnoreReason::Subresource);
    }
    if !(&*request.kind.group == GROUP && &*request.kind.kind == KIND) {
        return Some(IgnoreReason::NotAPolicy);
    }
    match request.operation {
        Operation::Create | Operation::Update => None,
        Operation::Delete => Some(IgnoreReason::Delete),
        Operation::Connect => Some(IgnoreReason::Connect),
        Operation::Other => Some(IgnoreReason::OtherOperation),
    }
}
