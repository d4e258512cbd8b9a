//! Applies the workload's own `mutation-mode` to its pod template.
//!
//! The patch changes only the injector's annotations in the template. The key `workload-mutation-mode`
//! there is reserved for the injector.
//!
//! | mode | on CREATE | on UPDATE |
//! |---|---|---|
//! | `ignore` | nothing was injected before: the template gets `ignore` | the injector's keys are reset to those of the former template; the template gets `ignore` if it had a mode before (nothing was injected), else none (the injection remains) |
//! | `ignore-and-detach` | the template gets the mode | the same |
//! | none | a mode in the template is removed | the same |
//! | misspelt | a mode in the template is removed | the template keeps its mode: a typing error neither opts out nor injects again |

use std::{borrow::Cow, collections::BTreeMap, iter};

use scaivault_contract::names::ANNOTATION_PREFIX;

use super::{Former, WorkloadView, view::Parents};
use crate::{
    annotations::{AnnotationSpec, ValueKind, spec_of},
    mutation_mode::{MUTATION_MODE, MutationMode, WORKLOAD_MUTATION_MODE},
    patch::{ANNOTATIONS, Operation, Patch, Value, annotation_pointer},
    problem::shown_key,
};

/// Maximum length of a list of keys in a warning, in characters. With the words before it, a
/// warning has about the 120 characters that Kubernetes recommends.
const KEYS_SHOWN: usize = 76;

/// The change of a workload's pod template.
#[derive(Clone, Debug, PartialEq)]
pub struct Adjustment {
    /// The reason.
    pub reason: AdjustmentReason,
    /// The patch, with paths from the workload's root; empty if nothing changes.
    pub patch: Patch,
    /// Warnings for the user who applies the workload.
    pub warnings: Vec<String>,
}

/// Why a template is changed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdjustmentReason {
    /// Keys of the injector were reset to their former values.
    Frozen,
    /// The template gets the workload's mode.
    Carried,
    /// The workload has no mode any more, and it is removed from the template.
    Cleared,
    /// The template is already in the required state.
    InStep,
    /// The template would have to change, but it belongs to a Job that may have run, so it is
    /// immutable.
    FixedTemplate,
    /// The former workload cannot be read.
    UnknownFormer,
    /// The workload is being deleted.
    Deleting,
}

impl AdjustmentReason {
    /// Every reason, for metrics and documentation.
    pub const ALL: &'static [Self] = &[
        Self::Frozen,
        Self::Carried,
        Self::Cleared,
        Self::InStep,
        Self::FixedTemplate,
        Self::UnknownFormer,
        Self::Deleting,
    ];

    /// The outcome's name in logs, metrics and audit annotations.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Frozen | Self::Carried | Self::Cleared => "adjusted",
            Self::InStep | Self::FixedTemplate | Self::UnknownFormer | Self::Deleting => "accepted",
        }
    }

    /// The reason's name in logs, metrics and audit annotations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Carried => "mode-carried",
            Self::Cleared => "mode-cleared",
            Self::InStep => "in-step",
            Self::FixedTemplate => "fixed-template",
            Self::UnknownFormer => "unknown-former",
            Self::Deleting => "deleting",
        }
    }
}

/// Applies the workload's own `mutation-mode` to its pod template. Total: an impossible change becomes a
/// warning.
///
/// An annotations map that becomes empty is not removed, because it is equivalent to none for the
/// API server.
pub fn adjust(workload: &WorkloadView<'_>, former: Former<'_, '_>) -> Adjustment {
    let unchanged = |reason, warnings| Adjustment { reason, patch: Patch::default(), warnings };
    if workload.is_deleting {
        return unchanged(AdjustmentReason::Deleting, Vec::new());
    }
    if let Former::Unknown = former {
        let warning = "mutation-mode is not applied: the request does not contain the previous workload";
        return unchanged(AdjustmentReason::UnknownFormer, vec![warning.to_owned()]);
    }
    let mut edits = Edits::default();
    let mut warnings = Vec::new();
    let was_frozen = match former {
        Former::Workload(former) if workload.mutation_mode() == Some(MutationMode::Ignore) => {
            edits.put_back(workload, former, &mut warnings)
        }
        _ => false,
    };
    let mut wanted = carried(workload, former);
    let mut is_fixed = false;
    if let Former::Workload(former) = former
        && former.is_template_fixed
    {
        let there = former.carried_mode().map(Cow::Borrowed);
        is_fixed = wanted != there;
        wanted = there;
    }
    if is_fixed {
        warnings.push(
            "the pod template of a job that has started cannot change: delete and create the job to change its mutation-mode"
                .to_owned(),
        );
    }
    let reason = match (workload.carried_mode(), wanted.as_deref()) {
        _ if is_fixed => AdjustmentReason::FixedTemplate,
        _ if was_frozen => AdjustmentReason::Frozen,
        (there, wanted) if there == wanted => AdjustmentReason::InStep,
        (_, Some(_)) => AdjustmentReason::Carried,
        (_, None) => AdjustmentReason::Cleared,
    };
    edits.change(WORKLOAD_MUTATION_MODE, workload.carried_mode(), wanted.as_deref());
    Adjustment { reason, patch: edits.patch(workload), warnings }
}

