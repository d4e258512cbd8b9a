//! Finds the positions of a document's values in its text.

use super::tree::{self, Node, Place, Tree};
use crate::{
    apply::steps,
    yaml_stream::{Document, Format},
};

/// A document with the positions of its values.
pub(crate) struct Places<'a> {
    source: &'a str,
    /// The line in the stream at which `source` starts, from 1.
    line: usize,
    tree: Tree,
}

impl<'a> Places<'a> {
    /// `None` if the layout of the document is not supported.
    pub(crate) fn parse(document: &Document<'a>) -> Option<Self> {
        let content = document.content.as_ref()?;
        let source = document.source();
        let line = match content.format {
            Format::Json => content.line,
            Format::Yaml => document.line,
        };
        Some(Self { source, line, tree: tree::parse(source).ok()? })
    }

    /// The line of an annotation's key in the stream, and its value as written. `object` is the RFC
    /// 6901 pointer to the annotated object. `None` if it is not written there, for example because
    /// of an alias.
    pub(crate) fn annotation(&self, object: &str, key: &str) -> Option<(usize, &'a str)> {
        let mut steps = steps(object).chain(["metadata", "annotations", key].map(str::to_owned));
        let (place, is_all) = self.find(&mut steps)?;
        Some((self.line_of(place)?, self.source.get(place.value.clone())?)).filter(|_| is_all)
    }

    /// The line of a field in the stream, or of its nearest ancestor in the text. `object` is the
    /// RFC 6901 pointer to its object, `field` a path such as `spec.allow.paths[0]`. `None` if the
    /// object is not found.
    pub(crate) fn field(&self, object: &str, field: &str) -> Option<usize> {
        let steps =
            steps(object).chain(field.split(['.', '[']).map(|step| step.trim_end_matches(']').to_owned()));
        self.line_of(self.find(&mut steps.into_iter())?.0)
    }

    /// The line in the stream of the target of an RFC 6901 pointer, or of its nearest ancestor in
    /// the text.
    pub(crate) fn line(&self, pointer: &str) -> Option<usize> {
        self.line_of(self.find(&mut steps(pointer))?.0)
    }

    /// The line in the stream at which the text of a literal block (`|`) starts. `None` if the
    /// value is not a literal block.
    pub(crate) fn block_line(&self, pointer: &str) -> Option<usize> {
        let (place, is_all) = self.find(&mut steps(pointer))?;
        let (before, value) = self.source.split_at_checked(place.value_from).filter(|_| is_all)?;
        let is_block = value.trim_start_matches([' ', '\t']).starts_with('|');
        is_block.then(|| self.line + before.matches('\n').count() + 1)
    }

    /// The position of the last of these steps that is in the text, and whether all steps were
    /// found.
    fn find(&self, steps: &mut dyn Iterator<Item = String>) -> Option<(&Place, bool)> {
        let (mut node, mut place) = (&self.tree.root, None);
        for step in steps {
            let found = match node {
                Node::Collection(collection) if collection.is_mapping => {
                    collection.written().find(|(item, _)| item.key.as_deref() == Some(&step))
                }
                Node::Collection(collection) => {
                    step.parse().ok().and_then(|index| collection.written().nth(index))
                }
                _ => None,
            };
            let Some((item, at)) = found else { return place.map(|place| (place, false)) };
            (node, place) = (&item.node, Some(at));
        }
        place.map(|place| (place, true))
    }

    fn line_of(&self, place: &Place) -> Option<usize> {
        let before = self.source.get(..place.start)?;
        Some(self.line + before.matches('\n').count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml_stream;

    #[test]
    fn a_field_is_found_by_its_path_or_a_parent() {
        let text = "kind: A\n---\nkind: B\nspec:\n  allow:\n    paths:\n    - a/b\n    - {x: 1,\n       y: 2}\n  map: {a.b: 1}\n";
        let documents = yaml_stream::split(text);
        let places = Places::parse(&documents[1]).unwrap();
        for (field, line) in [
            ("kind", Some(3)),
            ("spec.allow.paths[0]", Some(7)),
            ("spec.allow.paths[1].y", Some(9)),
            ("spec.allow.paths[2]", Some(6)),
            ("spec.allow.urls[0]", Some(5)),
            ("spec.map[a.b]", Some(10)),
            ("metadata.name", None),
        ] {
            assert_eq!(places.field("", field), line, "{field}");
        }
    }

    #[test]
    fn a_pointer_has_a_line_and_a_block_that_of_its_text() {
        let text = "a:\n  b.c/d: |\n\n    x: 1\n    y: 2\n  e: [1,\n    2]\n";
        let documents = yaml_stream::split(text);
        let places = Places::parse(&documents[0]).unwrap();
        assert_eq!(places.line("/a/b.c~1d"), Some(2));
        assert_eq!(
            (places.line("/a/e/1"), places.line("/a/e/5"), places.line("/z")),
            (Some(7), Some(6), None)
        );
        assert_eq!((places.block_line("/a/b.c~1d"), places.block_line("/a/e")), (Some(3), None));
    }

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
