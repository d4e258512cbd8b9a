//! Carries out a patch in the text of a document, so that comments, layout and digits stay as they were written.
//!
//! The text is parsed into a tree that knows where each node stands. The patch is applied to that tree, and what
//! changed becomes insertions and deletions in the text. The result is parsed again and has to be the expected value:
//! a text that this module misreads is never written, it is only a reason to rewrite the document.

mod changes;
mod places;
mod tree;
mod writer;

mod splice;

pub(crate) use places::Places;
use scaivault_inject::Patch;
use serde_json::Value;
use thiserror::Error;

use crate::{
    document,
    yaml_stream::{self, Document, Format},
};

/// Why the text cannot be changed in place, so that the whole document has to be written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Obstacle {
    /// The place is the content of another node.
    #[error("the change is inside an alias (`*name`)")]
    Alias,
    /// A change would be seen wherever the anchor is repeated.
    #[error("the change is inside an anchor (`&name`) that an alias repeats")]
    Anchor,
    /// The place is not written at all.
    #[error("the change is inside a merged mapping (`<<`)")]
    Merge,
    /// A tab, an explicit key or something else that is rare.
    #[error("its layout is not supported")]
    Layout,
}

/// The document's text with the patch carried out. `expected` is the document's value with the same patch.
pub(crate) fn edit(document: &Document<'_>, patch: &Patch, expected: &Value) -> Result<String, Obstacle> {
    let Some(content) = &document.content else { return Err(Obstacle::Layout) };
    let source = document.source();
    let mut tree = tree::parse(source)?;
    for operation in patch.operations() {
        changes::apply(&mut tree.root, operation)?;
    }
    let style = writer::Style::new(document, &tree);
    let text = document.with_source(&splice::splice(source, &tree, &style)?);
    is_read_as(&text, content.format, expected).then_some(text).ok_or(Obstacle::Layout)
}

/// Whether the text is one document of that value.
fn is_read_as(text: &str, format: Format, expected: &Value) -> bool {
    let documents = yaml_stream::split(text);
    let [document] = documents.as_slice() else { return false };
    document.content.as_ref().is_some_and(|content| content.format == format)
        && document::parse(document).is_ok_and(|value| value.as_ref() == Some(expected))
}

#[cfg(test)]
mod tests;
