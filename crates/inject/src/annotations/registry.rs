//! The table of annotations, in the order of the documentation.
//!
//! Parsing, defaults, suggestions, the subcommand `annotations`, `docs/annotations.md`, the fuzz
//! dictionary and the random annotations of the property tests are derived from this table.

mod rows;

pub use rows::REGISTRY;

use super::{
    draft::Draft,
    key::{ExactKey, Key, NamedKey},
    value::{Reason, ValueKind},
};
use crate::{layer::Setters, problem::Code};

/// An annotation key and everything that is derived from it.
#[derive(Debug)]
pub struct AnnotationSpec {
    /// The key without the prefix.
    pub key: Key,
    /// The kind of its values.
    pub value: ValueKind,
    /// The default, as it is documented.
    pub default: DefaultValue,
    /// The layers that may set it.
    pub setters: Setters,
    /// One or two sentences in Markdown.
    pub doc: &'static str,
    /// Accepted values. Documentation shows the first; the property tests and the fuzzers use all
    /// of them.
    pub examples: &'static [&'static str],
    /// Parses a value and stores it in the draft, without looking at other keys.
    pub(crate) set: fn(&mut Draft, &Entry<'_>) -> Result<(), Rejection>,
}

/// Keys that belong together.
#[derive(Debug)]
pub struct Section {
    /// Their subject.
    pub group: Group,
    /// The keys, in the order of the documentation.
    pub specs: &'static [AnnotationSpec],
}

/// The subjects of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The secrets that are injected.
    Secrets,
    /// Options of a file.
    Files,
    /// Whether a pod is injected at all.
    Mode,
    /// How and to which containers the secrets are delivered.
    Delivery,
    /// How the secrets are kept up to date.
    Refresh,
    /// Whether the workload is restarted.
    Restart,
    /// The agent's identity at ScaiVault.
    Identity,
    /// The behaviour if ScaiVault is unavailable.
    Failure,
    /// The agent's container.
    Container,
    /// Keys that the injector writes.
    Written,
}

impl AnnotationSpec {
    /// The example in the documentation.
    pub fn example(&self) -> &'static str {
        self.examples.first().copied().unwrap_or_default()
    }
}

impl Group {
    /// The title of the section.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Secrets => "Secrets",
            Self::Files => "Files",
            Self::Mode => "Opting in and out",
            Self::Delivery => "Delivery",
            Self::Refresh => "Refresh and reload",
            Self::Restart => "Restarts",
            Self::Identity => "ScaiVault and identity",
            Self::Failure => "Failure",
            Self::Container => "The agent's container",
            Self::Written => "Written by the injector",
        }
    }
}

/// The default of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// A fixed value, in the form of an annotation.
    Value(&'static str),
    /// A description, if it depends on other settings.
    Words(&'static str),
    /// No default.
    None,
}

/// An annotation as it is passed to its row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// The name after a [`Key::Named`]; empty for other keys.
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
}

/// Why a row does not accept an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// One error. The accepted values are those of the key's [`ValueKind`].
    Value(Reason),
    /// The errors of a list, each with its accepted values.
    Entries(Vec<EntryError>),
    /// The name in the key is invalid, whatever the value is.
    Name(NameError),
}

/// The error in a name after a [`Key::Named`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameError {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// The accepted names, if they can be described.
    pub(crate) allowed: Option<&'static str>,
    pub(crate) fix: String,
}

/// The error in one entry of a list.
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

/// All rows, in the order of the documentation.
pub fn specs() -> impl Iterator<Item = &'static AnnotationSpec> {
    REGISTRY.iter().flat_map(|chapter| chapter.specs)
}

/// The row of a key.
pub(crate) fn spec_for(key: ExactKey) -> &'static AnnotationSpec {
    let found = specs().find(|spec| spec.key == Key::Exact(key));
    found.expect("each key has a row, which a test checks")
}

/// The row of a written key, and the name in it.
pub fn spec_of(key: &str) -> Option<(&'static AnnotationSpec, &str)> {
    specs().find_map(|spec| Some((spec, spec.key.name_in(key)?)))
}

/// Whether a key asks for an injection.
pub(crate) fn asks_for_secrets(key: &str) -> bool {
    let secrets = REGISTRY.iter().filter(|chapter| chapter.group == Group::Secrets);
    secrets.flat_map(|chapter| chapter.specs).any(|spec| spec.key.name_in(key).is_some())
}

#[cfg(test)]
mod tests;
