//! JSON text of a value: its keys sorted, its numbers with the digits they were sent with.

use std::convert::Infallible;

use scaivault_client::{Json, JsonValue};
use zeroize::Zeroizing;

/// A value that can be written as JSON, one level at a time.
pub(super) trait Tree: Sized {
    /// Why it cannot.
    type Error;

    /// What it is. `level` says how deep it stands, `written` how many bytes are written before it.
    fn node<'t>(self, level: usize, written: usize) -> Result<Node<'t, Self>, Self::Error>
    where
        Self: 't;
}

type Items<'t, T, E> = Box<dyn Iterator<Item = Result<T, E>> + 't>;

/// One level of a value.
pub(super) enum Node<'t, T: Tree> {
    /// A text that is not quoted yet.
    Text(Zeroizing<String>),
    /// Any other scalar, as it is written.
    Scalar(String),
    /// An array.
    List(Items<'t, T, T::Error>),
    /// An object, sorted by name.
    Object(Items<'t, (String, T), T::Error>),
}

impl Tree for JsonValue<'_> {
    type Error = Infallible;

    fn node<'t>(self, _: usize, _: usize) -> Result<Node<'t, Self>, Infallible>
    where
        Self: 't,
    {
        Ok(match self.read() {
            Json::Null => Node::Scalar("null".to_owned()),
            Json::Bool(value) => Node::Scalar(value.to_string()),
            Json::Number(digits) => Node::Scalar(digits.to_owned()),
            Json::Text(text) => Node::Text(text),
            Json::List(items) => Node::List(Box::new(items.into_iter().map(Ok))),
            Json::Object(fields) => Node::Object(Box::new(fields.into_iter().map(Ok))),
        })
    }
}

/// Appends `value`: on one line without spaces, or one item a line, `indent` spaces for each level.
pub(super) fn write<T: Tree>(
    json: &mut Zeroizing<String>,
    value: T,
    indent: Option<usize>,
) -> Result<(), T::Error> {
    write_at(json, value, indent, 0)
}

fn write_at<T: Tree>(
    json: &mut Zeroizing<String>,
    value: T,
    indent: Option<usize>,
    level: usize,
) -> Result<(), T::Error> {
    match value.node(level, json.len())? {
        Node::Text(text) => push_text(json, &text),
        Node::Scalar(text) => json.push_str(&text),
        Node::List(items) => {
            json.push('[');
            let mut is_empty = true;
            for item in items {
                next(json, &mut is_empty, indent, level);
                write_at(json, item?, indent, level + 1)?;
            }
            end(json, is_empty, indent, level);
            json.push(']');
        }
        Node::Object(fields) => {
            json.push('{');
            let mut is_empty = true;
            for field in fields {
                let (name, value) = field?;
                next(json, &mut is_empty, indent, level);
                push_text(json, &name);
                json.push_str(if indent.is_some() { ": " } else { ":" });
                write_at(json, value, indent, level + 1)?;
            }
            end(json, is_empty, indent, level);
            json.push('}');
        }
    }
    Ok(())
}

fn next(json: &mut String, is_empty: &mut bool, indent: Option<usize>, level: usize) {
    if !std::mem::take(is_empty) {
        json.push(',');
    }
    new_line(json, indent, level + 1);
}

fn end(json: &mut String, is_empty: bool, indent: Option<usize>, level: usize) {
    if !is_empty {
        new_line(json, indent, level);
    }
}

fn new_line(json: &mut String, indent: Option<usize>, level: usize) {
    if let Some(indent) = indent {
        json.push('\n');
        json.extend(std::iter::repeat_n(' ', indent * level));
    }
}

/// A text in double quotes, with no more escapes than JSON asks for.
pub(super) fn push_text(json: &mut String, text: &str) {
    let quoted = serde_json::to_string(text).expect("a text can be written as JSON");
    json.push_str(&Zeroizing::new(quoted));
}
