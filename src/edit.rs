//! Applies a patch to the text of a document, preserving comments, layout and digits.
//!
//! The text is parsed into a tree that records the position of each node. The patch is applied to
//! that tree, and the changes become insertions and deletions in the text. The result is parsed
//! again and must equal the expected value. So if this module misreads a text, the result is not
//! used and the whole document is rewritten instead.

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

/// Why the text cannot be edited in place, so that the whole document has to be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Obstacle {
    /// The target is the content of another node.
    #[error("the change is inside an alias (`*name`)")]
    Alias,
    /// The change would also apply wherever the anchor is repeated.
    #[error("the change is inside an anchor (`&name`) that an alias repeats")]
    Anchor,
    /// The target is not in the text.
    #[error("the change is inside a merged mapping (`<<`)")]
    Merge,
    /// A tab, an explicit key or another rare construct.
    #[error("its layout is not supported")]
    Layout,
}

/// The document's text after the patch. `expected` is the document's value after the same patch.
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

/// Whether the text is a single document with that value.
fn is_read_as(text: &str, format: Format, expected: &Value) -> bool {
    let documents = yaml_stream::split(text);
    let [document] = documents.as_slice() else { return false };
    document.content.as_ref().is_some_and(|content| content.format == format)
        && document::parse(document).is_ok_and(|value| value.as_ref() == Some(expected))
}

#[cfg(test)]
mod tests;
