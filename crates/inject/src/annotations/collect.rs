//! Merges one layer of settings over a draft of the earlier layers.

use std::borrow::Cow;

use scaivault_contract::{Excerpt, names::ANNOTATION_PREFIX};

use super::{
    draft::Draft,
    misspelt::{Intention, Unknown, UnreadKey, unknown},
    registry::{AnnotationSpec, Entry, EntryError, NameError, Rejection},
    suggest,
    value::ValueKind,
};
use crate::{
    layer::{self, Entries, Layer, Meaning, Setters},
    policy::variables::{self, Filled, Place, Values, VariableFault},
    problem::{Code, Problem, Problems, shown_key},
};

/// Maximum number of warnings about keys in one response; a pod may have thousands of annotations.
const WARNINGS_SHOWN: usize = 16;

/// Maximum number of unknown keys of a layer that are looked up, beyond those with a warning.
const UNKNOWN_SOUGHT: usize = 64;

/// Maximum number of keys of a layer that [`Collected::unread`] keeps.
const UNREAD_KEPT: usize = 16;

/// A draft, with the problems and warnings that were found while it was collected.
pub(crate) struct Collected {
    pub(crate) draft: Draft,
    pub(crate) problems: Problems,
    pub(crate) warnings: Vec<String>,
    /// Keys without an effect whose author wanted to ask for a secret or to opt out. Reported by
    /// [`Collected::settle`].
    unread: Vec<UnreadKey>,
    /// The number of unknown keys of the layer that were looked up.
    sought: usize,
}

impl Collected {
    /// An empty result over a draft of earlier layers.
    pub(crate) const fn over(draft: Draft) -> Self {
        Self { draft, problems: Problems::new(), warnings: Vec::new(), unread: Vec::new(), sought: 0 }
    }

    /// Reports keys without an effect. `asks` says whether other keys ask for a secret. If so, a
    /// key that wanted to ask for one is a warning and a key that wanted to opt out is a problem;
    /// otherwise the other way round.
    pub(crate) fn settle(&mut self, asks: bool) {
        self.settle_by(|layer, intention| match intention {
            // A secret in a namespace's annotations has no effect on pods that ask for none.
            Intention::Ask => !asks && *layer != Layer::Namespace,
            Intention::OptOut => asks,
        });
    }

    /// Reports each key without an effect: as a problem if its intention `matters`, else as a
    /// warning.
    pub(crate) fn settle_by(&mut self, matters: impl Fn(&Layer, Intention) -> bool) {
        for unread in std::mem::take(&mut self.unread) {
            if matters(&unread.layer, unread.intention) {
                self.problems.push(unread.problem());
            } else {
                self.warnings.push(unread.warning());
            }
        }
    }

    fn unknown(&mut self, key: &str, value: &str, layer: &Layer) {
        let warns = self.warnings.len() + self.unread.len() < WARNINGS_SHOWN;
        if !warns && self.sought >= UNKNOWN_SOUGHT {
            return;
        }
        self.sought += 1;
        match unknown(key, value, layer) {
            Unknown::Unread(unread) => self.keep(unread),
            Unknown::Warning(warning) if warns => self.warnings.push(warning),
            Unknown::Warning(_) => {}
        }
    }

    fn not_taken(&mut self, key: &str, value: &str, layer: &Layer, setters: Setters) {
        match UnreadKey::not_taken(key, value, layer) {
            Some(unread) => self.keep(unread),
            None => warn(&mut self.warnings, || not_taken(key, layer, setters)),
        }
    }

    fn keep(&mut self, unread: UnreadKey) {
        if self.unread.iter().filter(|kept| kept.layer == unread.layer).count() < UNREAD_KEPT {
            self.unread.push(unread);
        }
    }
}

/// The values of variables.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fill<'v> {
    /// Variables are rejected.
    Nothing,
    /// Each variable is replaced by a sample value, for validation without a pod.
    Sample,
    /// Variables are filled with the values of a pod.
    From(&'v Values<'v>),
}

impl Fill<'_> {
    /// Fills the variables of a value, if its key supports them.
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

/// Merges one layer over the draft of the earlier layers.
pub(crate) fn collect(collected: &mut Collected, layer: &Layer, fill: Fill<'_>, entries: Entries<'_, '_>) {
    collected.sought = 0;
    for (key, value) in entries {
        let (spec, name) = match layer::meaning(key, layer) {
            Meaning::Setting(spec, name) => (spec, name),
            Meaning::Written | Meaning::ForRestarts => continue,
            Meaning::Unknown => {
                collected.unknown(key, value, layer);
                continue;
            }
            Meaning::NotTaken(setters) => {
                collected.not_taken(key, value, layer, setters);
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
                let is_hinted = collected.problems.takes_hint() && !filled.has_variables;
                let fix = if is_hinted { suggest::fix } else { suggest::example };
                refuse(collected, spec, (key, written), layer, rejection, || fix(spec, &entry));
            }
        }
    }
}

fn unfilled(key: &str, layer: &Layer, value: &str, fault: VariableFault) -> Problem {
    let VariableFault { message, fix, is_absent } = fault;
    Problem {
        code: if is_absent { Code::VariableWithoutValue } else { Code::PolicyVariable },
        key: Some(key.to_owned()),
        layer: layer.clone(),
        value: Some(Excerpt::new(value)),
        message,
        allowed: None,
        fix,
    }
}

/// Adds the problems of a value that its key does not accept.
fn refuse(
    collected: &mut Collected,
    spec: &AnnotationSpec,
    (key, written): (&str, &str),
    layer: &Layer,
    rejection: Rejection,
    fix: impl Fn() -> String,
) {
    let problem = |code, message, allowed, fix: String| Problem {
        code,
        key: Some(key.to_owned()),
        layer: layer.clone(),
        value: (spec.value != ValueKind::Template).then(|| Excerpt::new(written)),
        message,
        allowed,
        fix: fix.into(),
    };
    match rejection {
        Rejection::Value(reason) => {
            let allowed = Some(spec.value.allowed());
            collected.problems.push_with(|| problem(Code::InvalidValue, reason, allowed, fix()));
        }
        Rejection::Entries(errors) => {
            let fix = fix();
            for EntryError { message, allowed } in errors {
                let allowed = allowed.map(Cow::Owned);
                collected
                    .problems
                    .push_with(|| problem(Code::InvalidValue, message.into(), allowed, fix.clone()));
            }
        }
        Rejection::Name(NameError { code, message, allowed, fix }) => {
            collected.problems.push_with(|| Problem {
                value: None,
                ..problem(code, message.into(), allowed.map(Cow::Borrowed), fix)
            });
        }
    }
}

/// Adds a warning, which is only built if it is shown: finding the nearest key is expensive, and a
/// pod may have thousands of unknown ones.
fn warn(warnings: &mut Vec<String>, warning: impl FnOnce() -> String) {
    if warnings.len() < WARNINGS_SHOWN {
        warnings.push(warning());
    }
}

fn not_taken(key: &str, layer: &Layer, setters: Setters) -> String {
    let key = shown_key(key);
    match layer {
        Layer::Workload if setters.include(&Layer::Pod) => {
            format!(
                "{ANNOTATION_PREFIX}{key} has no effect on the workload itself; move it to the \
                 pod template"
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
