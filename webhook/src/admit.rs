//! The decision on one admission request: synchronous, pure, no HTTP.

mod policy;
mod workload;

use std::sync::Arc;

use scaivault_inject::{
    Context, Decision, Denial, Detachment, Namespace, Patch, PodView, PolicyUse, Problems, Skip,
    decide_with_policies,
};

use crate::{
    context::{AdmissionContext, Cluster, Lookup, Policies},
    endpoint::Endpoint,
    reason::{Deferral, DenialReason, IgnoreReason, Reason},
    record::shown,
    review::{Object, Operation, Request},
};

/// The decision on one request.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// Outcome and reason.
    pub(crate) reason: Reason,
    /// What to change.
    pub(crate) patch: Option<Patch>,
    /// Shown to the client that applies the object.
    pub(crate) warnings: Vec<String>,
    /// The problems of the annotations, also if the pod is admitted in spite of them.
    pub(crate) problems: Problems,
    /// The policies that select the pod, and the effect of each.
    pub(crate) policies: Vec<PolicyUse>,
    /// The effects of the policies were already counted, in an earlier review of the pod.
    pub(crate) is_repeated: bool,
    /// Set if the request is rejected.
    pub(crate) refusal: Option<Refusal>,
    /// Set if the request is deferred.
    pub(crate) missing: Option<MissingLookup>,
}

/// The cluster objects that must be in the cache before a request can be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MissingLookup {
    namespace: String,
    /// `None` if the decision needs no service account.
    service_account: Option<String>,
}

impl MissingLookup {
    /// Whether all of them are in the cache.
    pub(crate) fn is_known(&self, cluster: &dyn Cluster) -> bool {
        let Self { namespace, service_account } = self;
        matches!(cluster.policies(), Lookup::Known(_))
            && matches!(cluster.namespace(namespace), Lookup::Known(_))
            && service_account.as_ref().is_none_or(|service_account| {
                matches!(cluster.service_account_role(namespace, service_account), Lookup::Known(_))
            })
    }
}

impl From<Reason> for Verdict {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            patch: None,
            warnings: Vec::new(),
            problems: Problems::new(),
            policies: Vec::new(),
            is_repeated: false,
            refusal: None,
            missing: None,
        }
    }
}

/// How a rejection is reported to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// HTTP status code.
    pub(crate) code: u16,
    /// The `StatusReason` of Kubernetes.
    pub(crate) reason: &'static str,
    /// All problems.
    pub(crate) message: String,
}

impl From<&Problems> for Refusal {
    fn from(problems: &Problems) -> Self {
        Self { code: 403, reason: "Forbidden", message: problems.to_string() }
    }
}

/// Decides a request that was sent to an endpoint.
pub(crate) fn admit(entry: Endpoint, request: &Request<'_>, context: &AdmissionContext) -> Verdict {
    let verdict = match entry {
        Endpoint::Mutate => pod(request, context),
        Endpoint::Mode => workload::mode(request, context),
        Endpoint::Validate => workload::validate(request, context),
        Endpoint::Policy => policy::review(request, context),
    };
    match verdict.patch.as_ref().and_then(Patch::too_large) {
        Some(problem) => {
            Decision::Deny(Denial { problems: Problems::from(problem), warnings: verdict.warnings }).into()
        }
        None => verdict,
    }
}

/// Only the creation of a pod is examined; every other request is allowed without changes.
fn pod(request: &Request<'_>, context: &AdmissionContext) -> Verdict {
    if let Some(ignored) = ignored(request) {
        return Reason::Ignored(ignored).into();
    }
    let parsed;
    let pod = match &request.object {
        None => return malformed("the request of a pod's creation has no object".to_owned()),
        Some(Object::Pod(pod)) => &**pod,
        Some(Object::Text(text)) => {
            parsed = match PodView::parse(text.get()) {
                Ok(pod) => pod,
                Err(error) => return malformed(error.to_string()),
            };
            &parsed
        }
    };
    let ClusterFacts { policies, namespace, role } =
        match ClusterFacts::look_up(pod, &request.namespace, context.cluster()) {
            Ok(facts) => facts,
            Err(deferral) => return deferred(deferral, request, Some(pod.service_account())),
        };
    let (decision, report) = decide_with_policies(
        pod,
        &Context::new(&context.settings(), &namespace, context.kube_version())
            .with_service_account_role(role.as_deref())
            .with_policies(&policies.set, policies.now),
    );
    Verdict { policies: report.uses, is_repeated: report.is_repeated, ..decision.into() }
}

/// The cluster objects that matter for a pod.
struct ClusterFacts {
    policies: Policies,
    namespace: Arc<Namespace>,
    /// The role of the service account.
    role: Option<Arc<str>>,
}

impl ClusterFacts {
    /// Reads them from the cache. A pod without annotations of the injector that no policy can
    /// select does not wait for any object.
    fn look_up(pod: &PodView<'_>, namespace: &str, cluster: &dyn Cluster) -> Result<Self, Deferral> {
        // Pods without annotations need the policies too: a policy may give them secrets.
        let Lookup::Known(policies) = cluster.policies() else {
            return Err(Deferral::Policies);
        };
        let asks = pod.is_annotated();
        let known = match cluster.namespace(namespace) {
            Lookup::Known(known) => known,
            Lookup::Unknown if asks || !policies.set.is_empty() => {
                return Err(Deferral::Namespace);
            }
            Lookup::Unknown => Arc::new(Namespace { name: namespace.to_owned(), ..Namespace::default() }),
        };
        if !asks && policies.set.selects_namespace(&known).next().is_none() {
            return Ok(Self { policies, namespace: known, role: None });
        }
        let Lookup::Known(role) = cluster.service_account_role(namespace, pod.service_account()) else {
            return Err(Deferral::ServiceAccount);
        };
        Ok(Self { policies, namespace: known, role })
    }
}

fn ignored(request: &Request<'_>) -> Option<IgnoreReason> {
    if !request.subresource.is_empty() {
        return Some(IgnoreReason::Subresource);
    }
    if !(request.kind.group.is_empty() && &*request.kind.kind == "Pod") {
        return Some(IgnoreReason::NotAPod);
    }
    match request.operation {
        Operation::Create => None,
        Operation::Update => Some(IgnoreReason::Update),
        Operation::Delete => Some(IgnoreReason::Delete),
        Operation::Connect => Some(IgnoreReason::Connect),
        Operation::Other => Some(IgnoreReason::OtherOperation),
    }
}

fn deferred(deferral: Deferral, request: &Request<'_>, service_account: Option<&str>) -> Verdict {
    // Shortened, because the names are kept while the review waits. No Kubernetes name is longer.
    let own = |name: &str| shown(name).to_owned();
    let missing =
        MissingLookup { namespace: own(&request.namespace), service_account: service_account.map(own) };
    Verdict { missing: Some(missing), ..Reason::Deferred(deferral).into() }
}

fn malformed(message: String) -> Verdict {
    Verdict {
        refusal: Some(Refusal { code: 422, reason: "Invalid", message }),
        ..Reason::Denied(DenialReason::MalformedPod).into()
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
                ..Reason::Denied(DenialReason::Problems).into()
            },
        }
    }
}

#[cfg(test)]
mod tests;
