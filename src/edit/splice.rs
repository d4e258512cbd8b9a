//! Converts the changes of a tree to insertions and deletions in its text.

use std::ops::Range;

use serde_json::{Map, Value};

use super::{
    Obstacle,
    tree::{Collection, Item, Node, Place, Tree},
    writer::{Style, is_leaf},
};

/// The source with all changes of the tree.
pub(super) fn splice(source: &str, tree: &Tree, style: &Style<'_>) -> Result<String, Obstacle> {
    let mut splicer = Splicer { source, style, edits: Vec::new() };
    match &tree.root {
        Node::Collection(root) if root.is_flow => splicer.flow(root, &tree.range)?,
        Node::Collection(root) => splicer.block(root, None)?,
        _ => return Err(Obstacle::Layout),
    }
    Ok(splicer.finish())
}

struct Splicer<'a> {
    source: &'a str,
    style: &'a Style<'a>,
    edits: Vec<Edit>,
}

/// A replacement of a range by text.
struct Edit {
    range: Range<usize>,
    text: String,
}

impl<'a> Splicer<'a> {
    /// Edits a block collection; `parent` is its position as a value.
    fn block(&mut self, collection: &Collection, parent: Option<&Place>) -> Result<(), Obstacle> {
        let first = collection.written().next().map(|(_, place)| place.start).ok_or(Obstacle::Layout)?;
        let column = self.column(first);
        let mut added = String::new();
        let mut previous: Option<&Place> = None;
        for (index, item) in collection.items.iter().enumerate() {
            let Some(place) = &item.place else {
                added.push_str(&self.block_item(item, column)?);
                continue;
            };
            self.insert_lines(&mut added, previous, collection, parent)?;
            if item.is_removed {
                self.remove_lines(place, &collection.items[index..])?;
            } else {
                self.block_value(&item.node, place, collection.is_mapping)?;
            }
            previous = Some(place);
        }
        self.insert_lines(&mut added, previous, collection, parent)
    }

    fn block_item(&self, item: &Item, column: usize) -> Result<String, Obstacle> {
        let Node::New(value) = &item.node else { return Err(Obstacle::Layout) };
        match &item.key {
            Some(key) => self.style.block_entry(key, value, column),
            None => self.style.block_item(value, column),
        }
    }

    /// Inserts lines of items after the previous item, or before the first one.
    fn insert_lines(
        &mut self,
        lines: &mut String,
        previous: Option<&Place>,
        collection: &Collection,
        parent: Option<&Place>,
    ) -> Result<(), Obstacle> {
        if lines.is_empty() {
            return Ok(());
        }
        let first = collection.written().next().map(|(_, place)| place).ok_or(Obstacle::Layout)?;
        let at = match (previous, parent) {
            (Some(previous), _) => {
                let column = self.column(first.start);
                // A comment in the column of a mapping's keys belongs to an entry; one in the
                // column of the dashes may belong to the next key.
                self.behind(previous.value.end, if collection.is_mapping { column } else { column + 1 })
            }
            _ if !self.begins_line(first.start) => return Err(Obstacle::Layout),
            // Before the comment above the first item.
            (None, Some(parent)) if self.is_header(parent) => self.line_end(parent.value_from),
            (None, _) => self.line_start(first.start),
        };
        self.insert(at, std::mem::take(lines));
        Ok(())
    }

    /// Removes the first of these items.
    fn remove_lines(&mut self, place: &Place, items: &[Item]) -> Result<(), Obstacle> {
        let range = if self.begins_line(place.start) {
            self.line_start(place.start)..self.line_end(place.value.end)
        } else {
            // It follows the dash of its parent, so the next item moves there.
            let next = items.iter().filter(|item| !item.is_removed).find_map(|item| item.place.as_ref());
            place.start..next.ok_or(Obstacle::Layout)?.start
        };
        self.delete(range);
        Ok(())
    }

