//! Annotations whose value is not a string, such as `secret-mode-db: 0440` without quotes.

use scaivault_contract::names::ANNOTATION_PREFIX;

use crate::{
    pod::{Annotations, NotText},
    problem::{Code, Excerpt, Layer, Problem, Problems},
};

/// A problem for each of them in an object's `metadata.annotations` as JSON; empty if that is not
/// an object.
pub fn not_text_problems(annotations: &str, layer: &Layer) -> Problems {
    let annotations: Annotations<'_> = serde_json::from_str(annotations).unwrap_or_default();
    let mut problems = Problems::new();
    for problem in not_text(&annotations, layer) {
        problems.push(problem);
    }
    problems
}

/// A problem for each of them.
pub(crate) fn not_text(annotations: &Annotations<'_>, layer: &Layer) -> impl Iterator<Item = Problem> {
    annotations.not_text.iter().map(move |(key, value)| {
        let (value, message, fix) = match value {
            NotText::Scalar(text) => (
                Some(Excerpt::new(text)),
                "the value is a number or true/false; annotation values must be strings",
                "put the value in quotes",
            ),
            NotText::Null => (
                None,
                "the value is null; annotation values must be strings, and Kubernetes may remove this key",
                "write the value in quotes, or remove the key",
            ),
            NotText::Tree => (
                None,
                "the value is a list or an object; annotation values must be strings",
                "put the value in quotes, or write it as a block after |",
            ),
        };
        Problem {
            code: Code::NotAString,
            key: Some(key.strip_prefix(ANNOTATION_PREFIX).unwrap_or(key).to_owned()),
            layer: layer.clone(),
            value,
            message: message.into(),
            allowed: None,
            fix: fix.into(),
        }
    })
}
