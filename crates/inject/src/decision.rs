//! The result of the core for one pod.

use std::fmt;

use crate::{patch::Patch, pattern::Pattern, problem::Problems};

/// The decision for one pod. Every pod gets one of these.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The pod is admitted without an injection.
    Skip(Skip),
    /// Secrets are injected into the pod.
    Inject(Box<Injection>),
    /// An earlier injection is removed.
    Detach(Detachment),
    /// The pod is rejected, with all problems.
    Deny(Denial),
}

impl Decision {
    /// The patch, if anything changes.
    pub fn patch(&self) -> Option<&Patch> {
        match self {
            Self::Skip(skip) => skip.patch.as_ref(),
            Self::Inject(injection) => Some(&injection.patch),
            Self::Detach(detachment) => Some(&detachment.patch),
            Self::Deny(_) => None,
        }
    }

    /// Warnings for the user who applies the pod. They are not problems.
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Skip(Skip { warnings, .. })
            | Self::Detach(Detachment { warnings, .. })
            | Self::Deny(Denial { warnings, .. }) => warnings,
            Self::Inject(injection) => &injection.warnings,
        }
    }

    /// Mutable access to the warnings.
    pub fn warnings_mut(&mut self) -> &mut Vec<String> {
        match self {
            Self::Skip(Skip { warnings, .. })
            | Self::Detach(Detachment { warnings, .. })
            | Self::Deny(Denial { warnings, .. }) => warnings,
            Self::Inject(injection) => &mut injection.warnings,
        }
    }

    /// Whether the pod stays unchanged because no annotation asks for a secret.
    pub fn asks_for_nothing(&self) -> bool {
        matches!(self, Self::Skip(skip) if skip.reason == SkipReason::NotAnnotated)
    }

    /// Whether the pod stays unchanged and has no current injection.
    pub fn leaves_alone(&self) -> bool {
        matches!(self, Self::Skip(skip) if !matches!(skip.reason, SkipReason::AlreadyInjected | SkipReason::Problems))
    }

    /// The outcome's name in logs, metrics and audit annotations.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Skip(_) => "skipped",
            Self::Inject(_) => "injected",
            Self::Detach(_) => "detached",
            Self::Deny(_) => "denied",
        }
    }

    /// The reason's name in logs, metrics and audit annotations.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Skip(skip) => skip.reason.name(),
            Self::Inject(injection) => injection.pattern.name(),
            Self::Detach(_) => "mutation-mode",
            Self::Deny(_) => "problems",
        }
    }
}

/// A pod that is admitted without an injection.
#[derive(Clone, Debug, PartialEq)]
pub struct Skip {
    /// The reason.
    pub reason: SkipReason,
    /// Set only for a pod that is admitted with problems: it is annotated as skipped.
    pub patch: Option<Patch>,
    /// Non-empty only for a pod that is admitted with problems.
    pub problems: Problems,
    /// Warnings for the user who applies the pod.
    pub warnings: Vec<String>,
}

impl From<SkipReason> for Skip {
    fn from(reason: SkipReason) -> Self {
        Self { reason, patch: None, problems: Problems::new(), warnings: Vec::new() }
    }
}

/// Why a pod is admitted without an injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// No annotation asks for a secret.
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
    /// The pod already has everything that its annotations ask for.
    AlreadyInjected,
    /// Detaching is requested, and the pod has no injection.
    NothingToDetach,
    /// Detaching is requested, and without a receipt the injected parts cannot be identified.
    NoReceipt,
    /// The namespace is one of Kubernetes' own, or is excluded by the injector's configuration.
    ExcludedNamespace,
    /// A mirror pod: the kubelet runs the static manifest on its disk, not this object.
    MirrorPod,
    /// The pod has problems, and the injector is configured to warn.
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

    /// The name in logs, metrics and the annotation `status`.
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

    /// The reason as one sentence for users.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotAnnotated => "no annotation asks for a secret",
            Self::OptedOut => "the annotation inject is \"false\"",
            Self::IgnoredByPod => "the pod's mutation-mode is ignore",
            Self::IgnoredByWorkload => "the workload's mutation-mode is ignore",
            Self::IgnoredByNamespace => "the namespace's mutation-mode is ignore",
            Self::IgnoredByPolicy => "a policy's mutationMode is ignore",
            Self::AlreadyInjected => "everything the annotations ask for is already there",
            Self::NothingToDetach => "mutation-mode is ignore-and-detach, and nothing is injected",
            Self::NoReceipt => {
                "mutation-mode is ignore-and-detach, but without a receipt the injected parts \
                 cannot be identified"
            }
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
    /// The patch.
    pub patch: Patch,
    /// The injection pattern.
    pub pattern: Pattern,
    /// Number of secrets, dynamic credentials and variables.
    pub secrets: usize,
    /// Whether the patch replaces an earlier injection that differs.
    pub replaced: bool,
    /// Warnings for the user who applies the pod.
    pub warnings: Vec<String>,
}

/// A pod from which an injection is removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Detachment {
    /// The patch.
    pub patch: Patch,
    /// Warnings for the user who applies the pod.
    pub warnings: Vec<String>,
}

/// A pod that is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The problems; never empty.
    pub problems: Problems,
    /// Warnings besides the problems.
    pub warnings: Vec<String>,
}
