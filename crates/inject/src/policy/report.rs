//! What policies had to do with one decision.

use std::sync::Arc;

/// What policies had to do with one decision: for logs, audit annotations and counters. Empty where no policy selects the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyReport {
    /// The policies that select the pod, the strongest first.
    pub uses: Vec<PolicyUse>,
    /// The environment of the pod's namespace.
    pub environment: Option<Arc<str>>,
}

impl PolicyReport {
    /// The policies with an effect, in order.
    pub fn with_effect(&self, effect: PolicyEffect) -> impl Iterator<Item = &PolicyUse> {
        self.uses.iter().filter(move |found| found.effect == effect)
    }
}

/// One policy that selects a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyUse {
    /// The policy's name.
    pub name: Arc<str>,
    /// The policy's generation.
    pub generation: i64,
    /// What it did.
    pub effect: PolicyEffect,
    /// What it refused, warned about or would have done, in words. It quotes the pod as problems do.
    pub message: Option<String>,
}

/// What a policy did to a pod, from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyEffect {
    /// It selects the pod, and neither gave it anything nor objected.
    Selected,
    /// Under `audit`: what it would have done.
    Audited,
    /// It gave the pod secrets.
    Injected,
    /// It warned.
    Warned,
    /// It refused the pod.
    Refused,
}

impl PolicyEffect {
    /// Every effect, for metrics and documentation.
    pub const ALL: [Self; 5] = [Self::Selected, Self::Audited, Self::Injected, Self::Warned, Self::Refused];

    /// The effect's word in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Selected => "selected",
            Self::Audited => "audited",
            Self::Injected => "injected",
            Self::Warned => "warned",
            Self::Refused => "refused",
        }
    }
}
