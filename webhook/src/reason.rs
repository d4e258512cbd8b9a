//! The closed set of reasons of an answer, with the same names in metrics, log lines and audit
//! annotations.

use scaivault_inject::{
    MalformedPod, Pattern, SkipReason,
    workload::{AdjustmentReason, ValidationReason},
};

use crate::endpoint::Endpoint;

/// The reason of an answer. A closed set, so it can be a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The pod gets secrets in this pattern.
    Injected(Pattern),
    /// An earlier injection is removed.
    Detached,
    /// A pod that is admitted without an injection.
    Skipped(SkipReason),
    /// A pod that is rejected, or a workload with too many changes.
    Denied(DenialReason),
    /// A workload whose template was updated to its mode, or already follows it.
    Adjusted(AdjustmentReason),
    /// A workload whose annotations were validated.
    Validated(ValidationReason),
    /// The request is not one that the endpoint handles.
    Ignored(IgnoreReason),
    /// It cannot be answered yet: the API server should retry.
    Deferred(Deferral),
}

impl Reason {
    /// Every reason that an endpoint can give, for metrics and documentation.
    pub(crate) fn all_for(entry: Endpoint) -> Vec<Self> {
        let ignored = IgnoreReason::all_for(entry).iter().copied().map(Self::Ignored);
        let excluded = [Self::Skipped(SkipReason::ExcludedNamespace)];
        match entry {
            Endpoint::Mutate => [Pattern::Init, Pattern::Sidecar]
                .map(Self::Injected)
                .into_iter()
                .chain([Self::Detached])
                .chain(SkipReason::ALL.iter().copied().map(Self::Skipped))
                .chain(DenialReason::ALL.map(Self::Denied))
                .chain(ignored)
                .chain(Deferral::ALL.map(Self::Deferred))
                .collect(),
            Endpoint::Mode => {
                let adjusted = AdjustmentReason::ALL.iter().copied().map(Self::Adjusted);
                let denied = [Self::Denied(DenialReason::Problems)];
                adjusted.chain(excluded).chain(denied).chain(ignored).collect()
            }
            Endpoint::Validate => {
                let validated = ValidationReason::ALL.iter().copied().map(Self::Validated);
                // Workload templates are checked without the service account's role, so that lookup
                // cannot be missing.
                let deferred = [Deferral::Policies, Deferral::Namespace].map(Self::Deferred);
                validated.chain(excluded).chain(ignored).chain(deferred).collect()
            }
            Endpoint::Policy => {
                let validated = [
                    ValidationReason::Valid,
                    ValidationReason::ProblemsUnchanged,
                    ValidationReason::Problems,
                ];
                validated.map(Self::Validated).into_iter().chain(ignored).collect()
            }
        }
    }

    /// Every reason of every endpoint.
    pub(crate) fn all() -> impl Iterator<Item = (Endpoint, Self)> {
        Endpoint::ALL
            .into_iter()
            .flat_map(|entry| Self::all_for(entry).into_iter().map(move |reason| (entry, reason)))
    }

    /// Whether the object is rejected, permanently or for now.
    pub(crate) const fn is_denied(self) -> bool {
        matches!(self, Self::Denied(_) | Self::Deferred(_) | Self::Validated(ValidationReason::Problems))
    }

    /// The name of the outcome.
    pub(crate) const fn outcome(self) -> &'static str {
        match self {
            Self::Injected(_) => "injected",
            Self::Detached => "detached",
            Self::Skipped(_) => "skipped",
            Self::Denied(_) => "denied",
            Self::Adjusted(reason) => reason.outcome(),
            Self::Validated(reason) => reason.outcome(),
            Self::Ignored(_) => "ignored",
            Self::Deferred(_) => "deferred",
        }
    }

    /// The name of the reason, which is reported with the outcome.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Injected(pattern) => pattern.name(),
            Self::Detached => "mutation-mode",
            Self::Skipped(reason) => reason.name(),
            Self::Denied(reason) => reason.name(),
            Self::Adjusted(reason) => reason.name(),
            Self::Validated(reason) => reason.name(),
            Self::Ignored(reason) => reason.name(),
            Self::Deferred(reason) => reason.name(),
        }
    }
}

/// Why a pod is rejected. `Problems` also applies to workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DenialReason {
    /// The annotations have problems.
    Problems,
    /// The object of a pod's CREATE request cannot be read as a pod.
    MalformedPod,
}

impl DenialReason {
    /// Every value.
    pub(crate) const ALL: [Self; 2] = [Self::Problems, Self::MalformedPod];

    /// The name in logs and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Problems => "problems",
            Self::MalformedPod => MalformedPod::REASON,
        }
    }
}

/// Why a request is allowed without reading the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IgnoreReason {
    /// The object is not a pod.
    NotAPod,
    /// The object is not a workload.
    NotAWorkload,
    /// The object is not an `InjectionPolicy`.
    NotAPolicy,
    /// The object does not match its kind. It is allowed: its pods are checked when they are
    /// created.
    MalformedWorkload,
    /// A subresource (`status`, `scale`, `resize`, `ephemeralcontainers`, `binding`).
    Subresource,
    /// Containers and volumes cannot be added to an existing pod.
    Update,
    Delete,
    /// A client connects to the object.
    Connect,
    /// An unknown operation, of a later Kubernetes release.
    OtherOperation,
}

impl IgnoreReason {
    /// The values that an endpoint can give.
    pub(crate) const fn all_for(entry: Endpoint) -> &'static [Self] {
        match entry {
            Endpoint::Mutate => &[
                Self::NotAPod,
                Self::Subresource,
                Self::Update,
                Self::Delete,
                Self::Connect,
                Self::OtherOperation,
            ],
            Endpoint::Policy => {
                &[Self::NotAPolicy, Self::Subresource, Self::Delete, Self::Connect, Self::OtherOperation]
            }
            Endpoint::Mode | Endpoint::Validate => &[
                Self::NotAWorkload,
                Self::MalformedWorkload,
                Self::Subresource,
                Self::Delete,
                Self::Connect,
                Self::OtherOperation,
            ],
        }
    }

    /// The name in logs and metrics.
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
    /// The policies are not in the cache yet, so their effects are unknown.
    Policies,
    /// The namespace is not in the cache yet, so its annotations are unknown.
    Namespace,
    /// The pod's service account is not in the cache yet, so its role is unknown.
    ServiceAccount,
}

impl Deferral {
    /// Every value.
    pub(crate) const ALL: [Self; 3] = [Self::Policies, Self::Namespace, Self::ServiceAccount];

    /// The name in logs and metrics.
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
        // Skips the header and the separator of the table.
        let documented: BTreeSet<_> = rows.skip(2).collect();
        let given = Reason::all().map(|(entry, reason)| (entry.name(), reason.outcome(), reason.name()));
        assert_eq!(documented, given.collect());
    }

    #[test]
    fn no_two_reasons_share_their_words() {
        for entry in Endpoint::ALL {
            let reasons = Reason::all_for(entry);
            let words: BTreeSet<_> = reasons.iter().map(|reason| (reason.outcome(), reason.name())).collect();
            assert_eq!(words.len(), reasons.len(), "{entry:?}");
        }
    }
}
