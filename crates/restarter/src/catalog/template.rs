//! The cached part of a workload. Its owner controls most of it, so its size is limited: texts of patterns
//! and markers are not kept, and a namespace has a budget for the other texts.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    ByName, SourceObject,
    reference::{Reference, SharedChoice},
};
use crate::{
    choice::{Annotations, Candidate, Choice, ChosenNames, Selection, is_chosen_by},
    marker::{MarkedVersions, SECRETS_MAX},
    observe::State,
    source::{SourceId, SourceKind, SourceRef, Sources, digest},
    window::Window,
    workload::{Agreement, Delivery, Mode, NotFollowed},
};

/// Maximum size of the cached names and annotations of a namespace's workloads, in bytes.
pub(super) const NAMESPACE_TEXT_MAX: usize = 4 * 1024 * 1024;
/// Maximum size of the annotations about restarts of a workload and its template, in bytes.
const ANNOTATIONS_MAX: usize = 32 * 1024;
/// Maximum size of the message about invalid annotations, in bytes.
const PROBLEM_MAX: usize = 1024;

/// The cached part of a workload.
#[derive(Debug, Default)]
pub(super) struct Template {
    pub(super) uid: Box<str>,
    pub(super) resource_version: Box<str>,
    /// What it was read from; `None` if its next event must be read completely.
    pub(super) read: Option<ReadFrom>,
    pub(super) state: State,
    pub(super) choice: ResolvedChoice,
    /// The secrets of ScaiVault, and whether a sidecar refreshes them.
    pub(super) vault: Vec<(SourceId, bool)>,
    /// Native Secrets that the template uses, sorted.
    pub(super) secrets: Vec<Arc<str>>,
    /// Classes that the template mounts, sorted.
    pub(super) classes: Vec<Arc<str>>,
    /// Delivered secrets that are not followed.
    pub(super) not_followed: NotFollowed,
    pub(super) marker: Option<MarkedVersions>,
    pub(super) shared: SharedChoice,
    pub(super) reference: Option<Box<Reference>>,
    /// Its share of the namespace's budget.
    pub(super) text_bytes: usize,
}

/// Identifies the generation and annotations of a workload. If they are unchanged, only its state is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadFrom {
    generation: i64,
    annotations: u64,
}

impl ReadFrom {
    /// Returns `None` if the object has no generation.
    pub(super) fn new(object: &Value, annotations: &Annotations) -> Option<Self> {
        let generation = object.pointer("/metadata/generation").and_then(Value::as_i64)?;
        let texts: Vec<&str> = annotations.iter().flat_map(|(key, value)| [&**key, &**value]).collect();
        Some(Self { generation, annotations: digest(&texts) })
    }
}

/// The choice for a workload, with its patterns compared with the names that its template uses.
#[derive(Debug, Default)]
pub(super) struct ResolvedChoice {
    pub(super) mode: Mode,
    pub(super) is_asked: bool,
    pub(super) is_canary: bool,
    pub(super) windows: Option<Arc<[Window]>>,
    pub(super) release: Box<str>,
    pub(super) problem: Box<str>,
    secrets: ChosenNames,
    classes: ChosenNames,
}

impl ResolvedChoice {
    pub(super) fn new(choice: Choice, secrets: &[Arc<str>], classes: &[Arc<str>]) -> Self {
        let Choice { mode, is_asked, is_canary, windows, release, mut problems, .. } = choice;
        let mut among = |what: &str, selection: &Selection, used: &[Arc<str>]| {
            selection.among(used).unwrap_or_else(|problem| {
                problems.push(format!("the selection of {what} {problem}"));
                ChosenNames::default()
            })
        };
        let secrets = among("native Secrets", &choice.secrets, secrets);
        let classes = among("SecretProviderClasses", &choice.classes, classes);
        let mut problem = problems.join("; ");
        problem.truncate(problem.floor_char_boundary(PROBLEM_MAX));
        let problem = problem.into();
        Self { mode, is_asked, is_canary, windows, release, problem, secrets, classes }
    }
}

/// The problem if the annotations about restarts are too long.
pub(super) fn too_long(workload: &Annotations, template: &Annotations) -> Option<String> {
    let chosen = workload.iter().chain(template).filter(|(key, _)| is_chosen_by(key));
    let bytes = chosen.map(|(key, value)| key.len() + value.len()).sum::<usize>();
    (bytes > ANNOTATIONS_MAX)
        .then(|| format!("the annotations about restarts have {bytes} bytes; allowed: {ANNOTATIONS_MAX}"))
}

