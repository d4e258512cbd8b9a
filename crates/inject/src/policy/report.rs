//! What policies had to do with one decision.

use std::sync::Arc;

/// What policies had to do with one decision: for logs, audit annotations and counters. Empty where no policy selects the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyReport {
    /// The policies that select the pod, the strongest first.
    pub uses: Vec<PolicyUse>,
    /// The environment of the pod's namespace.
    pub environment: Option<Arc<str>>,
    /// The pod carries an injection by the same plan: this is not its first review, or its manifest was injected before. What
    /// policies did to it was reported then.
    pub is_repeated: bool,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyEffect {
    /// It selects the pod, and neither gave it anything nor objected.
    #[default]
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

/// The most bytes of one message.
const MESSAGE_BYTES: usize = 1024;

/// What is noted of the policies that are in force for a pod, while it is decided on, by their place.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<Note>);

/// What one policy did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    pub(super) effect: PolicyEffect,
    pub(super) message: Option<String>,
}

impl Notes {
    /// Of no policy.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn new(policies: usize) -> Self {
        Self(vec![Note::default(); policies])
    }

    /// Notes an effect; of several the strongest stays, of equal ones the first.
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

    /// Lets no effect be stronger than this one.
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
