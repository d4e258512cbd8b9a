//! A document as a tree whose nodes record their positions in the text.

use std::{collections::BTreeSet, ops::Range};

use serde_json::Value;
use serde_saphyr::granit_parser::{self, Event, Parser, Span, StructureStyle};

use super::Obstacle;

/// A document.
pub(super) struct Tree {
    pub(super) root: Node,
    /// The range of the root.
    pub(super) range: Range<usize>,
    /// The indentation of a block mapping below its key, in columns; that of the first one is used.
    pub(super) step: Option<usize>,
    /// Whether a block sequence starts in the column of its key; the majority decides.
    pub(super) compact_lists: bool,
}

/// A node: from the text, or a new value.
#[derive(Debug)]
pub(super) enum Node {
    /// A value without children.
    Scalar,
    /// The content of another node.
    Alias,
    /// A mapping or a sequence.
    Collection(Collection),
    /// A value that is not in the text yet.
    New(Value),
}

/// A mapping or a sequence.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) is_mapping: bool,
    pub(super) is_flow: bool,
    /// An alias repeats it.
    pub(super) is_repeated: bool,
    pub(super) items: Vec<Item>,
}

/// An entry of a mapping or an item of a sequence. A removed item stays in its list, because the
/// positions of others depend on it.
#[derive(Debug)]
pub(super) struct Item {
    /// The key, for an entry of a mapping.
    pub(super) key: Option<String>,
    /// `None` if it is new.
    pub(super) place: Option<Place>,
    pub(super) node: Node,
    pub(super) is_removed: bool,
}

/// The position of an item, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The position of the dash for a block sequence, else of the key or the value.
    pub(super) start: usize,
    /// The position after the colon or the dash; for an item of a flow sequence its start.
    pub(super) value_from: usize,
    /// The value, without tag and anchor. In block style its start is somewhere in its first line.
    pub(super) value: Range<usize>,
    /// The value is a block collection.
    pub(super) is_block: bool,
}

impl Node {
    fn is_block(&self) -> bool {
        matches!(self, Self::Collection(Collection { is_flow: false, .. }))
    }
}

impl Item {
    pub(super) fn added(key: Option<String>, value: Value) -> Self {
        Self { key, place: None, node: Node::New(value), is_removed: false }
    }
}

impl Collection {
    /// Whether it is a mapping with merged entries.
    pub(super) fn has_merge(&self) -> bool {
        self.items.iter().any(|item| item.key.as_deref() == Some("<<"))
    }

    /// The items that remain after all changes.
    pub(super) fn remaining(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|item| !item.is_removed)
    }

    /// The items that are in the text.
    pub(super) fn written(&self) -> impl Iterator<Item = (&Item, &Place)> {
        self.items.iter().filter_map(|item| Some((item, item.place.as_ref()?)))
    }
}

/// Parses a document with one root node.
pub(super) fn parse(source: &str) -> Result<Tree, Obstacle> {
    let options = granit_parser::options! { emit_comments: false, emit_anchor_events: true };
    let mut events = Vec::new();
    let mut repeated = BTreeSet::new();
    for event in Parser::new_from_str_with_options(source, options) {
        let (event, span) = event.map_err(|_| Obstacle::Layout)?;
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => {}
            Event::Alias(id) => {
                repeated.insert(id);
                events.push((event, span));
            }
            _ => events.push((event, span)),
        }
    }
    let mut builder = Builder {
        source,
        events: events.into_iter().peekable(),
        repeated,
        step: None,
        compact: 0,
        expanded: 0,
    };
    let root = builder.node()?;
    let Builder { step, compact, expanded, .. } = builder;
    Ok(Tree { root: root.node, range: root.value, step, compact_lists: compact >= expanded })
}

struct Builder<'a, I: Iterator<Item = (Event<'a>, Span)>> {
    source: &'a str,
    events: std::iter::Peekable<I>,
    /// The anchors that are used by aliases.
    repeated: BTreeSet<usize>,
    step: Option<usize>,
    compact: usize,
    expanded: usize,
}

