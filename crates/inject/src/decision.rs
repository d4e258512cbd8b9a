//! What the core says about a pod.

use std::fmt;

use crate::{patch::Patch, pattern::Pattern, problem::Problems};

/// The answer for one pod. Total: whatever the pod looks like, one of these comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The pod goes through without an injection.
    Skip(Skip),
    /// The pod gets what its annotations ask for.
    Inject(Box<Injection>),
    /// What was injected before is taken out.
    Detach(Detachment),
    /// The annotations cannot be honoured; the pod is refused with all that is wrong.
    Deny(Denial),
}

impl Decision {
    /// What to change, if anything.
    pub fn patch(&self) -> Option<&Patch> {
        match self {
            Self::Skip(skip) => skip.patch.as_ref(),
            Self::Inject(injection) => Some(&injection.patch),
            Self::Detach(detachment) => Some(&detachment.patch),
            Self::Deny(_) => None,
        }
    }

    /// What the person who applies the pod should hear though it is not a mistake.
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Skip(Skip { warnings, .. })
            | Self::Detach(Detachment { warnings, .. })
            | Self::Deny(Denial { warnings, .. }) => warnings,
            Self::Inject(injection) => &injection.warnings,
        }
    }

    /// What is said besides, to be added to.
    pub fn warnings_mut(&mut self) -> &mut Vec<String> {
        match self {
            Self::Skip(Skip { warnings, .. })
            | Self::Detach(Detachment { warnings, .. })
            | Self::Deny(Denial { warnings, .. }) => warnings,
            Self::Inject(injection) => &mut injection.warnings,
        }
    }

    /// Whether the pod stays as it is because no annotation asks for a secret.
    pub fn asks_for_nothing(&self) -> bool {
        matches!(self, Self::Skip(skip) if skip.reason == SkipReason::NotAnnotated)
    }

    /// Whether the pod stays as it is, and carries no injection that annotations ask for.
    pub fn leaves_alone(&self) -> bool {
        matches!(self, Self::Skip(skip) if !matches!(skip.reason, SkipReason::AlreadyInjected | SkipReason::Problems))
    }

    /// The word for the outcome in logs, metrics and audit annotations.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Skip(_) => "skipped",
            Self::Inject(_) => "injected",
            Self::Detach(_) => "detached",
            Self::Deny(_) => "denied",
        }
    }

    /// The enumerated reason beside the outcome.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Skip(skip) => skip.reason.name(),
            Self::Inject(injection) => injection.pattern.name(),
            Self::Detach(_) => "mutation-mode",
            Self::Deny(_) => "problems",
        }
    }
}

/// A pod that goes through without an injection.
#[derive(Clone, Debug, PartialEq)]
pub struct Skip {
    /// Why.
    pub reason: SkipReason,
    /// Only where a pod with problems is let through: it is marked as skipped.
    pub patch: Option<Patch>,
    /// Only where a pod with problems is let through: the problems.
    pub problems: Problems,
    /// For the person who applies the pod.
    pub warnings: Vec<String>,
}

impl From<SkipReason> for Skip {
    fn from(reason: SkipReason) -> Self {
        Self { reason, patch: None, problems: Problems::new(), warnings: Vec::new() }
    }
}

/// Why a pod goes through without an injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// No annotation asks for anything.
    NotAnnotated,
    /// `inject: "false"`.
    OptedOut,
    /// `mutation-mode: ignore` on the pod.
    IgnoredByPod,
    /// `mutation-mode: ignore` on the workload.
    IgnoredByWorkload,
    /// `mutation-mode: ignore` on the namespace.
    IgnoredByNamespace,
    /// A policy's `mutationMode` is `ignore`.
    IgnoredByPolicy,
    /// All that the annotations ask for is there.
    AlreadyInjected,
    /// Told to detach, and there is nothing of ours.
    NothingToDetach,
    /// Told to detach, and without a receipt nothing says which parts are ours.
    NoReceipt,
    /// The namespace is excluded by the injector's configuration.
    ExcludedNamespace,
    /// A static pod's image in the API: the kubelet runs what stands on its disk, not this object.
    MirrorPod,
    /// The annotations have problems and the injector is set to warn.
    Problems,
}

impl SkipReason {
    /// Every reason, for metrics and documentation.
    pub const ALL: &'static [Self] = &[
        Self::NotAnnotated,
        Self::OptedOut,
        Self::IgnoredByPod,
        Self::IgnoredByWorkload,
        Self::IgnoredByNamespace,
        Self::IgnoredByPolicy,
        Self::AlreadyInjected,
        Self::NothingToDetach,
        Self::NoReceipt,
        Self::ExcludedNamespace,
        Self::MirrorPod,
        Self::Problems,
    ];

    /// The reason's name in logs, metrics and the annotation `status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAnnotated => "not-annotated",
            Self::OptedOut => "opted-out",
            Self::IgnoredByPod => "ignored-by-pod",
            Self::IgnoredByWorkload => "ignored-by-workload",
            Self::IgnoredByNamespace => "ignored-by-namespace",
            Self::IgnoredByPolicy => "ignored-by-policy",
            Self::AlreadyInjected => "already-injected",
            Self::NothingToDetach => "nothing-to-detach",
            Self::NoReceipt => "no-receipt",
            Self::ExcludedNamespace => "excluded-namespace",
            Self::MirrorPod => "mirror-pod",
            Self::Problems => "problems",
        }
    }

    /// One sentence for a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotAnnotated => "no annotation asks for a secret",
            Self::OptedOut => "the annotation inject is \"false\"",
            Self::IgnoredByPod => "the pod's mutation-mode is ignore",
            Self::IgnoredByWorkload => "the workload's mutation-mode is ignore",
            Self::IgnoredByNamespace => "the namespace's mutation-mode is ignore",
            Self::IgnoredByPolicy => "a policy's mutationMode is ignore",
            Self::AlreadyInjected => "everything the annotations ask for is already there",
            Self::NothingToDetach => "told to detach, and nothing of ours is there",
            Self::NoReceipt => "told to detach, and without a receipt nothing says which parts are ours",
            Self::ExcludedNamespace => "the injector's configuration excludes the namespace",
            Self::MirrorPod => "a mirror pod is run from a file on the node, not from this object",
            Self::Problems => "the annotations have problems, and the injector is set to warn",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A pod that gets secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    /// What to add.
    pub patch: Patch,
    /// How the secrets are brought.
    pub pattern: Pattern,
    /// How many secrets, dynamic credentials and variables.
    pub secrets: usize,
    /// The containers that were already injected differently are replaced in the same patch.
    pub replaced: bool,
    /// For the person who applies the pod.
    pub warnings: Vec<String>,
}

/// A pod from which all that was injected is taken out.
#[derive(Clone, Debug, PartialEq)]
pub struct Detachment {
    /// What to remove.
    pub patch: Patch,
    /// For the person who applies the pod.
    pub warnings: Vec<String>,
}

/// A pod that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// All that is wrong; never empty.
    pub problems: Problems,
    /// What is worth a word besides.
    pub warnings: Vec<String>,
}
