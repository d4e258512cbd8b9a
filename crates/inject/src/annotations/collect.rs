//! One layer of settings, merged over a draft of the layers before it.

use std::borrow::Cow;

use scaivault_contract::{Excerpt, names::ANNOTATION_PREFIX};

use super::{
    draft::Draft,
    key::Key,
    nearest::distance_within,
    registry::{Entry, EntryError, Rejection, specs},
    value::ValueKind,
};
use crate::{
    layer::{self, Entries, Layer, Meaning, Setters},
    problem::{Code, Problem, Problems, shown_key},
};

/// The most warnings about keys in one answer; a pod may carry thousands of annotations.
const WARNINGS_SHOWN: usize = 16;

/// A draft and what was said on the way.
pub(crate) struct Collected {
    pub(crate) draft: Draft,
    pub(crate) problems: Problems,
    pub(crate) warnings: Vec<String>,
}

impl Collected {
    /// Nothing yet, over the layers that a draft holds.
    pub(crate) const fn over(draft: Draft) -> Self {
        Self { draft, problems: Problems::new(), warnings: Vec::new() }
    }
}

/// Reads one layer over the draft of the layers before it.
pub(crate) fn collect(collected: &mut Collected, layer: &Layer, entries: Entries<'_, '_>) {
    for (key, value) in entries {
        let (spec, name) = match layer::meaning(key, layer) {
            Meaning::Setting(spec, name) => (spec, name),
            Meaning::Written => continue,
            Meaning::Unknown => {
                warn(&mut collected.warnings, || unknown(key, layer));
                continue;
            }
            Meaning::NotTaken(setters) => {
                warn(&mut collected.warnings, || not_taken(key, layer, setters));
                continue;
            }
        };
        let entry =
            Entry { name, value: if spec.value == ValueKind::Template { value } else { value.trim() } };
        match (spec.set)(&mut collected.draft, &entry) {
            Ok(()) => collected.draft.origins.set(spec.key, name, layer),
            Err(rejection) => {
                let hints = collected.problems.takes_hint();
                let problem = |message, allowed| Problem {
                    code: Code::InvalidValue,
                    key: Some(key.to_owned()),
                    layer: layer.clone(),
                    value: (spec.value != ValueKind::Template).then(|| Excerpt::new(value)),
                    message,
                    allowed,
                    cure: cure(spec.value, entry.value, spec.example(), hints),
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

fn not_taken(key: &str, layer: &Layer, setters: Setters) -> String {
    let key = shown_key(key);
    match layer {
        Layer::Workload => {
            format!(
                "{ANNOTATION_PREFIX}{key} does nothing on the workload itself; move it to the pod template"
            )
        }
        _ => {
            format!("{ANNOTATION_PREFIX}{key} is not taken from the {layer}; set it on {}", setters.places())
        }
    }
}

fn unknown(key: &str, layer: &Layer) -> String {
    let place = if *layer == Layer::Pod { String::new() } else { format!(" (of the {layer})") };
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
            Key::Exact(exact) => candidates.push(exact.text().to_owned()),
            Key::Named(named) => {
                let prefix = named.text();
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
        for text in [unknown(evil, &Layer::Pod), not_taken(evil, &Layer::Namespace, Setters::Pod)] {
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