    /// Edits a value of a block collection.
    fn block_value(&mut self, node: &Node, place: &Place, is_entry: bool) -> Result<(), Obstacle> {
        match node {
            Node::Scalar | Node::Alias => Ok(()),
            Node::New(value) => self.replace(place, value, is_entry),
            Node::Collection(child) => {
                let is_changed = child.written().count() != child.items.len()
                    || child.items.iter().any(|item| item.is_removed);
                let is_left_empty = is_changed && child.remaining().next().is_none();
                if child.is_flow && child.written().next().is_none() && is_changed {
                    // `[]` becomes a block.
                    self.replace(place, &new_value(child)?, is_entry)
                } else if child.is_flow {
                    self.flow(child, &place.value)
                } else if is_left_empty {
                    self.replace(place, &empty(child), is_entry)
                } else {
                    self.block(child, Some(place))
                }
            }
        }
    }

    /// Replaces the value of an entry of a block mapping.
    fn replace(&mut self, place: &Place, value: &Value, is_entry: bool) -> Result<(), Obstacle> {
        if !is_entry || place.is_block && !self.is_header(place) {
            return Err(Obstacle::Layout);
        }
        if place.is_block {
            // Keeps the comment on the line of the key.
            self.delete(self.line_end(place.value_from)..self.line_end(place.value.end));
        } else {
            self.delete(place.value_from..place.value.end);
        }
        let inline = if is_leaf(value) { Style::inline(value)? } else { String::new() };
        if inline.contains('\n') {
            return Err(Obstacle::Layout);
        }
        if !inline.is_empty() {
            let at = place.value_from;
            self.insert(at, format!(" {inline}"));
        }
        if !is_leaf(value) {
            let at = self.line_end(place.value.end);
            let lines = self.style.block_below(value, self.column(place.start))?;
            self.insert(at, lines);
        }
        Ok(())
    }

    /// Edits a flow collection.
    fn flow(&mut self, collection: &Collection, range: &Range<usize>) -> Result<(), Obstacle> {
        let Some((_, first)) = collection.written().next() else {
            if collection.remaining().next().is_some() {
                let indent = self.style.is_pretty_json().then(|| self.indent(range.start));
                let text = self.style.flow(&new_value(collection)?, indent)?;
                self.edits.push(Edit { range: range.clone(), text });
            }
            return Ok(());
        };
        let on_lines = self.source[range.start..first.start].contains('\n');
        let indent = on_lines.then(|| self.indent(first.start));
        let separator =
            indent.map_or_else(|| self.style.separator().to_owned(), |indent| format!(",\n{indent}"));
        if collection.written().all(|(item, _)| item.is_removed) {
            let added = collection.remaining().map(|item| self.flow_item(item, indent));
            let added = added.collect::<Result<Vec<_>, _>>()?.join(&separator);
            let inner = if added.is_empty() {
                range.start + 1..range.end.saturating_sub(1)
            } else {
                first.start..collection.written().last().map_or(range.end, |(_, place)| place.value.end)
            };
            self.edits.push(Edit { range: inner, text: added });
            return Ok(());
        }
        let mut previous: Option<&Place> = None;
        let mut is_leading = true;
        for (index, item) in collection.items.iter().enumerate() {
            let Some(place) = &item.place else {
                let text = self.flow_item(item, indent)?;
                let (at, text) = match previous {
                    Some(previous) => (previous.value.end, format!("{separator}{text}")),
                    None => (first.start, format!("{text}{separator}")),
                };
                self.insert(at, text);
                continue;
            };
            is_leading &= item.is_removed;
            if is_leading {
                let next = collection.items[index + 1..].iter().find_map(|item| item.place.as_ref());
                self.delete(place.start..next.ok_or(Obstacle::Layout)?.start);
            } else if item.is_removed {
                self.delete(previous.ok_or(Obstacle::Layout)?.value.end..place.value.end);
            } else {
                self.flow_value(&item.node, place)?;
            }
            previous = Some(place);
        }
        Ok(())
    }

    fn flow_item(&self, item: &Item, indent: Option<&str>) -> Result<String, Obstacle> {
        let Node::New(value) = &item.node else { return Err(Obstacle::Layout) };
        self.style.flow_item(item.key.as_deref(), value, indent)
    }

