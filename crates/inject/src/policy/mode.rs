//! Whether a pod is injected at all, from the modes of policies, pod, workload and namespace.

use super::{
    applied::{AppliedPolicies, PolicyModeSetting},
    parts::PolicyMode,
    report::{Notes, PolicyEffect},
};
use crate::{
    SkipReason,
    annotations::ExactKey,
    mutation_mode::MutationMode,
    pod::PodView,
    problem::{Code, Layer, Problem},
};

/// The effective mode of a pod.
#[derive(Debug)]
pub(crate) enum Mode {
    /// The pod is injected if an annotation or policy asks for it.
    Inject,
    /// The pod is not injected, or an injection is removed; with a warning if a policy requires
    /// one.
    OptOut(MutationMode, SkipReason, Option<String>),
    /// The pod opts out and must not.
    Refused(Box<Problem>),
}

/// The mode of a pod. `said` is the strictest mode of pod, workload and namespace; `asks` is
/// whether the pod's keys ask for secrets.
pub(crate) fn mode(
    said: Option<(MutationMode, SkipReason)>,
    pod: &PodView<'_>,
    asks: impl FnOnce() -> bool,
    applied: &AppliedPolicies<'_>,
    notes: &mut Notes,
) -> Mode {
    let opted_out = |said: Option<(MutationMode, SkipReason)>| match said {
        Some((mode, reason)) => Mode::OptOut(mode, reason, None),
        None => Mode::Inject,
    };
    let Some(strongest) = applied.mode() else { return opted_out(said) };
    // A policy that only warns cannot override an enforced one.
    let decisive = applied.enforced_mode().unwrap_or(strongest);
    let PolicyModeSetting { at, mode: policy_mode, may_override } = decisive;
    match (policy_mode.opts_out(), said) {
        (None, None) => {}
        (None, Some((mode, reason))) if !(applied.injects() || asks()) => {
            return Mode::OptOut(mode, reason, None);
        }
        (None, Some((mode, reason))) => {
            let refusal =
                |setting: PolicyModeSetting| refused(applied.policies[setting.at].policy.name(), reason);
            let warning = (strongest.forbids() && applied.only_warns(strongest.at))
                .then(|| refusal(strongest).to_string());
            if let Some(text) = &warning {
                notes.add(strongest.at, PolicyEffect::Warned, || text.clone());
            }
            if decisive.forbids() && !applied.only_warns(at) {
                let problem = refusal(decisive);
                notes.add(at, PolicyEffect::Refused, || problem.to_string());
                return Mode::Refused(Box::new(problem));
            }
            return Mode::OptOut(mode, reason, warning);
        }
        (Some(_), _) if may_override && pod.annotation(ExactKey::Inject.text()).is_some_and(is_true) => {
            return opted_out(said);
        }
        (Some(policy_mode), said) => {
            notes.add(at, PolicyEffect::Selected, || format!("mutationMode: {}", policy_mode.name()));
            return match said {
                Some((mode, reason)) if mode >= policy_mode => Mode::OptOut(mode, reason, None),
                _ => Mode::OptOut(policy_mode, SkipReason::IgnoredByPolicy, None),
            };
        }
    }
    if strongest.at != at && strongest.mode.opts_out().is_some() {
        let (mode, name) = (strongest.mode.name(), applied.policies[at].policy.name());
        notes.add(strongest.at, PolicyEffect::Warned, || {
            format!("mutationMode: {mode} is not applied: policy {name} enforces another one")
        });
    }
    Mode::Inject
}

fn is_true(value: &str) -> bool {
    value.trim() == "true"
}

impl PolicyMode {
    /// The opt-out of this mode; `None` if pods are injected.
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
        fix: "remove the annotation, or have podsMayOverride of the policy set to true".into(),
    }
}
