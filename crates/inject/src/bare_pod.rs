//! Validation of defaults without a pod: each key, and all of them together for a pod that
//! overrides none.

use crate::{
    Context, Namespace, PodView, Settings,
    annotations::{Draft, ExactKey, Intention},
    intent::{self, Diagnostics, Inputs},
    kube_version::KubeVersion,
    layer::{CollectedDraft, Fill, Layer, collect},
    policy::ReplacedLists,
    problem::{Code, Problems},
};

/// A pod without any settings.
const BARE_POD: &str = r#"{"spec":{"containers":[{"name":"app"}]}}"#;

/// The result of validating defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultsReport {
    /// Problems for which pods would be rejected, and unknown keys.
    pub problems: Problems,
    /// Warnings, for which pods would not be rejected.
    pub warnings: Vec<String>,
}

/// Validates the annotations of a namespace, which are defaults of its pods.
pub fn check_namespace(namespace: &Namespace, settings: &Settings) -> DefaultsReport {
    let mut collected = CollectedDraft::over(settings.base.clone());
    collect(&mut collected, &Layer::Namespace, Fill::Sample, &mut namespace.annotations());
    // Keys that ask for a secret have no effect on a namespace, as they have none on its pods.
    collected.settle_by(|_, intention| intention == Intention::OptOut);
    let CollectedDraft { draft, mut problems, mut warnings, .. } = collected;
    if problems.is_empty() {
        for problem in &self::problems(&draft, settings) {
            // A policy may allow what the injector's own lists do not.
            if problem.code == Code::NotAllowed {
                warnings.push(problem.to_string());
            } else {
                problems.push(problem.clone());
            }
        }
    }
    DefaultsReport { problems, warnings }
}

/// Validates the annotation `scaikey.scailabs.ai/role` of a service account.
pub fn check_service_account_role(role: &str) -> DefaultsReport {
    let mut collected = CollectedDraft::over(Draft::default());
    let mut entries = std::iter::once((ExactKey::Role.text(), role));
    collect(&mut collected, &Layer::ServiceAccount, Fill::Nothing, &mut entries);
    let CollectedDraft { problems, warnings, .. } = collected;
    DefaultsReport { problems, warnings }
}

/// The problems of all defaults together.
pub(crate) fn problems(draft: &Draft, settings: &Settings) -> Problems {
    let pod = PodView::parse(BARE_POD).expect("the text is a pod");
    let namespace = Namespace::default();
    let context = Context::new(settings, &namespace, KubeVersion::OLDEST);
    let mut diagnostics = Diagnostics::new(draft, Problems::new(), Vec::new());
    intent::resolve(&Inputs::new(draft, &pod, &context, &ReplacedLists::default()), &mut diagnostics);
    // Problems that depend on the pod's containers are not caused by the defaults.
    let mut problems = Problems::new();
    for problem in diagnostics.problems.iter().filter(|problem| problem.code != Code::UnknownContainer) {
        problems.push(problem.clone());
    }
    problems
}