    fn flow_value(&mut self, node: &Node, place: &Place) -> Result<(), Obstacle> {
        match node {
            Node::Collection(child) => self.flow(child, &place.value),
            Node::New(value) => {
                let indent = self.style.is_pretty_json().then(|| self.indent(place.start));
                let text = self.style.flow(value, indent)?;
                let text = if place.value.is_empty() { format!(" {text}") } else { text };
                self.edits.push(Edit { range: place.value.clone(), text });
                Ok(())
            }
            Node::Scalar | Node::Alias => Ok(()),
        }
    }

    fn insert(&mut self, at: usize, text: String) {
        self.edits.push(Edit { range: at..at, text });
    }

    fn delete(&mut self, range: Range<usize>) {
        self.edits.push(Edit { range, text: String::new() });
    }

    /// The source with all edits. Overlapping deletions are merged.
    fn finish(mut self) -> String {
        self.edits.sort_by_key(|edit| edit.range.start);
        let mut text = String::with_capacity(self.source.len() + 4096);
        let mut at = 0;
        for Edit { range, text: new } in self.edits {
            if range.start > at {
                text.push_str(&self.source[at..range.start]);
            }
            // The last line has no line break, so one is added first.
            let missing_break = new.ends_with('\n') && !text.is_empty() && !text.ends_with('\n');
            let new = if missing_break { format!("\n{new}") } else { new };
            text.push_str(&if self.style.has_crlf { new.replace('\n', "\r\n") } else { new });
            at = at.max(range.end);
        }
        text.push_str(&self.source[at..]);
        match text.strip_suffix('\n') {
            Some(rest) if !self.source.ends_with('\n') => rest.strip_suffix('\r').unwrap_or(rest).to_owned(),
            _ => text,
        }
    }

    /// The position after the line of an item's end and after the comments below it that are
    /// indented at least that far.
    fn behind(&self, end: usize, column: usize) -> usize {
        let mut at = self.line_end(end);
        let mut next = at;
        while next < self.source.len() {
            let line_end = self.line_end(next);
            let line = self.source[next..line_end].trim_end();
            let indent = line.len() - line.trim_start_matches(' ').len();
            next = line_end;
            if line[indent..].starts_with('#') && indent >= column {
                at = line_end;
            } else if !line.is_empty() {
                break;
            }
        }
        at
    }

    /// Whether only a comment follows the colon, so that the value is on the lines below.
    fn is_header(&self, place: &Place) -> bool {
        let rest = self.source[place.value_from..self.line_end(place.value_from)].trim();
        rest.is_empty() || rest.starts_with('#')
    }

    fn begins_line(&self, at: usize) -> bool {
        self.source[self.line_start(at)..at].bytes().all(|byte| byte == b' ')
    }

    /// The white space before the first character of a line.
    fn indent(&self, at: usize) -> &'a str {
        let line = &self.source[self.line_start(at)..at];
        &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
    }

    fn column(&self, at: usize) -> usize {
        at - self.line_start(at)
    }

    fn line_start(&self, at: usize) -> usize {
        self.source[..at].rfind('\n').map_or(0, |at| at + 1)
    }

    /// The position after the line break.
    fn line_end(&self, at: usize) -> usize {
        self.source[at..].find('\n').map_or(self.source.len(), |found| at + found + 1)
    }
}

/// The value of a collection that had no items.
fn new_value(collection: &Collection) -> Result<Value, Obstacle> {
    let values = collection.items.iter().map(|item| match &item.node {
        Node::New(value) => Ok((item.key.clone(), value.clone())),
        _ => Err(Obstacle::Layout),
    });
    if collection.is_mapping {
        let entries = values.map(|entry| entry.map(|(key, value)| (key.unwrap_or_default(), value)));
        entries.collect::<Result<Map<_, _>, _>>().map(Value::Object)
    } else {
        values.map(|entry| entry.map(|(_, value)| value)).collect::<Result<Vec<_>, _>>().map(Value::Array)
    }
}

fn empty(collection: &Collection) -> Value {
    if collection.is_mapping { Value::Object(Map::new()) } else { Value::Array(Vec::new()) }
}