/// The mode that the template must have.
fn carried<'v>(workload: &'v WorkloadView<'_>, former: Former<'v, '_>) -> Option<Cow<'v, str>> {
    let there = workload.carried_mode();
    let mode = match (workload.own(MUTATION_MODE), workload.mutation_mode(), former) {
        (Some(_), Some(MutationMode::Ignore), Former::Workload(former)) => {
            former.carried_mode().map(|_| MutationMode::Ignore)
        }
        (Some(_), Some(mode), _) => Some(mode),
        (Some(_), None, Former::Workload(former)) => return former.carried_mode().map(Cow::Borrowed),
        _ => None,
    };
    // The template got the CronJob's mode, which the Job's own mode cannot weaken.
    let inherited = there.filter(|_| workload.is_from_cron_job).and_then(|mode| mode.parse().ok());
    mode.max(inherited).map(|mode| Cow::Borrowed(mode.name()))
}

/// Changes of the injector's annotations in the template.
#[derive(Default)]
struct Edits<'a> {
    /// Sorted by key without the prefix: the new value, or `None` to remove the annotation.
    changes: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Edits<'a> {
    /// Resets the template's annotations, except those that the injector writes: they describe the
    /// template's containers, which stay as applied. Returns whether anything was reset.
    fn put_back(
        &mut self,
        workload: &'a WorkloadView<'_>,
        former: &'a WorkloadView<'_>,
        warnings: &mut Vec<String>,
    ) -> bool {
        let (mut added, mut removed, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        for (key, now, before) in pairs(wishes(workload), wishes(former)) {
            self.change(key, now, before);
            match (now, before) {
                (Some(_), None) => added.push(key),
                (None, _) => removed.push(key),
                _ if now != before => changed.push(key),
                _ => {}
            }
        }
        for (what, keys) in [("not added", &added), ("not removed", &removed), ("not changed", &changed)] {
            if !keys.is_empty() {
                warnings.push(format!("frozen by mutation-mode: ignore; {what}: {}", listed(keys)));
            }
        }
        !(added.is_empty() && removed.is_empty() && changed.is_empty())
    }

    fn change(&mut self, key: &'a str, from: Option<&str>, to: Option<&'a str>) {
        if from != to {
            let place = self.changes.partition_point(|(other, _)| *other < key);
            self.changes.insert(place, (key, to));
        }
    }

    fn patch(self, workload: &WorkloadView<'_>) -> Patch {
        let pointer = workload.kind.template_pointer();
        Patch::new(self.operations(workload)).below(pointer)
    }

    fn operations(self, workload: &WorkloadView<'_>) -> Vec<Operation> {
        if self.changes.is_empty() {
            return Vec::new();
        }
        let annotations = |changes: Vec<(&str, Option<&str>)>| {
            let members = changes.into_iter().filter_map(|(key, value)| {
                Some((format!("{ANNOTATION_PREFIX}{key}"), Value::Text(value?.to_owned())))
            });
            Value::Object(members.collect())
        };
        match workload.template_parents {
            Parents::Annotations => self.changes.into_iter().map(operation).collect(),
            Parents::Metadata => {
                vec![Operation::Add { path: ANNOTATIONS.to_owned(), value: annotations(self.changes) }]
            }
            Parents::Neither => {
                let metadata = BTreeMap::from([("annotations".to_owned(), annotations(self.changes))]);
                vec![Operation::Add { path: "/metadata".to_owned(), value: Value::Object(metadata) }]
            }
        }
    }
}

/// One change of an existing annotations map.
fn operation((key, value): (&str, Option<&str>)) -> Operation {
    let path = annotation_pointer(key);
    match value {
        // An `add` to an existing member replaces it.
        Some(value) => Operation::Add { path, value: Value::Text(value.to_owned()) },
        None => Operation::Remove { path },
    }
}

/// The template's annotations that users write, and not the injector. Those about restarts inject nothing.
fn wishes<'v>(workload: &'v WorkloadView<'_>) -> impl Iterator<Item = (&'v str, &'v str)> {
    workload.template.annotations().filter(|(key, _)| {
        let is_wish = |spec: &AnnotationSpec| spec.value != ValueKind::Written && !spec.key.is_for_restarts();
        spec_of(key).is_none_or(|(spec, _)| is_wish(spec))
    })
}

/// The keys of two sorted lists, each with its value in the first and in the second. One pass over
/// both, because an object may have thousands of keys.
fn pairs<'v>(
    one: impl Iterator<Item = (&'v str, &'v str)>,
    other: impl Iterator<Item = (&'v str, &'v str)>,
) -> impl Iterator<Item = (&'v str, Option<&'v str>, Option<&'v str>)> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    iter::from_fn(move || {
        let keys = [one.peek(), other.peek()].map(|entry| entry.map(|(key, _)| *key));
        let key = keys.into_iter().flatten().min()?;
        let [one, other] = [one.next_if(|(next, _)| *next == key), other.next_if(|(next, _)| *next == key)];
        Some((key, one.map(|(_, value)| value), other.map(|(_, value)| value)))
    })
}

/// As many keys as fit into a warning, at least one.
fn listed(keys: &[&str]) -> String {
    let mut text = String::new();
    for (index, key) in keys.iter().enumerate() {
        let key = shown_key(key);
        if index > 0 && text.len() + key.len() > KEYS_SHOWN {
            return format!("{text} and {} more", keys.len() - index);
        }
        text.push_str(if index > 0 { ", " } else { "" });
        text.push_str(&key);
    }
    text
}
