//! The enumerated reasons of an answer: the same words in metrics, the log line and the audit annotations.

use scaivault_inject::{
    MalformedPod, Pattern, SkipReason,
    workload::{AdjustmentReason, ValidationReason},
};

use crate::entry::Entry;

/// Why a request was answered as it was. Bounded, so it may be a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The pod gets secrets, brought this way.
    Injected(Pattern),
    /// What was injected before is taken out.
    Detached,
    /// A pod that goes through without an injection.
    Skipped(SkipReason),
    /// A pod that is refused, or a workload with too many changes.
    Denied(Refused),
    /// A workload whose template is brought in step with its mode, or needs not be.
    Adjusted(AdjustmentReason),
    /// A workload whose annotations are checked.
    Validated(ValidationReason),
    /// The request is none that the entry is for.
    Untouched(Untouched),
    /// It cannot be answered yet: the API server shall ask again.
    Deferred(Deferral),
}

impl Reason {
    /// Every reason that an entry gives, for metrics and documentation.
    pub(crate) fn of(entry: Entry) -> Vec<Self> {
        let untouched = Untouched::of(entry).iter().copied().map(Self::Untouched);
        let excluded = [Self::Skipped(SkipReason::ExcludedNamespace)];
        match entry {
            Entry::Mutate => [Pattern::Init, Pattern::Sidecar]
                .map(Self::Injected)
                .into_iter()
                .chain([Self::Detached])
                .chain(SkipReason::ALL.iter().copied().map(Self::Skipped))
                .chain(Refused::ALL.map(Self::Denied))
                .chain(untouched)
                .chain(Deferral::ALL.map(Self::Deferred))
                .collect(),
            Entry::Mode => {
                let adjusted = AdjustmentReason::ALL.iter().copied().map(Self::Adjusted);
                let denied = [Self::Denied(Refused::Problems)];
                adjusted.chain(excluded).chain(denied).chain(untouched).collect()
            }
            Entry::Validate => {
                let validated = ValidationReason::ALL.iter().copied().map(Self::Validated);
                // Of a workload's template no role is needed: it cannot be wrong.
                let deferred = [Deferral::Policies, Deferral::Namespace].map(Self::Deferred);
                validated.chain(excluded).chain(untouched).chain(deferred).collect()
            }
            Entry::Policy => {
                let validated = [
                    ValidationReason::Valid,
                    ValidationReason::ProblemsUnchanged,
                    ValidationReason::Problems,
                ];
                validated.map(Self::Validated).into_iter().chain(untouched).collect()
            }
        }
    }

    /// Every reason of every entry.
    pub(crate) fn all() -> impl Iterator<Item = (Entry, Self)> {
        Entry::ALL
            .into_iter()
            .flat_map(|entry| Self::of(entry).into_iter().map(move |reason| (entry, reason)))
    }

    /// Whether the object does not come to be, now or at all.
    pub(crate) const fn is_no(self) -> bool {
        matches!(self, Self::Denied(_) | Self::Deferred(_) | Self::Validated(ValidationReason::Problems))
    }

    /// The word for the outcome.
    pub(crate) const fn outcome(self) -> &'static str {
        match self {
            Self::Injected(_) => "injected",
            Self::Detached => "detached",
            Self::Skipped(_) => "skipped",
            Self::Denied(_) => "denied",
            Self::Adjusted(reason) => reason.outcome(),
            Self::Validated(reason) => reason.outcome(),
            Self::Untouched(_) => "untouched",
            Self::Deferred(_) => "deferred",
        }
    }

    /// The reason beside the outcome.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Injected(pattern) => pattern.name(),
            Self::Detached => "mutation-mode",
            Self::Skipped(reason) => reason.name(),
            Self::Denied(reason) => reason.name(),
            Self::Adjusted(reason) => reason.name(),
            Self::Validated(reason) => reason.name(),
            Self::Untouched(reason) => reason.name(),
            Self::Deferred(reason) => reason.name(),
        }
    }
}

