//! Opt-out: where several places say something, the strictest wins, so that a tenant cannot undo a platform's stop.

use crate::{Context, SkipReason, pod::PodView};

/// What `mutation-mode` may say, from lax to strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MutationMode {
    /// Leave the pod as it is.
    Ignore,
    /// Take out what was injected.
    IgnoreAndDetach,
}

impl MutationMode {
    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "ignore" => Some(Self::Ignore),
            "ignore-and-detach" => Some(Self::IgnoreAndDetach),
            _ => None,
        }
    }
}

/// The strictest mode and the reason it gives; among equals the pod's own is named first, then the workload's.
/// A value that is no mode is not an opt-out: the registry makes a problem of it.
pub(crate) fn strictest(pod: &PodView<'_>, context: &Context<'_>) -> Option<(MutationMode, SkipReason)> {
    let opted_out = pod.annotation("inject").is_some_and(|value| value.trim() == "false");
    let said = [
        (pod.annotation("mutation-mode").and_then(MutationMode::parse), SkipReason::IgnoredByPod),
        (opted_out.then_some(MutationMode::Ignore), SkipReason::OptedOut),
        (
            pod.annotation("workload-mutation-mode").and_then(MutationMode::parse),
            SkipReason::IgnoredByWorkload,
        ),
        (context.workload_mutation_mode.and_then(MutationMode::parse), SkipReason::IgnoredByWorkload),
        (
            context.namespace.annotation("mutation-mode").and_then(MutationMode::parse),
            SkipReason::IgnoredByNamespace,
        ),
    ];
    // `max_by_key` would take the last of equals.
    said.into_iter().filter_map(|(mode, reason)| Some((mode?, reason))).rev().max_by_key(|(mode, _)| *mode)
}
