//! The enumerated reasons of an answer: the same words in metrics, the log line and the audit annotations.

use scaivault_inject::{MalformedPod, Pattern, SkipReason};

/// Why a request was answered as it was. Bounded, so it may be a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The pod gets secrets, brought this way.
    Injected(Pattern),
    /// What was injected before is taken out.
    Detached,
    /// A pod that goes through without an injection.
    Skipped(SkipReason),
    /// The request is refused.
    Denied(Refused),
    /// The request is none that pods are changed by.
    Untouched(Untouched),
    /// It cannot be answered yet: the API server shall ask again.
    Deferred(Deferral),
}

impl Reason {
    /// Every reason, for metrics and documentation.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let injected = [Pattern::Init, Pattern::Sidecar].map(Self::Injected);
        let skipped = SkipReason::ALL.iter().copied().map(Self::Skipped);
        let denied = Refused::ALL.map(Self::Denied);
        let untouched = Untouched::ALL.map(Self::Untouched);
        let deferred = Deferral::ALL.map(Self::Deferred);
        injected
            .into_iter()
            .chain([Self::Detached])
            .chain(skipped)
            .chain(denied)
            .chain(untouched)
            .chain(deferred)
    }

    /// The word for the outcome.
    pub(crate) const fn outcome(self) -> &'static str {
        match self {
            Self::Injected(_) => "injected",
            Self::Detached => "detached",
            Self::Skipped(_) => "skipped",
            Self::Denied(_) => "denied",
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
            Self::Untouched(reason) => reason.name(),
            Self::Deferred(reason) => reason.name(),
        }
    }
}

/// Why a request is refused.
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
    /// A subresource of a pod (`status`, `resize`, `ephemeralcontainers`, `binding`).
    Subresource,
    /// A pod's containers and volumes cannot be added to after its creation.
    Update,
    /// A pod is deleted.
    Delete,
    /// Somebody connects to a pod.
    Connect,
    /// An operation that Kubernetes does not have yet.
    OtherOperation,
}

impl Untouched {
    /// Every one.
    pub(crate) const ALL: [Self; 6] =
        [Self::NotAPod, Self::Subresource, Self::Update, Self::Delete, Self::Connect, Self::OtherOperation];

    /// Its name in logs and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NotAPod => "not-a-pod",
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
    /// The namespace is not in memory yet, so its annotations are not known.
    UnknownNamespace,
    /// The pod's service account is not in memory yet, so its role is not known.
    UnknownServiceAccount,
}

impl Deferral {
    /// Every one.
    pub(crate) const ALL: [Self; 2] = [Self::UnknownNamespace, Self::UnknownServiceAccount];

    /// Its name in logs and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::UnknownNamespace => "unknown-namespace",
            Self::UnknownServiceAccount => "unknown-service-account",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_reasons_share_their_words() {
        let words: BTreeSet<_> = Reason::all().map(|reason| (reason.outcome(), reason.name())).collect();
        assert_eq!(words.len(), Reason::all().count());
    }
}
