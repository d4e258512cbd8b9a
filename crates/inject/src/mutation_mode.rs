//! Opt-out. If several layers set a mode, the strictest wins, so that a tenant cannot override the
//! platform.

use std::{borrow::Cow, str::FromStr};

use crate::{Context, SkipReason, annotations::ExactKey, pod::PodView};

/// The annotation that opts out, without its prefix.
pub(crate) const MUTATION_MODE: &str = ExactKey::MutationMode.text();
/// The annotation that carries a workload's mode to its pods, without its prefix.
pub(crate) const WORKLOAD_MUTATION_MODE: &str = ExactKey::WorkloadMutationMode.text();

/// The values of `mutation-mode`, from lenient to strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MutationMode {
    /// Do not inject.
    Ignore,
    /// Do not inject, and remove an existing injection.
    IgnoreAndDetach,
}

impl MutationMode {
    /// The names, from lenient to strict.
    pub const ALL: &'static [&'static str] = &[Self::Ignore.name(), Self::IgnoreAndDetach.name()];

    /// The name of the mode.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::IgnoreAndDetach => "ignore-and-detach",
        }
    }
}

impl FromStr for MutationMode {
    type Err = Cow<'static, str>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "ignore" => Ok(Self::Ignore),
            "ignore-and-detach" => Ok(Self::IgnoreAndDetach),
            _ => Err("not a mutation mode".into()),
        }
    }
}

/// The strictest mode and its reason. If several are equally strict, the pod's own is preferred,
/// then the workload's. An invalid mode does not opt out; the registry reports it as a problem.
pub(crate) fn strictest(pod: &PodView<'_>, context: &Context<'_>) -> Option<(MutationMode, SkipReason)> {
    let opted_out = pod.annotation(ExactKey::Inject.text()).is_some_and(|value| value.trim() == "false");
    let read = |value: Option<&str>| value.and_then(|value| value.parse().ok());
    let said = [
        (read(pod.annotation(MUTATION_MODE)), SkipReason::IgnoredByPod),
        (opted_out.then_some(MutationMode::Ignore), SkipReason::OptedOut),
        (read(pod.annotation(WORKLOAD_MUTATION_MODE)), SkipReason::IgnoredByWorkload),
        (context.workload_mutation_mode, SkipReason::IgnoredByWorkload),
        (read(context.namespace.annotation(MUTATION_MODE)), SkipReason::IgnoredByNamespace),
    ];
    // `max_by_key` returns the last of equal elements, so the order is reversed.
    said.into_iter().filter_map(|(mode, reason)| Some((mode?, reason))).rev().max_by_key(|(mode, _)| *mode)
}
