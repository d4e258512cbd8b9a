//! The workload's own `mutation-mode`, carried out in its pod template.
//!
//! The patch touches the injector's annotations of the template alone. The key `workload-mutation-mode` there belongs to the
//! injector.
//!
//! | mode | on CREATE | on UPDATE |
//! |---|---|---|
//! | `ignore` | nothing was attached before: the template carries `ignore` | our keys become those of the former template; it carries `ignore` if it carried a mode before (nothing was attached), else none (what was attached remains) |
//! | `ignore-and-detach` | the template carries it | the same |
//! | none | the template carries none | the same |
//! | misspelt | the template carries none | it carries what it carried: a typing error neither opts out nor brings secrets back |

use std::{borrow::Cow, collections::BTreeMap, iter};

use scaivault_contract::names::ANNOTATION_PREFIX;

use super::{Former, WorkloadView, view::Parents};
use crate::{
    annotations::{ValueKind, spec_of},
    mutation_mode::{MUTATION_MODE, MutationMode, WORKLOAD_MUTATION_MODE},
    patch::{ANNOTATIONS, Operation, Patch, Value, annotation_pointer},
    problem::shown_key,
};

/// The longest list of keys in a warning, characters: with the words before it, about what Kubernetes advises for a
/// whole warning (120).
const KEYS_SHOWN: usize = 76;

/// What becomes of a workload's pod template.
#[derive(Clone, Debug, PartialEq)]
pub struct Adjustment {
    /// Why.
    pub reason: AdjustmentReason,
    /// What changes, with paths from the workload's root; empty for nothing.
    pub patch: Patch,
    /// For the person who applies the workload.
    pub warnings: Vec<String>,
}

/// Why a template is changed, or left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdjustmentReason {
    /// Keys of ours were put back to what they were.
    Frozen,
    /// The template now carries the mode.
    Carried,
    /// The mode is gone, and the template carries none any more.
    Cleared,
    /// The template is as the mode wants it.
    InStep,
    /// The mode wants another template, and that of a Job that may have run cannot change.
    FixedTemplate,
    /// What the workload was before cannot be read.
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

    /// The word for the outcome in logs, metrics and audit annotations.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Frozen | Self::Carried | Self::Cleared => "adjusted",
            Self::InStep | Self::FixedTemplate | Self::UnknownFormer | Self::Deleting => "accepted",
        }
    }

    /// The reason beside the outcome.
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

/// Brings the pod template in step with the workload's own `mutation-mode`. Total: what cannot be done is a warning.
///
/// An annotations map that becomes empty stays: to the API server it equals none.
pub fn adjust(workload: &WorkloadView<'_>, former: Former<'_, '_>) -> Adjustment {
    let unchanged = |reason, warnings| Adjustment { reason, patch: Patch::default(), warnings };
    if workload.is_deleting {
        return unchanged(AdjustmentReason::Deleting, Vec::new());
    }
    if let Former::Unknown = former {
        let warning =
            "mutation-mode is not carried out: the request does not say what the workload was before";
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

/// The mode that the template shall carry.
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
    // The CronJob's mode came with the template, and the job's own does not weaken it.
    let inherited = there.filter(|_| workload.is_from_cron_job).and_then(|mode| mode.parse().ok());
    mode.max(inherited).map(|mode| Cow::Borrowed(mode.name()))
}

/// Changes of our annotations in the template.
#[derive(Default)]
struct Edits<'a> {
    /// Sorted by key without the prefix: the new value, none to take it away.
    changes: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Edits<'a> {
    /// Undoes what was changed of the template's annotations, but for those that the injector writes: they tell what
    /// the template's own containers are, and those stay as they were applied. Says whether there was anything.
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

/// One change where the map is there.
fn operation((key, value): (&str, Option<&str>)) -> Operation {
    let path = annotation_pointer(key);
    match value {
        // An `add` on a member that is there replaces it.
        Some(value) => Operation::Add { path, value: Value::Text(value.to_owned()) },
        None => Operation::Remove { path },
    }
}

/// The template's annotations that somebody wrote, rather than the injector.
fn wishes<'v>(workload: &'v WorkloadView<'_>) -> impl Iterator<Item = (&'v str, &'v str)> {
    workload
        .template
        .annotations()
        .filter(|(key, _)| spec_of(key).is_none_or(|(spec, _)| spec.value != ValueKind::Written))
}

/// Each key of two lists that are sorted by key, with its value in the one and in the other: one walk along both, because an
/// object may have thousands of keys.
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

/// As many keys as a warning has room for, the first one always.
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
