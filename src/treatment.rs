//! What happens to each object of a document: the core's decision, and its patch applied.

pub(crate) mod own_text;

use scaivault_inject::{
    Context, Decision, Explanation, MutationMode, Patch, PodView, SkipReason, explain, manifest,
    workload::{WorkloadKind, WorkloadView},
};
use serde_json::Value;

use crate::{
    misplaced,
    object::{Object, objects},
    surroundings::Surroundings,
};

/// What is to be done with pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// What admission would do.
    Inject,
    /// Take out what a receipt marks as injected.
    Detach,
    /// Take out whatever carries a reserved name.
    DetachByName,
}

/// What the core decides on.
#[derive(Clone, Debug)]
pub(crate) enum Subject<'a> {
    /// A pod, or a template whose object has no say of its own.
    Pod(PodView<'a>),
    /// A workload, with its own annotations.
    Workload(WorkloadView<'a>),
}

impl<'a> Subject<'a> {
    /// The pod, or the workload's template.
    pub(crate) fn pod(&self) -> &PodView<'a> {
        match self {
            Self::Pod(pod) => pod,
            Self::Workload(workload) => workload.template(),
        }
    }
}

/// An object after its treatment.
#[derive(Clone, Debug)]
pub(crate) struct Treated {
    /// RFC 6901 pointer to the object in its document.
    pub(crate) pointer: String,
    /// `apiVersion`, `kind`, `metadata.namespace`, `metadata.name`; empty where absent.
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// What came out.
    pub(crate) outcome: Outcome,
    /// Where the settings come from; empty unless asked for.
    pub(crate) settings: Vec<Explanation>,
}

impl Treated {
    /// Whether its text changes.
    pub(crate) fn is_changed(&self) -> bool {
        match &self.outcome {
            Outcome::Decided(decision) => decision.patch().is_some_and(|patch| !patch.is_empty()),
            _ => false,
        }
    }
}

/// What came out for an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It has no `apiVersion` or no `kind`.
    NoObject,
    /// Its kind has no pod, or this manifest has no pod template (such as a kustomize patch).
    NoPod,
    /// The API server would refuse it; what is wrong.
    Malformed(String),
    /// The core decided.
    Decided(Box<Decision>),
    /// Told to detach; what is there looks like ours, and nothing proves it.
    NoReceipt,
}

impl Outcome {
    /// Whether something has to be mended.
    pub(crate) fn has_problems(&self) -> bool {
        match self {
            Self::NoObject | Self::NoPod => false,
            Self::Malformed(_) | Self::NoReceipt => true,
            Self::Decided(decision) => match &**decision {
                Decision::Deny(_) => true,
                Decision::Skip(skip) => !skip.problems.is_empty(),
                Decision::Inject(_) | Decision::Detach(_) => false,
            },
        }
    }

    /// Whether the document must not be applied as it is.
    pub(crate) fn is_refused(&self) -> bool {
        match self {
            Self::Decided(decision) => matches!(**decision, Decision::Deny(_)),
            other => other.has_problems(),
        }
    }
}

/// Treats all objects of a document.
pub(crate) fn treat(
    document: &Value,
    verb: Verb,
    surroundings: &Surroundings,
    with_settings: bool,
    decide: impl Fn(&Subject<'_>, &Context<'_>) -> Decision,
) -> Vec<Treated> {
    let mut treated = Vec::new();
    for object in objects(document) {
        let (outcome, settings) = outcome(&object, verb, surroundings, with_settings, &decide);
        treated.push(Treated {
            api_version: object.api_version.to_owned(),
            kind: object.kind.to_owned(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            pointer: object.pointer,
            outcome,
            settings,
        });
    }
    treated
}

/// The patches of all objects as one of their document.
pub(crate) fn patch(treated: &[Treated]) -> Patch {
    let patches = treated.iter().filter_map(|Treated { pointer, api_version, kind, outcome, .. }| {
        let Outcome::Decided(decision) = outcome else { return None };
        let pod_pointer = manifest::pod_pointer(api_version, kind)?;
        Some(decision.patch()?.clone().below(&format!("{pointer}{pod_pointer}")))
    });
    Patch::new(patches.flat_map(|patch| patch.operations().to_vec()).collect())
}

fn outcome(
    object: &Object<'_>,
    verb: Verb,
    surroundings: &Surroundings,
    with_settings: bool,
    decide: impl Fn(&Subject<'_>, &Context<'_>) -> Decision,
) -> (Outcome, Vec<Explanation>) {
    if object.kind.is_empty() {
        return (Outcome::NoObject, Vec::new());
    }
    let pod = object.pod_pointer().and_then(|pointer| object.value.pointer(pointer));
    let Some(pod) = pod.filter(|pod| !pod.is_null()) else {
        // Such as a namespace, whose annotations are defaults of its pods.
        let wrong = object.key_without_text().filter(|_| verb == Verb::Inject);
        let malformed = wrong.map(|key| {
            Outcome::Malformed(format!(
                "{key} is no string, and values of annotations are; put the value into quotes"
            ))
        });
        return (malformed.unwrap_or(Outcome::NoPod), Vec::new());
    };
    // To detach, nothing but the template is looked at.
    let kind = WorkloadKind::of(object.api_version, object.kind).filter(|_| verb == Verb::Inject);
    let json = kind.map_or(pod, |_| object.value).to_string();
    let subject = match kind {
        Some(kind) => {
            WorkloadView::parse(kind, &json).map(Subject::Workload).map_err(|error| error.to_string())
        }
        None => PodView::parse(&json).map(Subject::Pod).map_err(|error| error.to_string()),
    };
    let subject = match subject {
        Ok(subject) => subject,
        Err(message) => return (Outcome::Malformed(message), Vec::new()),
    };
    let namespace = match verb {
        Verb::Inject => surroundings.namespace(object.namespace()),
        // Only the manifest counts: an exclusion or a mode of the namespace must not keep the user from detaching.
        Verb::Detach | Verb::DetachByName => scaivault_inject::Namespace::default(),
    };
    let context = Context::new(&surroundings.settings, &namespace, surroundings.kube_version)
        .with_service_account_role(surroundings.role(object.namespace(), Object::service_account(pod)))
        // That of a workload is in the workload itself. To detach is the strictest mode, whatever the manifest says.
        .with_workload_mutation_mode((verb != Verb::Inject).then_some(MutationMode::IgnoreAndDetach));
    let settings = if with_settings { explain(subject.pod(), &context) } else { Vec::new() };
    let outcome = match decide(&subject, &context) {
        Decision::Skip(skip) if skip.reason == SkipReason::NoReceipt && verb == Verb::Detach => {
            Outcome::NoReceipt
        }
        mut decision => {
            if verb == Verb::Inject {
                decision
                    .warnings_mut()
                    .extend(misplaced::warnings(object, object.pod_pointer().unwrap_or("")));
            }
            Outcome::Decided(Box::new(decision))
        }
    };
    (outcome, settings)
}

#[cfg(test)]
mod tests;