/// A node and its position.
struct Found {
    node: Node,
    /// Its first byte, including tag and anchor.
    start: usize,
    value: Range<usize>,
    /// The text of a scalar.
    text: Option<String>,
}

impl<'a, I: Iterator<Item = (Event<'a>, Span)>> Builder<'a, I> {
    fn node(&mut self) -> Result<Found, Obstacle> {
        let (event, span) = self.events.next().ok_or(Obstacle::Layout)?;
        let range = span.byte_range().ok_or(Obstacle::Layout)?;
        let mut start = range.start;
        if let Some(tag) = span.tag_span() {
            start = start.min(tag.byte_range().ok_or(Obstacle::Layout)?.start);
        }
        if let Some((Event::Anchor(..), anchor)) = self.events.peek() {
            start = start.min(anchor.byte_range().ok_or(Obstacle::Layout)?.start);
            self.events.next();
        }
        let leaf = |node, value| Found { node, start, value, text: None };
        match event {
            Event::Alias(_) => Ok(leaf(Node::Alias, range)),
            Event::Scalar(text, style, ..) => {
                use granit_parser::ScalarStyle::{Folded, Literal};
                let is_block_scalar = matches!(style, Literal | Folded);
                let mut found = leaf(Node::Scalar, range);
                if is_block_scalar {
                    found.value.end = self.block_scalar_end(&found.value, &text);
                }
                Ok(Found { text: Some(text.into_owned()), ..found })
            }
            Event::MappingStart(style, anchor, _) => {
                let (items, end) = self.entries(style, &range)?;
                let node = self.collection(true, style, anchor, items);
                Ok(leaf(node, range.start..end))
            }
            Event::SequenceStart(style, anchor, _) => {
                let (items, end) = self.items(style, &range)?;
                let node = self.collection(false, style, anchor, items);
                Ok(leaf(node, range.start..end))
            }
            _ => Err(Obstacle::Layout),
        }
    }

    fn collection(&self, is_mapping: bool, style: StructureStyle, anchor: usize, items: Vec<Item>) -> Node {
        Node::Collection(Collection {
            is_mapping,
            is_flow: style == StructureStyle::Flow,
            is_repeated: self.repeated.contains(&anchor),
            items,
        })
    }

    /// Parses the entries of a mapping after its start event; also returns its end.
    fn entries(
        &mut self,
        style: StructureStyle,
        begin: &Range<usize>,
    ) -> Result<(Vec<Item>, usize), Obstacle> {
        let mut items = Vec::new();
        let mut end = begin.end;
        while !matches!(self.events.peek(), Some((Event::MappingEnd, _))) {
            let key = self.node()?;
            // After an explicit key (`? `) or an alias the position of the colon is not certain, so
            // such entries are not supported.
            let text = key.text.ok_or(Obstacle::Layout)?;
            let value = self.node()?;
            let value_from = self.behind_colon(key.value.end).unwrap_or(key.value.end);
            let mut range = value.value;
            if range.start < value_from {
                range = value_from..value_from.max(range.end);
            }
            if style == StructureStyle::Block {
                self.note_style(key.start, &value.node);
            }
            end = range.end;
            let place = Place { start: key.start, value_from, value: range, is_block: value.node.is_block() };
            items.push(Item { key: Some(text), place: Some(place), node: value.node, is_removed: false });
        }
        Ok((items, self.close(style, end)?))
    }

    /// Parses the items of a sequence after its start event; also returns its end.
    fn items(&mut self, style: StructureStyle, begin: &Range<usize>) -> Result<(Vec<Item>, usize), Obstacle> {
        let mut items = Vec::new();
        let mut end = begin.end;
        while !matches!(self.events.peek(), Some((Event::SequenceEnd, _))) {
            let value = self.node()?;
            let (start, value_from) = match style {
                StructureStyle::Flow => (value.start, value.start),
                StructureStyle::Block => {
                    let dash = self.dash(if items.is_empty() { None } else { Some(end) }, value.start);
                    let dash = dash.ok_or(Obstacle::Layout)?;
                    (dash, dash + 1)
                }
            };
            let range = value.value.start.max(value_from)..value.value.end.max(value_from);
            end = range.end;
            let place = Place { start, value_from, value: range, is_block: value.node.is_block() };
            items.push(Item { key: None, place: Some(place), node: value.node, is_removed: false });
        }
        Ok((items, self.close(style, end)?))
    }

    /// Consumes the end event. A flow collection ends after its bracket, a block collection with
    /// its last item.
    fn close(&mut self, style: StructureStyle, last: usize) -> Result<usize, Obstacle> {
        let (_, span) = self.events.next().ok_or(Obstacle::Layout)?;
        let end = span.byte_range().ok_or(Obstacle::Layout)?.end;
        Ok(if style == StructureStyle::Flow { end } else { last })
    }

    /// The position after the colon that follows an implicit key.
    fn behind_colon(&self, key_end: usize) -> Option<usize> {
        let rest = self.source.get(key_end..)?;
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        rest[blank..].starts_with(':').then_some(key_end + blank + 1)
    }

    /// The dash of a block sequence's item whose value starts at `value`. The previous item ends at
    /// `previous`.
    fn dash(&self, previous: Option<usize>, value: usize) -> Option<usize> {
        let is_dash = |at: usize| {
            let mut rest = self.source.get(at..).unwrap_or_default().chars();
            rest.next() == Some('-') && rest.next().is_none_or(char::is_whitespace)
        };
        if let Some(previous) = previous {
            let mut at = previous;
            while at < self.source.len() {
                let line = at + self.source[at..].find('\n')? + 1;
                let indent = self.source[line..].len() - self.source[line..].trim_start_matches(' ').len();
                if is_dash(line + indent) {
                    return Some(line + indent);
                }
                at = line;
            }
            return None;
        }
        // The dash precedes its value, possibly with blanks, comments and properties in between.
        let mut line_end = value;
        loop {
            let line_start = self.source[..line_end].rfind('\n').map_or(0, |at| at + 1);
            let line = &self.source[line_start..line_end];
            let indent = line.len() - line.trim_start_matches(' ').len();
            // In `- - a` the innermost dash is the one nearest to the value.
            let mut found = None;
            let mut at = line_start + indent;
            while at < line_end && is_dash(at) {
                found = Some(at);
                let rest = &self.source[at + 1..line_end];
                at += 1 + rest.len() - rest.trim_start_matches(' ').len();
            }
            if found.is_some() {
                return found;
            }
            line_end = line_start.checked_sub(1)?;
        }
    }

    /// Where a block scalar ends: before the line break of its last line, including blank lines
    /// that belong to it.
    fn block_scalar_end(&self, range: &Range<usize>, text: &str) -> usize {
        let written = self.source.get(range.clone()).unwrap_or_default();
        if text.ends_with("\n\n") || text.trim_end_matches('\n').is_empty() {
            // `|+`: up to the line break before the next content.
            let written = written.trim_end_matches([' ', '\t']);
            return range.start + written.strip_suffix('\n').unwrap_or(written).len();
        }
        range.start + written.trim_end_matches([' ', '\t', '\n', '\r']).len()
    }

    fn note_style(&mut self, key_start: usize, value: &Node) {
        let Node::Collection(Collection { is_flow: false, is_mapping, items, .. }) = value else { return };
        let Some(place) = items.first().and_then(|item| item.place.as_ref()) else { return };
        let column = |at: usize| at - self.source[..at].rfind('\n').map_or(0, |line| line + 1);
        let (parent, child) = (column(key_start), column(place.start));
        if *is_mapping {
            self.step = self.step.or_else(|| child.checked_sub(parent).filter(|step| (1..=8).contains(step)));
        } else if child == parent {
            self.compact += 1;
        } else {
            self.expanded += 1;
        }
    }
}
