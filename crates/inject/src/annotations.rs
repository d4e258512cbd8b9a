//! The annotations. One table declares every key; parsing, hints and documentation are derived from
//! it.

mod collect;
mod draft;
mod key;
mod misspelt;
mod nearest;
mod not_text;
mod reference;
mod registry;
mod suggest;
mod value;

pub use key::{ExactKey, Key, NamedKey};
pub use misspelt::{KeyPlace, MisplacedKey, misplaced_keys};
pub use reference::{json, markdown, schema, table};
pub use registry::{AnnotationSpec, DefaultValue, Group, REGISTRY, Section, spec_of, specs};
pub use value::ValueKind;

pub(crate) use collect::{Collected, Fill, collect};
pub(crate) use draft::{Draft, FileDraft};
pub(crate) use misspelt::Intention;
pub use nearest::nearest;
pub(crate) use not_text::not_text;
pub use not_text::not_text_problems;
pub(crate) use registry::asks_for_secrets;
#[cfg(test)]
pub(crate) use registry::spec_for;
pub use suggest::corrected;
pub(crate) use value::{
    LogLevel, Position, ReloadTarget, RunAsUser, Selection, StartGate, Url, id, image, image_is_below,
};
