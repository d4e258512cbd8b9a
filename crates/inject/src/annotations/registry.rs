//! The table of annotations. Its order is the order in the documentation.
//!
//! Parsing, defaults, hints, the subcommand `annotations`, `docs/annotations.md`, the fuzz dictionary and the random annotations
//! of the property tests come from this table.

mod rows;

pub use rows::REGISTRY;

use super::{
    draft::Draft,
    key::{ExactKey, Key, NamedKey},
    value::{Reason, ValueKind},
};
use crate::{layer::Setters, problem::Code};

/// One key and all there is to know about it.
#[derive(Debug)]
pub struct AnnotationSpec {
    /// The key without the prefix.
    pub key: Key,
    /// The accepted values, for error messages.
    pub value: ValueKind,
    /// What holds where nobody says anything, as a reader sees it.
    pub default: DefaultValue,
    /// Who may set it.
    pub setters: Setters,
    /// One or two sentences, Markdown.
    pub doc: &'static str,
    /// Values that are accepted. Documentation shows the first; the property tests and the fuzzers draw from all of them.
    pub examples: &'static [&'static str],
    /// Reads one value into its place in the draft and looks at nothing else.
    pub(crate) set: fn(&mut Draft, &Entry<'_>) -> Result<(), Rejection>,
}

/// The keys that belong together.
#[derive(Debug)]
pub struct Chapter {
    /// What they are about.
    pub group: Group,
    /// The keys, in the order of the documentation.
    pub specs: &'static [AnnotationSpec],
}

/// Chapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// What is injected.
    Secrets,
    /// How a file looks.
    Files,
    /// Whether anything is injected.
    Mode,
    /// How and to whom it is brought.
    Delivery,
    /// How it stays fresh.
    Refresh,
    /// Who the agent is for ScaiVault.
    Identity,
    /// What happens when ScaiVault does not answer.
    Failure,
    /// The agent's container.
    Container,
    /// What the injector writes.
    Written,
}

impl AnnotationSpec {
    /// The value that documentation shows.
    pub fn example(&self) -> &'static str {
        self.examples.first().copied().unwrap_or_default()
    }
}

impl Group {
    /// The chapter's title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Secrets => "Secrets",
            Self::Files => "Files",
            Self::Mode => "Opting in and out",
            Self::Delivery => "Delivery",
            Self::Refresh => "Refresh and reload",
            Self::Identity => "ScaiVault and identity",
            Self::Failure => "Failure",
            Self::Container => "The agent's container",
            Self::Written => "Written by the injector",
        }
    }
}

/// What holds where nobody says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// This value, as an annotation would write it.
    Value(&'static str),
    /// Depends; said in words.
    Words(&'static str),
    /// Nothing.
    None,
}

/// One annotation as it is handed to its row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// What follows a [`Key::Named`].
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
}

/// Why a row does not take a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// One error; what is allowed is that of the key's [`ValueKind`].
    Value(Reason),
    /// The errors of a list, each with what is allowed there.
    Entries(Vec<EntryError>),
    /// The name in the key, whatever the value is.
    Name(NameError),
}

/// What is wrong with the name that follows a [`Key::Named`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameError {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// The accepted values, for error messages.
    pub(crate) allowed: Option<&'static str>,
    pub(crate) cure: String,
}

/// What is wrong with one entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryError {
    pub(crate) message: String,
    pub(crate) allowed: Option<String>,
}

impl From<NameError> for Rejection {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self::Value(reason)
    }
}

impl From<&'static str> for Rejection {
    fn from(reason: &'static str) -> Self {
        Self::Value(reason.into())
    }
}

/// Every row, in the order of the documentation.
pub fn specs() -> impl Iterator<Item = &'static AnnotationSpec> {
    REGISTRY.iter().flat_map(|chapter| chapter.specs)
}

/// The row of a key.
pub(crate) fn spec_for(key: ExactKey) -> &'static AnnotationSpec {
    let found = specs().find(|spec| spec.key == Key::Exact(key));
    found.expect("each key has a row, which a test checks")
}

/// The row of a key as it is written, and the name that follows it.
pub(crate) fn spec_of(key: &str) -> Option<(&'static AnnotationSpec, &str)> {
    specs().find_map(|spec| Some((spec, spec.key.name_in(key)?)))
}

/// Whether a key asks for something to be injected.
pub(crate) fn asks_for_secrets(key: &str) -> bool {
    let secrets = REGISTRY.iter().filter(|chapter| chapter.group == Group::Secrets);
    secrets.flat_map(|chapter| chapter.specs).any(|spec| spec.key.name_in(key).is_some())
}

#[cfg(test)]
mod tests;