impl Template {
    /// The size of all texts whose length the owner chooses, in bytes.
    pub(super) fn count_bytes(&self) -> usize {
        let names = self.secrets.iter().chain(&self.classes).map(|name| name.len()).sum::<usize>();
        let ResolvedChoice { problem, secrets, classes, .. } = &self.choice;
        let reference = self.reference.as_ref().map_or(0, |reference| reference.bytes());
        names + problem.len() + secrets.bytes() + classes.bytes() + self.shared.bytes() + reference
    }

    /// Removes all texts, because the namespace has too many.
    pub(super) fn drop_texts(&mut self) {
        for (kind, names) in [(SourceKind::Secret, &mut self.secrets), (SourceKind::Class, &mut self.classes)]
        {
            for name in std::mem::take(names) {
                self.not_followed.add(|| SourceRef { kind, name });
            }
        }
        (self.shared, self.reference) = (SharedChoice::too_long(), None);
        (self.choice.secrets, self.choice.classes) = (ChosenNames::default(), ChosenNames::default());
        self.choice.problem = format!(
            "the workloads of the namespace have too many Secrets and annotations about restarts; allowed: {NAMESPACE_TEXT_MAX} bytes"
        )
        .into();
    }

    /// Whether the annotations of one of these Secrets or classes may matter.
    pub(super) fn concerns(&self, changed: &super::ChangedNames) -> bool {
        self.choice.secrets.has_any(&changed.secrets) || self.choice.classes.has_any(&changed.classes)
    }

    /// The sources for which a workload with this template is restarted by `choice`, sorted, and those that
    /// are not followed because there are too many. Secrets that the template uses come first, then those
    /// that are only named.
    pub(super) fn deliveries(
        &self,
        namespace: &Arc<str>,
        choice: &ResolvedChoice,
        agreements: &BTreeMap<&str, Agreement>,
        (secrets, classes): (&ByName<SourceObject>, &ByName<SourceObject>),
        sources: &mut Sources,
    ) -> (Vec<Delivery>, NotFollowed) {
        let (secrets, classes) = (secrets.get(namespace), classes.get(namespace));
        let candidate = |known: Option<&BTreeMap<Arc<str>, SourceObject>>, name: &str| -> Candidate {
            known.and_then(|known| known.get(name)).map(|known| known.candidate).unwrap_or_default()
        };
        let mut not_followed = self.not_followed.clone();
        let vault = self.vault.iter().filter(|(_, is_refreshed)| !is_refreshed || choice.is_asked);
        let mut found: Vec<Delivery> =
            vault.map(|(source, _)| Delivery { source: *source, agreement: Agreement::NotAsked }).collect();
        let used_secrets = choice.secrets.used(|name| candidate(secrets, name));
        let used_classes = choice.classes.used(|name| candidate(classes, name));
        // A class that the template does not mount has no version for its pods.
        let unused = choice.secrets.unused(|name| candidate(secrets, name));
        let unused = unused.filter(|name| secrets.is_some_and(|known| known.contains_key(*name)));
        let named = used_secrets
            .map(|name| (SourceKind::Secret, name))
            .chain(used_classes.map(|name| (SourceKind::Class, name)))
            .chain(unused.map(|name| (SourceKind::Secret, name)));
        for (kind, name) in named {
            let source = SourceRef { kind, name: Arc::clone(name) };
            if found.len() >= SECRETS_MAX {
                not_followed.add(|| source);
                continue;
            }
            let id = sources.intern(namespace, &source);
            let agreement = match kind {
                SourceKind::Class => agreements.get(&**name).copied().unwrap_or(Agreement::Disagreeing(None)),
                SourceKind::Secret | SourceKind::ScaiVault => Agreement::NotAsked,
            };
            let known = secrets.filter(|_| kind == SourceKind::Secret).and_then(|known| known.get(name));
            if let Some(version) = known.and_then(|known| known.version) {
                sources.observe_native(id, version);
            }
            found.push(Delivery { source: id, agreement });
        }
        found.sort_unstable_by_key(|delivery| delivery.source);
        (found, not_followed)
    }
}
