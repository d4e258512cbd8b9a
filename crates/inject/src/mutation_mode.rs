//! Opt-out: where several places say something, the strictest wins, so that a tenant cannot undo a platform's stop.

use std::{borrow::Cow, str::FromStr};

use crate::{Context, SkipReason, annotations::ExactKey, pod::PodView};

/// The annotation that opts out, without its prefix.
pub(crate) const MUTATION_MODE: &str = ExactKey::MutationMode.text();
/// The annotation that carries a workload's mode to its pods, without its prefix.
pub(crate) const WORKLOAD_MUTATION_MODE: &str = ExactKey::WorkloadMutationMode.text();

/// What `mutation-mode` may say, from lax to strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MutationMode {
    /// Leave the pod as it is.
    Ignore,
    /// Take out what was injected.
    IgnoreAndDetach,
}

impl MutationMode {
    /// The words, from lax to strict.
    pub const ALL: &'static [&'static str] = &[Self::Ignore.name(), Self::IgnoreAndDetach.name()];

    /// The mode's word.
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

/// The strictest mode and the reason it gives; among equals the pod's own is named first, then the workload's.
/// An annotation that is no mode is not an opt-out: the registry makes a problem of it.
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
    // `max_by_key` would take the last of equals.
    said.into_iter().filter_map(|(mode, reason)| Some((mode?, reason))).rev().max_by_key(|(mode, _)| *mode)
}
