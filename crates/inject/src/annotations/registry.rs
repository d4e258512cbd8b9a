//! The table of annotations. Its order is the order in the documentation.

mod rows;

pub use rows::REGISTRY;

use super::{
    draft::Draft,
    value::{Reason, ValueKind},
};
use crate::problem::Layer;

/// One key and all there is to know about it.
#[derive(Debug)]
pub struct AnnotationSpec {
    /// The key without the prefix.
    pub key: Key,
    /// What may stand there.
    pub value: ValueKind,
    /// What holds where nobody says anything, as a reader sees it.
    pub default: DefaultValue,
    /// Who may set it.
    pub layers: Layers,
    /// One or two sentences, Markdown.
    pub doc: &'static str,
    /// A value that is accepted.
    pub example: &'static str,
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

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// As it is.
    Exact(&'static str),
    /// Followed by the name of a file or variable.
    Named(&'static str),
}

impl Key {
    /// The name that follows a named key, empty for an exact one; none if `key` is another.
    fn name_in(self, key: &str) -> Option<&str> {
        match self {
            Self::Exact(exact) => (exact == key).then_some(""),
            Self::Named(prefix) => key.strip_prefix(prefix).filter(|name| !name.is_empty()),
        }
    }

    /// The key, with a placeholder for its name.
    pub fn display(self) -> String {
        match self {
            Self::Exact(key) => key.to_owned(),
            Self::Named(prefix @ "inject-env-") => format!("{prefix}<VAR>"),
            Self::Named(prefix) => format!("{prefix}<name>"),
        }
    }
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

/// Who may set a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers(u8);

impl Layers {
    /// Nobody but the injector itself.
    pub const WRITTEN: Self = Self(0);
    /// Pods only.
    pub const POD: Self = Self(1);
    /// Pods and the injector's configuration.
    pub const POD_INJECTOR: Self = Self(1 | 4);
    /// Pods, namespaces and the injector's configuration.
    pub const ANY: Self = Self(1 | 2 | 4);
    /// Pods, workloads and namespaces.
    pub const POD_WORKLOAD_NAMESPACE: Self = Self(1 | 2 | 8);

    /// Whether a layer may set the key.
    pub fn holds(self, layer: Layer) -> bool {
        let bit = match layer {
            Layer::Pod | Layer::ServiceAccount => 1,
            Layer::Namespace => 2,
            Layer::Injector | Layer::BuiltIn => 4,
            Layer::Workload => 8,
        };
        self.0 & bit != 0
    }

    /// The places in words.
    pub fn places(self) -> &'static str {
        match self {
            Self::POD => "the pod",
            Self::POD_INJECTOR => "the pod or in the injector's configuration",
            Self::ANY => "the pod, the namespace or in the injector's configuration",
            Self::POD_WORKLOAD_NAMESPACE => "the pod, the workload's own metadata or the namespace",
            _ => "nothing: the injector writes it",
        }
    }
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
}

/// What is wrong with one entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryError {
    pub(crate) message: String,
    pub(crate) allowed: Option<String>,
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

/// The row of a key, and the name that follows it.
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
