//! What a request gets: synchronous, pure, no HTTP.

mod workload;

use scaivault_inject::{Context, Decision, Denial, Detachment, Patch, PodView, Problems, Skip, decide};

use crate::{
    context::{AdmissionContext, Lookup},
    entry::Entry,
    reason::{Deferral, Reason, Refused, Untouched},
    review::{Operation, Request},
};

/// What a request gets.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// Outcome and reason.
    pub(crate) reason: Reason,
    /// What to change.
    pub(crate) patch: Option<Patch>,
    /// For whoever applies the object.
    pub(crate) warnings: Vec<String>,
    /// What is wrong with the annotations; also where the pod goes through in spite of it.
    pub(crate) problems: Problems,
    /// Set when the request is refused.
    pub(crate) refusal: Option<Refusal>,
}

impl From<Reason> for Verdict {
    fn from(reason: Reason) -> Self {
        Self { reason, patch: None, warnings: Vec::new(), problems: Problems::new(), refusal: None }
    }
}

/// How a refusal reads for the person who made the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// HTTP status code.
    pub(crate) code: u16,
    /// Kubernetes' word for it (`StatusReason`).
    pub(crate) reason: &'static str,
    /// All that is wrong.
    pub(crate) message: String,
}

impl From<&Problems> for Refusal {
    fn from(problems: &Problems) -> Self {
        Self { code: 403, reason: "Forbidden", message: problems.to_string() }
    }
}

/// Decides a request of an entry.
pub(crate) fn admit(entry: Entry, request: &Request<'_>, context: &AdmissionContext) -> Verdict {
    match entry {
        Entry::Mutate => pod(request, context),
        Entry::Mode => workload::mode(request, context),
        Entry::Validate => workload::validate(request, context),
    }
}

/// Only the creation of a pod is looked at; everything else goes through untouched.
fn pod(request: &Request<'_>, context: &AdmissionContext) -> Verdict {
    if let Some(untouched) = untouched(request) {
        return Reason::Untouched(untouched).into();
    }
    let Some(object) = request.object else {
        return malformed("the request of a pod's creation has no object".to_owned());
    };
    let pod = match PodView::parse(object.get()) {
        Ok(pod) => pod,
        Err(error) => return malformed(error.to_string()),
    };
    let Lookup::Known(namespace) = context.namespace(&request.namespace) else {
        return Reason::Deferred(Deferral::UnknownNamespace).into();
    };
    decide(
        &pod,
        &Context {
            settings: &context.settings,
            namespace: &namespace,
            service_account_role: None,
            workload_mutation_mode: None,
            kube_version: context.kube_version,
        },
    )
    .into()
}

fn untouched(request: &Request<'_>) -> Option<Untouched> {
    if !request.subresource.is_empty() {
        return Some(Untouched::Subresource);
    }
    if !(request.kind.group.is_empty() && &*request.kind.kind == "Pod") {
        return Some(Untouched::NotAPod);
    }
    match request.operation {
        Operation::Create => None,
        Operation::Update => Some(Untouched::Update),
        Operation::Delete => Some(Untouched::Delete),
        Operation::Connect => Some(Untouched::Connect),
        Operation::Other => Some(Untouched::OtherOperation),
    }
}

fn malformed(message: String) -> Verdict {
    Verdict {
        refusal: Some(Refusal { code: 422, reason: "Invalid", message }),
        ..Reason::Denied(Refused::MalformedPod).into()
    }
}

impl From<Decision> for Verdict {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Skip(Skip { reason, patch, problems, warnings }) => {
                Self { patch, warnings, problems, ..Reason::Skipped(reason).into() }
            }
            Decision::Inject(injection) => Self {
                patch: Some(injection.patch),
                warnings: injection.warnings,
                ..Reason::Injected(injection.pattern).into()
            },
            Decision::Detach(Detachment { patch, warnings }) => {
                Self { patch: Some(patch), warnings, ..Reason::Detached.into() }
            }
            Decision::Deny(Denial { problems, warnings }) => Self {
                refusal: Some(Refusal::from(&problems)),
                problems,
                warnings,
                ..Reason::Denied(Refused::Problems).into()
            },
        }
    }
}

#[cfg(test)]
mod tests;
