//! The manifests as written: `detach(inject(text))` equals the text, byte for byte.

use serde_saphyr::granit_parser::{self, Event, Parser, StructureStyle};

use crate::{
    DETACH, INJECT,
    laws::problem_codes,
    program::{Outcome, run_with},
    variants::Variant,
};

/// The start of a message about a difference.
pub(super) const DIFFERS: &str = "DIFFERS";

/// The result for a file whose pods get these annotations; `None` if it has no pod.
pub(super) fn check(text: &str, variant: &Variant) -> Option<String> {
    let annotated = annotate(text, variant)?;
    let injected = run_with(&annotated, INJECT);
    if injected.code != 0 {
        let codes: Vec<_> = problem_codes(&injected.stderr).into_iter().collect();
        return Some(if codes.is_empty() {
            "unreadable".to_owned()
        } else {
            format!("refused: {}", codes.join(", "))
        });
    }
    let detached = run_with(&injected.stdout, DETACH);
    Some(if detached.stdout == annotated {
        if injected.stdout == annotated { "untouched" } else { "byte-identical" }.to_owned()
    } else {
        match obstacle(&injected).or_else(|| obstacle(&detached)) {
            Some(obstacle) => format!("rewritten: {obstacle}"),
            None => format!("{DIFFERS} without a warning"),
        }
    })
}

/// The program's reason for rewriting a document.
fn obstacle(output: &Outcome) -> Option<&str> {
    let mut lines = output.stderr.lines();
    lines.find_map(|line| Some(line.split_once("rewritten")?.1.split_once(": ")?.1))
}

/// Adds the annotations to each pod (template) that has a place for them; `None` if there is none.
fn annotate(text: &str, variant: &Variant) -> Option<String> {
    let mut insertions = Vec::new();
    for document in documents(text)? {
        let items = match document.get("items") {
            Some(Node { kind: Kind::Sequence(items), .. }) => items.iter().collect(),
            _ => vec![&document],
        };
        for object in items {
            let pod = super::POINTERS.iter().filter_map(|pointer| object.pointer(pointer)).find(|pod| {
                let containers = pod.pointer("/spec/containers");
                containers.is_some_and(|list| matches!(list.kind, Kind::Sequence(_)))
            });
            insertions.extend(pod.and_then(|pod| insertion(text, pod, variant)));
        }
    }
    if insertions.is_empty() {
        return None;
    }
    let mut annotated = text.to_owned();
    insertions.sort();
    for (at, new) in insertions.into_iter().rev() {
        annotated.insert_str(at, &new);
    }
    Some(annotated)
}

/// The text to insert and its position, so that a pod gets the annotations.
fn insertion(text: &str, pod: &Node, variant: &Variant) -> Option<(usize, String)> {
    let entries: Vec<(String, String)> = variant.entries().collect();
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let lines = |column: usize, parents: &[&str]| {
        let mut lines = String::new();
        for (depth, parent) in parents.iter().enumerate() {
            lines.extend([format!("{}{parent}:{line_end}", " ".repeat(column + 2 * depth))]);
        }
        for (key, value) in &entries {
            lines.extend([format!("{}{key}: {value}{line_end}", " ".repeat(column + 2 * parents.len()))]);
        }
        lines
    };
    let flow =
        || entries.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect::<Vec<_>>().join(", ");
    let metadata = pod.get("metadata");
    let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
    let (parent, block_parents, flow_text) = match (metadata, annotations) {
        (_, Some(annotations)) => (annotations, vec![], format!("{}, ", flow())),
        (Some(metadata), None) => {
            (metadata, vec!["annotations"], format!("\"annotations\": {{{}}}, ", flow()))
        }
        (None, None) => (
            pod,
            vec!["metadata", "annotations"],
            format!("\"metadata\": {{\"annotations\": {{{}}}}}, ", flow()),
        ),
    };
    let Kind::Mapping(children) = &parent.kind else { return None };
    let (_, first, _) = children.first()?;
    if parent.is_flow {
        return Some((*first, flow_text));
    }
    let line = text[..*first].rfind('\n').map_or(0, |at| at + 1);
    let is_first_on_line = text[line..*first].bytes().all(|byte| byte == b' ');
    is_first_on_line.then(|| (line, lines(first - line, &block_parents)))
}

