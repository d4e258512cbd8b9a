//! Whether a pod is injected at all: what policies say beside what pod, workload and namespace say.

use super::{
    applied::Applied,
    parts::{Enforcement, PolicyMode},
    report::{Notes, PolicyEffect},
};
use crate::{
    SkipReason,
    annotations::ExactKey,
    mutation_mode::MutationMode,
    pod::PodView,
    problem::{Code, Layer, Problem},
};

/// What comes of all that was said.
#[derive(Debug)]
pub(crate) enum Mode {
    /// The pod is injected if anything asks for it.
    Inject,
    /// It is left alone, or freed of what was injected; with a warning where a policy has one.
    OptOut(MutationMode, SkipReason, Option<String>),
    /// It may not opt out.
    Refused(Box<Problem>),
}

/// The mode of a pod. `said` is the strictest of what pod, workload and namespace say; `asks` is whether the pod's keys ask for
/// secrets.
pub(crate) fn mode(
    said: Option<(MutationMode, SkipReason)>,
    pod: &PodView<'_>,
    asks: impl FnOnce() -> bool,
    applied: &Applied<'_>,
    notes: &mut Notes,
) -> Mode {
    let opted_out = |said: Option<(MutationMode, SkipReason)>| match said {
        Some((mode, reason)) => Mode::OptOut(mode, reason, None),
        None => Mode::Inject,
    };
    let Some((at, policy_mode, may_override)) = applied.mode() else { return opted_out(said) };
    let (name, enforcement) = (applied.policies[at].policy.name(), applied.policies[at].enforcement);
    match (policy_mode.opts_out(), said) {
        (None, None) => Mode::Inject,
        (None, Some((mode, reason))) if !(applied.injects() || asks()) => Mode::OptOut(mode, reason, None),
        (None, Some((mode, reason))) => {
            let only_warns = enforcement != Enforcement::Enforce;
            let warning = (only_warns && !may_override).then(|| refused(name, reason).to_string());
            if let Some(text) = &warning {
                notes.add(at, PolicyEffect::Warned, || text.clone());
            }
            // A policy that only warns lifts nothing that another one enforces.
            let decides =
                if only_warns { applied.enforced_mode() } else { Some((at, policy_mode, may_override)) };
            match decides {
                Some((at, PolicyMode::Inject, false)) => {
                    let problem = refused(applied.policies[at].policy.name(), reason);
                    notes.add(at, PolicyEffect::Refused, || problem.to_string());
                    Mode::Refused(Box::new(problem))
                }
                _ => Mode::OptOut(mode, reason, warning),
            }
        }
        (Some(_), _) if may_override && pod.annotation(ExactKey::Inject.text()).is_some_and(is_true) => {
            opted_out(said)
        }
        (Some(policy_mode), said) => {
            notes.add(at, PolicyEffect::Selected, || format!("mutationMode: {}", policy_mode.name()));
            match said {
                Some((mode, reason)) if mode >= policy_mode => Mode::OptOut(mode, reason, None),
                _ => Mode::OptOut(policy_mode, SkipReason::IgnoredByPolicy, None),
            }
        }
    }
}

fn is_true(value: &str) -> bool {
    value.trim() == "true"
}

impl PolicyMode {
    /// The opt-out that the mode is; none where pods are injected.
    const fn opts_out(self) -> Option<MutationMode> {
        match self {
            Self::Inject => None,
            Self::Ignore => Some(MutationMode::Ignore),
            Self::IgnoreAndDetach => Some(MutationMode::IgnoreAndDetach),
        }
    }
}

fn refused(policy: &str, reason: SkipReason) -> Problem {
    let (key, layer) = match reason {
        SkipReason::OptedOut => (ExactKey::Inject, Layer::Pod),
        SkipReason::IgnoredByWorkload => (ExactKey::MutationMode, Layer::Workload),
        SkipReason::IgnoredByNamespace => (ExactKey::MutationMode, Layer::Namespace),
        _ => (ExactKey::MutationMode, Layer::Pod),
    };
    Problem {
        code: Code::PolicyOptOut,
        key: Some(key.text().to_owned()),
        layer,
        value: None,
        message: format!("policy {policy} does not let pods opt out").into(),
        allowed: None,
        cure: "remove the annotation, or have podsMayOverride of the policy set to true".into(),
    }
}