/// Why a pod is refused. A workload may be for problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The annotations have problems.
    Problems,
    /// The object of a pod's CREATE cannot be read as a pod.
    MalformedPod,
}

impl Refused {
    /// Every one.
    pub(crate) const ALL: [Self; 2] = [Self::Problems, Self::MalformedPod];

    /// Its name in logs and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Problems => "problems",
            Self::MalformedPod => MalformedPod::REASON,
        }
    }
}

/// Why a request is allowed without a look at the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untouched {
    /// The object is no pod.
    NotAPod,
    /// The object is no workload.
    NotAWorkload,
    /// The object is no `InjectionPolicy`.
    NotAPolicy,
    /// The object is no workload of the kind it is said to be. It is let through: its pods are judged when they come.
    MalformedWorkload,
    /// A subresource (`status`, `scale`, `resize`, `ephemeralcontainers`, `binding`).
    Subresource,
    /// A pod's containers and volumes cannot be added to after its creation.
    Update,
    /// The object is deleted.
    Delete,
    /// Somebody connects to the object.
    Connect,
    /// An operation that Kubernetes does not have yet.
    OtherOperation,
}

impl Untouched {
    /// Those of an entry.
    pub(crate) const fn of(entry: Entry) -> &'static [Self] {
        match entry {
            Entry::Mutate => &[
                Self::NotAPod,
                Self::Subresource,
                Self::Update,
                Self::Delete,
                Self::Connect,
                Self::OtherOperation,
            ],
            Entry::Policy => {
                &[Self::NotAPolicy, Self::Subresource, Self::Delete, Self::Connect, Self::OtherOperation]
            }
            Entry::Mode | Entry::Validate => &[
                Self::NotAWorkload,
                Self::MalformedWorkload,
                Self::Subresource,
                Self::Delete,
                Self::Connect,
                Self::OtherOperation,
            ],
        }
    }

    /// Its name in logs and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NotAPod => "not-a-pod",
            Self::NotAWorkload => "not-a-workload",
            Self::NotAPolicy => "not-a-policy",
            Self::MalformedWorkload => "malformed-workload",
            Self::Subresource => "subresource",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Connect => "connect",
            Self::OtherOperation => "other-operation",
        }
    }
}

/// Why a request cannot be answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deferral {
    /// The policies are not in memory yet, so what they give and forbid is not known.
    Policies,
    /// The namespace is not in memory yet, so its annotations are not known.
    Namespace,
    /// The pod's service account is not in memory yet, so its role is not known.
    ServiceAccount,
}

impl Deferral {
    /// Every one.
    pub(crate) const ALL: [Self; 3] = [Self::Policies, Self::Namespace, Self::ServiceAccount];

    /// Its name in logs and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Policies => "unknown-policies",
            Self::Namespace => "unknown-namespace",
            Self::ServiceAccount => "unknown-service-account",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documentation_has_every_reason_and_no_other() {
        let page = include_str!("../../docs/outcomes.md");
        let rows = page.lines().filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let [_, entry, outcome, reason, meaning, _] = cells.as_slice() else { return None };
            assert!(!meaning.is_empty(), "{line}");
            Some((*entry, *outcome, *reason))
        });
        // Behind the table's head and its line.
        let documented: BTreeSet<_> = rows.skip(2).collect();
        let given = Reason::all().map(|(entry, reason)| (entry.name(), reason.outcome(), reason.name()));
        assert_eq!(documented, given.collect());
    }

    #[test]
    fn no_two_reasons_share_their_words() {
        for entry in Entry::ALL {
            let reasons = Reason::of(entry);
            let words: BTreeSet<_> = reasons.iter().map(|reason| (reason.outcome(), reason.name())).collect();
            assert_eq!(words.len(), reasons.len(), "{entry:?}");
        }
    }
}