/// A YAML node with the position of each key.
struct Node {
    kind: Kind,
    is_flow: bool,
}

enum Kind {
    Mapping(Vec<(String, usize, Node)>),
    Sequence(Vec<Node>),
    Scalar(String),
    Alias,
}

impl Node {
    fn get(&self, key: &str) -> Option<&Self> {
        let Kind::Mapping(entries) = &self.kind else { return None };
        entries.iter().find(|(found, ..)| found == key).map(|(.., node)| node)
    }

    fn pointer(&self, pointer: &str) -> Option<&Self> {
        pointer.split('/').skip(1).try_fold(self, Self::get)
    }
}

fn documents(text: &str) -> Option<Vec<Node>> {
    let options = granit_parser::options! { emit_comments: false };
    let mut events = Parser::new_from_str_with_options(text, options);
    let mut documents = Vec::new();
    loop {
        let (event, span) = events.next()?.ok()?;
        match event {
            Event::StreamEnd => return Some(documents),
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            event => documents.push(node(&mut events, event, span)?.1),
        }
    }
}

/// The node that starts with an event, and its first byte.
fn node<'a>(
    events: &mut impl Iterator<Item = Result<(Event<'a>, granit_parser::Span), granit_parser::ScanError>>,
    event: Event<'a>,
    span: granit_parser::Span,
) -> Option<(usize, Node)> {
    let start = span.byte_range()?.start;
    let (kind, style) = match event {
        Event::Scalar(text, ..) => (Kind::Scalar(text.into_owned()), StructureStyle::Flow),
        Event::Alias(_) => (Kind::Alias, StructureStyle::Flow),
        Event::SequenceStart(style, ..) => {
            let mut items = Vec::new();
            loop {
                match events.next()?.ok()? {
                    (Event::SequenceEnd, _) => break,
                    (event, span) => items.push(node(events, event, span)?.1),
                }
            }
            (Kind::Sequence(items), style)
        }
        Event::MappingStart(style, ..) => {
            let mut entries = Vec::new();
            loop {
                let (start, key) = match events.next()?.ok()? {
                    (Event::MappingEnd, _) => break,
                    (event, span) => node(events, event, span)?,
                };
                let (event, span) = events.next()?.ok()?;
                let (_, value) = node(events, event, span)?;
                let Kind::Scalar(key) = key.kind else { continue };
                entries.push((key, start, value));
            }
            (Kind::Mapping(entries), style)
        }
        _ => return None,
    };
    Some((start, Node { kind, is_flow: style == StructureStyle::Flow }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variants::ALL;

    #[test]
    fn pods_are_annotated_in_the_text() {
        let key = "scaivault.scailabs.ai/inject-secret-db.json";
        let value = "\"environments/production/billing/database\"";
        for (text, expected) in [
            (
                "kind: Pod\nmetadata: # m\n  name: a\nspec:\n  containers: []\n",
                format!(
                    "kind: Pod\nmetadata: # m\n  annotations:\n    {key}: {value}\n  name: a\nspec:\n  containers: []\n"
                ),
            ),
            (
                "spec:\n  template:\n    spec: {containers: []}\n---\nmetadata: {annotations: {a: b}}\nspec: {containers: []}\n",
                format!(
                    "spec:\n  template:\n    metadata:\n      annotations:\n        {key}: {value}\n    spec: {{containers: []}}\n---\nmetadata: {{annotations: {{\"{key}\": {value}, a: b}}}}\nspec: {{containers: []}}\n"
                ),
            ),
        ] {
            assert_eq!(annotate(text, &ALL[0]), Some(expected));
        }
        assert_eq!(annotate("kind: Service\nspec: {}\n", &ALL[0]), None);
    }
}
