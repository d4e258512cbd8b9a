//! Annotations whose value is no string, such as `secret-mode-db: 0440` without quotes.

use scaivault_contract::names::ANNOTATION_PREFIX;

use crate::{
    pod::{Annotations, NotText},
    problem::{Code, Excerpt, Layer, Problem},
};

/// A problem for each of them.
pub(crate) fn not_text(annotations: &Annotations<'_>, layer: &Layer) -> impl Iterator<Item = Problem> {
    annotations.not_text.iter().map(move |(key, value)| {
        let (value, message, cure) = match value {
            NotText::Scalar(text) => (
                Some(Excerpt::new(text)),
                "it is a number or a truth value without quotes, and values of annotations are strings",
                "put the value into quotes",
            ),
            NotText::Null => (
                None,
                "it is null, which is no string and may be dropped before it is stored",
                "write the value in quotes, or remove the key",
            ),
            NotText::Tree => (
                None,
                "it is a list or an object, and values of annotations are strings",
                "write the value as one string in quotes, or as a block after |",
            ),
        };
        Problem {
            code: Code::NotAString,
            key: Some(key.strip_prefix(ANNOTATION_PREFIX).unwrap_or(key).to_owned()),
            layer: layer.clone(),
            value,
            message: message.into(),
            allowed: None,
            cure: cure.into(),
        }
    })
}
