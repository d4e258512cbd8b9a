//! The effects of policies on one decision.

use std::sync::Arc;

/// The effects of policies on one decision, for logs, audit annotations and metrics. Empty if no
/// policy selects the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyReport {
    /// The policies that select the pod, in descending precedence.
    pub uses: Vec<PolicyUse>,
    /// The environment of the pod's namespace.
    pub environment: Option<Arc<str>>,
    /// Whether the pod already has an injection of the same plan, because it was reviewed before or
    /// its manifest was injected. The effects were reported then.
    pub is_repeated: bool,
}

impl PolicyReport {
    /// The policies with this effect, in order.
    pub fn with_effect(&self, effect: PolicyEffect) -> impl Iterator<Item = &PolicyUse> {
        self.uses.iter().filter(move |found| found.effect == effect)
    }
}

/// A policy that selects a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyUse {
    /// The policy's name.
    pub name: Arc<str>,
    /// The policy's generation.
    pub generation: i64,
    /// Its strongest effect.
    pub effect: PolicyEffect,
    /// The rejection, the warning or what it would have done, in words. Quotes the pod as problems
    /// do.
    pub message: Option<String>,
}

/// The effect of a policy on a pod, from weak to strong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyEffect {
    /// It selects the pod without any other effect.
    #[default]
    Selected,
    /// It is under `audit` and would have had an effect.
    Audited,
    /// It added secrets to the pod.
    Injected,
    /// It warned.
    Warned,
    /// It rejected the pod.
    Refused,
}

impl PolicyEffect {
    /// Every effect, for metrics and documentation.
    pub const ALL: [Self; 5] = [Self::Selected, Self::Audited, Self::Injected, Self::Warned, Self::Refused];

    /// The name in logs and metrics.
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

/// Maximum length of a message in bytes.
const MESSAGE_BYTES: usize = 1024;

/// Records the effects of the policies in force while a pod is evaluated, by the policies' index.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<Note>);

/// The effect of one policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    pub(super) effect: PolicyEffect,
    pub(super) message: Option<String>,
}

impl Notes {
    /// A record for no policies.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn new(policies: usize) -> Self {
        Self(vec![Note::default(); policies])
    }

    /// Records an effect. The strongest one is kept; if equal, the first.
    pub(super) fn add(&mut self, at: usize, effect: PolicyEffect, message: impl FnOnce() -> String) {
        if let Some(note) = self.0.get_mut(at)
            && (effect > note.effect || effect == note.effect && note.message.is_none())
        {
            let mut message = message();
            if message.len() > MESSAGE_BYTES {
                message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
                message.push('…');
            }
            *note = Note { effect, message: Some(message) };
        }
    }

    pub(super) fn has(&self, effect: PolicyEffect) -> bool {
        self.0.iter().any(|note| note.effect == effect)
    }

    /// Limits all effects to this one.
    pub(super) fn soften(&mut self, most: PolicyEffect) {
        for note in &mut self.0 {
            note.effect = note.effect.min(most);
        }
    }
}

impl IntoIterator for Notes {
    type Item = Note;
    type IntoIter = std::vec::IntoIter<Note>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
