//! Where the values of a document stand in its text.

use super::tree::{self, Node, Tree};
use crate::{
    apply::unescape,
    yaml_stream::{Document, Format},
};

/// A document that is asked for places in its text.
pub(crate) struct Places<'a> {
    source: &'a str,
    /// The line of the stream on which `source` begins, from 1.
    line: usize,
    tree: Tree,
}

impl<'a> Places<'a> {
    /// None if the layout of the document is not supported.
    pub(crate) fn parse(document: &Document<'a>) -> Option<Self> {
        let content = document.content.as_ref()?;
        let source = document.source();
        let line = match content.format {
            Format::Json => content.line,
            Format::Yaml => document.line,
        };
        Some(Self { source, line, tree: tree::parse(source).ok()? })
    }

    /// The line of the stream on which an annotation's key stands, and its value as it is written. `object` is the RFC 6901
    /// pointer to what has the annotation. None if it stands elsewhere, as behind an alias.
    pub(crate) fn annotation(&self, object: &str, key: &str) -> Option<(usize, &'a str)> {
        let steps = object.split('/').skip(1).map(unescape);
        let steps = steps.chain(["metadata", "annotations", key].map(str::to_owned));
        let (mut node, mut place) = (&self.tree.root, None);
        for step in steps {
            let Node::Collection(collection) = node else { return None };
            let (item, at) = if collection.is_mapping {
                collection.written().find(|(item, _)| item.key.as_deref() == Some(&step))?
            } else {
                collection.written().nth(step.parse().ok()?)?
            };
            (node, place) = (&item.node, Some(at));
        }
        let place = place?;
        let before = self.source.get(..place.start)?;
        Some((self.line + before.matches('\n').count(), self.source.get(place.value.clone())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml_stream;

    const KEY: &str = "scaivault.scailabs.ai/a";

    #[track_caller]
    fn check(text: &str, object: &str, expected: Option<(usize, &str)>) {
        let documents = yaml_stream::split(text);
        let document = documents.last().unwrap();
        let places = Places::parse(document).unwrap();
        assert_eq!(places.annotation(object, KEY), expected, "{object} of {text}");
    }

    #[test]
    fn a_value_is_found_by_its_pointer() {
        let block = format!(
            "x: 1\n---\n# {KEY}: 1\nitems:\n- metadata:\n    annotations: {{{KEY}: 0440, b: 2}}\n- metadata:\n    annotations:\n      \
             \"{KEY}\" : yes  # no\n  t/x:\n    metadata:\n      annotations:\n        {KEY}: !!int 3\n"
        );
        check(&block, "/items/0", Some((6, "0440")));
        check(&block, "/items/1", Some((9, "yes")));
        check(&block, "/items/1/t~1x", Some((13, "3")));
        check(&block, "/items/2", None);
        check(&block, "", None);
        let json = format!("\n{{\"metadata\":\n {{\"annotations\":\n  {{\"{KEY}\": 5}}}}}}\n");
        check(&json, "", Some((4, "5")));
        let alias = format!("x: &x {{{KEY}: 1}}\nmetadata: {{annotations: *x}}\n");
        check(&alias, "", None);
        check(&format!("metadata: {{annotations: {{{KEY}: }}}}\n"), "", Some((1, "")));
    }
}
