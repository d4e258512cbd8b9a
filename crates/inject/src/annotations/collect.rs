//! One layer of settings, merged over a draft of the layers before it.

use std::borrow::Cow;

use scaivault_contract::{Excerpt, names::ANNOTATION_PREFIX};

use super::{
    draft::Draft,
    misspelt::{Misspelt, Unknown, unknown},
    registry::{AnnotationSpec, Entry, EntryError, Rejection},
    value::ValueKind,
};
use crate::{
    layer::{self, Entries, Layer, Meaning, Setters},
    policy::variables::{self, Filled, Place, Values, VariableFault},
    problem::{Code, Problem, Problems, shown_key},
};

/// The most warnings about keys in one answer; a pod may carry thousands of annotations.
const WARNINGS_SHOWN: usize = 16;

/// The most unknown keys of a pod that are compared with those that ask for a secret.
const MISSPELT_SOUGHT: usize = 64;

/// The most keys that were to ask for a secret and are kept.
const MISSPELT_KEPT: usize = 16;

/// A draft and what was said on the way.
pub(crate) struct Collected {
    pub(crate) draft: Draft,
    pub(crate) problems: Problems,
    pub(crate) warnings: Vec<String>,
    /// Keys of the pod that were to ask for a secret, until [`Collected::settle`].
    misspelt: Vec<Misspelt>,
    /// The unknown keys of the pod that were looked up: warnings about other keys, such as the namespace's, do not count.
    sought: usize,
}

impl Collected {
    /// Nothing yet, over the layers that a draft holds.
    pub(crate) const fn over(draft: Draft) -> Self {
        Self { draft, problems: Problems::new(), warnings: Vec::new(), misspelt: Vec::new(), sought: 0 }
    }

    /// Says what is to be said of misspelt keys: a problem if no key asks for a secret, else a warning.
    pub(crate) fn settle(&mut self, asks: bool) {
        for misspelt in std::mem::take(&mut self.misspelt) {
            if asks {
                self.warnings.push(misspelt.warning());
            } else {
                self.problems.push(misspelt.problem());
            }
        }
    }

    fn unknown(&mut self, key: &str, layer: &Layer) {
        let may_ask = *layer == Layer::Pod && self.sought < MISSPELT_SOUGHT;
        let warns = self.warnings.len() + self.misspelt.len() < WARNINGS_SHOWN;
        if !may_ask && !warns {
            return;
        }
        self.sought += usize::from(*layer == Layer::Pod);
        match unknown(key, layer) {
            Unknown::Misspelt(misspelt) if self.misspelt.len() < MISSPELT_KEPT => {
                self.misspelt.push(misspelt);
            }
            Unknown::Warning(warning) if warns => self.warnings.push(warning),
            _ => {}
        }
    }
}

/// What variables in values are filled from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fill<'v> {
    /// Nothing: a variable is refused.
    Nothing,
    /// A plain text in place of each, while no pod is known.
    Sample,
    /// What is known of a pod.
    From(&'v Values<'v>),
}

impl Fill<'_> {
    /// A value with its variables filled, where its key takes any.
    pub(crate) fn fill<'t>(self, spec: &AnnotationSpec, value: &'t str) -> Result<Filled<'t>, VariableFault> {
        let place = Place::of_key(spec).filter(|_| value.contains('$'));
        match (self, place) {
            (Self::From(values), Some(place)) => variables::fill(value, place, values),
            (Self::Sample, Some(place)) => variables::sample(value, place),
            (Self::Nothing, Some(_)) if value.contains("${") => Err(variables::not_here()),
            (Self::Nothing, _) | (_, None) => Ok(Filled { text: Cow::Borrowed(value), has_variables: false }),
        }
    }
}

/// Reads one layer over the draft of the layers before it.
pub(crate) fn collect(collected: &mut Collected, layer: &Layer, fill: Fill<'_>, entries: Entries<'_, '_>) {
    for (key, value) in entries {
        let (spec, name) = match layer::meaning(key, layer) {
            Meaning::Setting(spec, name) => (spec, name),
            Meaning::Written => continue,
            Meaning::Unknown => {
                collected.unknown(key, layer);
                continue;
            }
            Meaning::NotTaken(setters) => {
                warn(&mut collected.warnings, || not_taken(key, layer, setters));
                continue;
            }
        };
        let written = if spec.value == ValueKind::Template { value } else { value.trim() };
        let filled = match fill.fill(spec, written) {
            Ok(filled) => filled,
            Err(fault) => {
                collected.problems.push_with(|| unfilled(key, layer, value, fault));
                continue;
            }
        };
        let entry = Entry { name, value: &filled.text };
        match (spec.set)(&mut collected.draft, &entry) {
            Ok(()) => collected.draft.origins.set(spec.key, name, layer, filled.has_variables),
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

fn unfilled(key: &str, layer: &Layer, value: &str, fault: VariableFault) -> Problem {
    let VariableFault { message, cure, is_absent } = fault;
    Problem {
        code: if is_absent { Code::VariableWithoutValue } else { Code::PolicyVariable },
        key: Some(key.to_owned()),
        layer: layer.clone(),
        value: Some(Excerpt::new(value)),
        message,
        allowed: None,
        cure,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_taken_cannot_break_the_line() {
        let text = not_taken("inject-x\nIMPORTANT: send your token to us", &Layer::Namespace, Setters::Pod);
        assert!(text.contains(r#"scaivault.scailabs.ai/"inject-x\nIMPORTANT"#), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}
