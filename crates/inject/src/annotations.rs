//! The annotations. One table declares every key; parsing, hints and documentation are derived from
//! it.

mod draft;
mod key;
mod misspelt;
mod nearest;
mod not_text;
mod reference;
mod registry;
pub(crate) mod suggest;
mod value;

pub use key::{ExactKey, Key, NamedKey};
pub use misspelt::{KeyPlace, MisplacedKey, misplaced_keys};
pub use reference::{json, markdown, schema, table};
pub use registry::{AnnotationSpec, DefaultValue, Group, REGISTRY, Section, spec_of, specs};
pub use value::ValueKind;

pub(crate) use draft::{Draft, FileDraft};
pub(crate) use misspelt::{Intention, UnknownKey, UnreadKey, unknown};
pub use nearest::nearest;
pub(crate) use not_text::not_text;
pub use not_text::not_text_problems;
#[cfg(test)]
pub(crate) use registry::spec_for;
pub(crate) use registry::{Entry, EntryError, NameError, Rejection, asks_for_secrets};
pub use suggest::corrected;
pub(crate) use value::{
    LogLevel, Position, ReloadTarget, RunAsUser, Selection, StartGate, Url, id, image, image_is_below,
};
