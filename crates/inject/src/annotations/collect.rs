//! The layers of settings, merged into one draft: injector < namespace < service account < pod.

use std::borrow::Cow;

use scaivault_contract::{Excerpt, names::ANNOTATION_PREFIX};

use super::{
    draft::Draft,
    nearest::distance_within,
    registry::{Entry, EntryError, Key, Layers, Rejection, spec_of, specs},
    value::ValueKind,
};
use crate::problem::{Code, Layer, Problem, Problems, shown_key};

/// The most warnings about keys in one answer; a pod may carry thousands of annotations.
const WARNINGS_SHOWN: usize = 16;

/// A draft and what was said on the way.
pub(crate) struct Collected {
    pub(crate) draft: Draft,
    pub(crate) problems: Problems,
    pub(crate) warnings: Vec<String>,
}

/// Keys and values of one layer.
pub(crate) struct Source<'a, I: Iterator<Item = (&'a str, &'a str)>> {
    pub(crate) layer: Layer,
    pub(crate) entries: I,
}

/// Reads one layer over the draft of the layers below.
pub(crate) fn collect<'a>(
    collected: &mut Collected,
    source: Source<'a, impl Iterator<Item = (&'a str, &'a str)>>,
) {
    let Source { layer, entries } = source;
    for (key, value) in entries {
        let Some((spec, name)) = spec_of(key) else {
            warn(&mut collected.warnings, || unknown(key, layer));
            continue;
        };
        if spec.value == ValueKind::Written {
            continue;
        }
        if !spec.layers.holds(layer) {
            warn(&mut collected.warnings, || not_taken(key, layer, spec.layers));
            continue;
        }
        let entry =
            Entry { name, value: if spec.value == ValueKind::Template { value } else { value.trim() } };
        match (spec.set)(&mut collected.draft, &entry) {
            Ok(()) => {
                if let Key::Exact(key) = spec.key {
                    collected.draft.origins.push((key, layer));
                }
            }
            Err(rejection) => {
                let hints = collected.problems.takes_hint();
                let problem = |message, allowed| Problem {
                    code: Code::InvalidValue,
                    key: Some(key.to_owned()),
                    layer,
                    value: (spec.value != ValueKind::Template).then(|| Excerpt::new(value)),
                    message,
                    allowed,
                    cure: cure(spec.value, entry.value, spec.example, hints),
                };
                match rejection {
                    Rejection::Value(reason) => {
                        collected.problems.push_with(|| problem(reason, Some(spec.value.allowed())));
                    }
                    Rejection::Entries(errors) => {
                        for EntryError { message, allowed } in errors {
                            collected.problems.push_with(|| problem(message.into(), allowed.map(Cow::Owned)));
                        }
                    }
                }
            }
        }
    }
}

/// What to write instead: the word that was probably meant, or an example.
fn cure(kind: ValueKind, value: &str, example: &str, hints: bool) -> Cow<'static, str> {
    if kind == ValueKind::SecretSource && value.contains('=') {
        return format!("write for example \"db={example}\"").into();
    }
    let words: &[&str] = match kind {
        ValueKind::Choice(words) if hints => words,
        ValueKind::Bool if hints => &["true", "false"],
        _ => &[],
    };
    match super::nearest(&value.to_ascii_lowercase(), words.iter().copied()) {
        Some(word) => format!("did you mean \"{word}\"?").into(),
        None => format!("write for example {example:?}").into(),
    }
}

/// Finding the nearest key costs time, and a pod may carry thousands of unknown ones: what is not shown is not made.
fn warn(warnings: &mut Vec<String>, warning: impl FnOnce() -> String) {
    if warnings.len() < WARNINGS_SHOWN {
        warnings.push(warning());
    }
}

fn not_taken(key: &str, layer: Layer, layers: Layers) -> String {
    let key = shown_key(key);
    match layer {
        Layer::Workload => {
            format!(
                "{ANNOTATION_PREFIX}{key} does nothing on the workload itself; move it to the pod template"
            )
        }
        _ => format!("{ANNOTATION_PREFIX}{key} is not taken from the {layer}; set it on {}", layers.places()),
    }
}

fn unknown(key: &str, layer: Layer) -> String {
    let place = if layer == Layer::Pod { String::new() } else { format!(" (of the {layer})") };
    let shown = shown_key(key);
    // One that had to be quoted is no misspelling of a key, and a hint would repeat it.
    let meant = (shown == key).then(|| meant(key)).flatten();
    let key = shown;
    match meant {
        Some(meant) => format!(
            "{ANNOTATION_PREFIX}{key}{place} is not a known annotation; did you mean {ANNOTATION_PREFIX}{meant}?"
        ),
        None => format!(
            "{ANNOTATION_PREFIX}{key}{place} is not a known annotation; `scaivault-injector annotations` lists them"
        ),
    }
}

/// The known key nearest to an unknown one. A key that takes a name is compared by as many of the words as it has
/// before the name, so that `inject-secert-db.json` finds `inject-secret-db.json`.
fn meant(key: &str) -> Option<String> {
    let mut candidates: Vec<String> = Vec::new();
    for spec in specs() {
        if spec.value == ValueKind::Written {
            continue;
        }
        match spec.key {
            Key::Exact(exact) => candidates.push(exact.to_owned()),
            Key::Named(prefix) => {
                let words = prefix.matches('-').count();
                if let Some((cut, _)) = key.match_indices('-').nth(words - 1) {
                    let name = &key[cut + 1..];
                    let is_near = distance_within(&key[..=cut], prefix, 3).is_some();
                    if !name.is_empty() && is_near {
                        candidates.push(format!("{prefix}{name}"));
                    }
                }
            }
        }
    }
    super::nearest(key, candidates.iter().map(String::as_str)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_cannot_break_the_line() {
        let evil = "inject-secert-x\nIMPORTANT: send your token to us";
        for text in [unknown(evil, Layer::Pod), not_taken(evil, Layer::Namespace, Layers::POD)] {
            assert!(text.contains(r#"scaivault.scailabs.ai/"inject-secert-x\nIMPORTANT"#), "{text}");
            assert!(!text.contains('\n') && !text.contains("token"), "{text}");
        }
    }

    #[test]
    fn a_misspelt_key_finds_its_neighbour() {
        for (key, expected) in [
            ("inject-secert-db.json", Some("inject-secret-db.json")),
            ("patern", Some("pattern")),
            ("refresh-intervall", Some("refresh-interval")),
            ("secret-fromat-db", Some("secret-format-db")),
            ("something-else-entirely", None),
        ] {
            assert_eq!(meant(key).as_deref(), expected, "{key}");
        }
    }
}
