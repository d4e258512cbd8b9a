//! The migration of all manifests.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use scaivault_inject::{
    Context, Decision, Operation, Patch, Pattern, PolicyReport, SkipReason, decide_with_policies, manifest,
    workload,
};
use scaivault_usage::{Product, ProductKind};
use serde_json::Value;

use super::{
    args::{Refresh, SourceArgs},
    bank_vaults,
    known::KnownKeys,
    layout, lines,
    map::{MissingEntry, PathMap},
    native,
    report::{Entry, Outcome, Report},
    rewrite, vault, verify,
    wants::{Wants, injector_keys},
};
use crate::{
    apply::apply,
    diff,
    document::{self, emit_yaml},
    edit::edit,
    evaluate::{self, Action, ObjectResult, Subject, evaluate},
    input::{self, InputFiles, Source},
    object::{Object, objects},
    offline_cluster::OfflineCluster,
    yaml_stream::{self, Document},
};

/// The settings of a migration.
pub(super) struct Job<'a> {
    pub(super) args: &'a SourceArgs,
    pub(super) map: &'a PathMap,
    pub(super) with_diff: bool,
}

/// The result of a migration.
#[derive(Default)]
pub(super) struct Migration {
    pub(super) report: Report,
    /// Every file that was read.
    pub(super) files: Vec<MigratedFile>,
    /// The workloads that are migrated, in the order of the input.
    pub(super) workloads: Vec<MigratedWorkload>,
    /// The namespaces of all workloads, as written in the manifests.
    pub(super) namespaces: BTreeSet<String>,
    /// Native Secrets, by namespace and name, that the manifests still need.
    pub(super) still_used: BTreeSet<(String, String)>,
}

/// A file before and after.
pub(super) struct MigratedFile {
    pub(super) name: String,
    pub(super) original: String,
    pub(super) migrated: String,
}

/// A workload that is migrated.
pub(super) struct MigratedWorkload {
    pub(super) kind: String,
    pub(super) namespace: String,
    /// Empty if the API server generates the name (`generateName`).
    pub(super) name: String,
    /// Its manifest, before and after.
    pub(super) original: String,
    pub(super) migrated: String,
    /// `spec.selector.matchLabels`.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) has_sidecar: bool,
    /// The native Secrets that it no longer uses.
    pub(super) secrets: BTreeSet<String>,
    /// The Job that compares old and new values; `None` if there is nothing to compare.
    pub(super) job: Option<Value>,
}

/// A parsed document. Its value is null if it has no content.
struct ParsedDocument<'a> {
    document: Document<'a>,
    value: Value,
}

/// The migration of one object.
pub(super) struct MigratedObject {
    operations: Vec<Operation>,
    pub(super) outcome: Outcome,
    has_sidecar: bool,
    secrets: BTreeSet<String>,
    job: Option<Value>,
}

impl Job<'_> {
    /// Migrates all files that were found.
    pub(super) fn run(&self, found: &InputFiles, mut cluster: OfflineCluster) -> anyhow::Result<Migration> {
        let mut migration = Migration::default();
        migration.report.errors.extend(found.errors.iter().map(crate::report::Unreadable::from));
        let mut sources = Vec::new();
        for path in &found.files {
            match input::read(path) {
                Ok(source) => sources.push(source),
                Err(error) => migration.report.errors.push((&error).into()),
            }
        }
        let mut known = KnownKeys::default();
        let mut parsed_files = Vec::new();
        for source in &sources {
            let parsed = parse(source, &mut migration.report);
            for object in parsed.iter().flat_map(|parsed| objects(&parsed.value)) {
                cluster.note(&object);
                known.note(&object, self.namespace());
            }
            parsed_files.push((source, parsed));
        }
        for (source, documents) in parsed_files {
            let mut migrated = String::new();
            for parsed in documents {
                let text = self.document(source, parsed, &known, &cluster, &mut migration)?;
                migrated.push_str(&text);
            }
            let (name, original) = (source.name.clone(), source.text.clone());
            migration.files.push(MigratedFile { name, original, migrated });
        }
        migration.report.warn_of_duplicates();
        Ok(migration)
    }

    fn namespace(&self) -> &str {
        self.args.namespace.as_deref().unwrap_or_default()
    }

    /// Migrates the objects of a document, and returns its text.
    fn document(
        &self,
        source: &Source,
        parsed: ParsedDocument<'_>,
        known: &KnownKeys,
        cluster: &OfflineCluster,
        migration: &mut Migration,
    ) -> anyhow::Result<String> {
        let ParsedDocument { document, value } = parsed;
        let Some(content) = &document.content else { return Ok(document.text.to_owned()) };
        let place = || format!("{}:{}", source.name, content.line);
        let mut operations = Vec::new();
        let mut results = Vec::new();
        for object in objects(&value) {
            let migrated = self.object(&object, known, cluster).with_context(place)?;
            if let Some(migrated) = &migrated {
                operations.extend(below(&migrated.operations, &object.pointer));
            }
            self.note_users(&object, migrated.as_ref(), migration);
            results.push((object, migrated));
        }
        lines::add(&mut results, &document);
        let (text, changed, rewritten) =
            rewrite_document(&document, &value, &Patch::new(operations)).with_context(place)?;
        for (object, migrated) in results {
            let Some(migrated) = migrated else {
                let others = others(&object, cluster, source, content.line);
                migration.report.others.extend(others);
                continue;
            };
            let is_alone = object.pointer.is_empty();
            let is_migrated = matches!(migrated.outcome, Outcome::Migrated(_));
            let entry = Entry {
                file: source.name.clone(),
                line: content.line,
                pointer: object.pointer.clone(),
                kind: object.kind.to_owned(),
                namespace: object.namespace().to_owned(),
                name: object.name().to_owned(),
                rewritten: rewritten.filter(|_| is_migrated),
                diff: (self.with_diff && is_migrated && is_alone)
                    .then(|| diff::unified(document.text, &text, &display_name(&object))),
                outcome: migrated.outcome,
            };
            migration.report.entries.push(entry);
            if is_migrated {
                let after = changed.pointer(&object.pointer).unwrap_or(&Value::Null);
                let after = Object { value: after, ..object.clone() };
                let (original, migrated_text) = if is_alone {
                    (document.text.to_owned(), text.clone())
                } else {
                    (emit_yaml(&object.standalone())?, emit_yaml(&after.standalone())?)
                };
                migration.workloads.push(MigratedWorkload {
                    kind: object.kind.to_owned(),
                    namespace: self.namespace_of(&object),
                    name: own_name(object.value).to_owned(),
                    original,
                    migrated: migrated_text,
                    labels: labels(object.value),
                    has_sidecar: migrated.has_sidecar,
                    secrets: migrated.secrets,
                    job: migrated.job,
                });
            }
        }
        Ok(text)
    }

    fn namespace_of(&self, object: &Object<'_>) -> String {
        let namespace = object.namespace();
        if namespace.is_empty() { self.namespace().to_owned() } else { namespace.to_owned() }
    }

    /// Records which native Secrets an object needs after the migration.
    fn note_users(&self, object: &Object<'_>, migrated: Option<&MigratedObject>, migration: &mut Migration) {
        let namespace = self.namespace_of(object);
        let mut names = Vec::new();
        let templates = templates(object);
        if !templates.is_empty() {
            migration.namespaces.insert(object.namespace().to_owned());
        }
        for (_, pod) in &templates {
            for secret_use in scaivault_usage::secrets(pod) {
                let is_gone = migrated.is_some_and(|migrated| {
                    matches!(migrated.outcome, Outcome::Migrated(_))
                        && migrated.secrets.contains(&secret_use.secret)
                });
                if !is_gone || !secret_use.is_read_by_containers() {
                    names.push(secret_use.secret);
                }
            }
        }
        if templates.is_empty() && object.kind != "Secret" {
            secret_names(object.value, &mut names);
        }
        migration.still_used.extend(names.into_iter().map(|name| (namespace.clone(), name)));
    }

    /// Migrates one object; `None` if there is nothing to migrate.
    fn object(
        &self,
        object: &Object<'_>,
        known: &KnownKeys,
        cluster: &OfflineCluster,
    ) -> anyhow::Result<Option<MigratedObject>> {
        let mut all = Templates::default();
        for (pointer, pod) in templates(object) {
            self.template(object, &pointer, pod, known, cluster, &mut all);
        }
        if !all.has_secrets {
            return Ok(None);
        }
        if all.problems.is_empty() && all.missing.is_empty() {
            all.decide(object, cluster)?;
        }
        let is_left = !all.problems.is_empty() || !all.missing.is_empty();
        let Templates { problems, missing, warnings, .. } = all;
        if is_left {
            let outcome = Outcome::Left { problems, missing };
            let (operations, secrets, job) = (Vec::new(), BTreeSet::new(), None);
            return Ok(Some(MigratedObject { operations, outcome, has_sidecar: false, secrets, job }));
        }
        let outcome = Outcome::Migrated(super::report::Summary {
            files: all.files,
            mount_path: all.mount_path,
            variables: all.variables,
            has_sidecar: all.has_sidecar,
            warnings,
        });
        Ok(Some(MigratedObject {
            operations: all.operations,
            outcome,
            has_sidecar: all.has_sidecar,
            secrets: all.secrets,
            job: all.job,
        }))
    }

    /// Migrates a pod template of an object and adds the result to `all`.
    fn template(
        &self,
        object: &Object<'_>,
        pointer: &str,
        pod: &Value,
        known: &KnownKeys,
        cluster: &OfflineCluster,
        all: &mut Templates,
    ) {
        let namespace = self.namespace_of(object);
        let mut wants = Wants::default();
        native::add(pod, &namespace, self.map, known, &mut wants);
        vault::add(pod, &namespace, self.map, &mut wants);
        bank_vaults::add(object.value, pod, &namespace, self.map, &mut wants);
        note_other_products(object.value, pod, &mut wants);
        if wants.is_empty() {
            return;
        }
        all.has_secrets = true;
        let own: Vec<_> = injector_keys(pod).into_iter().filter(|key| asks_for_secrets(key)).collect();
        if !own.is_empty() {
            wants.problems.push(format!(
                "its pod template already uses secrets of ScaiVault ({}); remove these \
                 annotations, or migrate the rest by hand",
                own.join(", ")
            ));
        }
        self.add_refresh(object, pod, &mut wants);
        // If files are missing, statements about their layout could be wrong.
        let layout =
            if wants.missing.is_empty() { layout::lay_out(&mut wants, &self.args.accept) } else { None };
        all.problems.append(&mut wants.problems);
        all.missing.append(&mut wants.missing);
        if let Some(layout) = layout {
            let annotations = rewrite::annotations(pod, &wants, &layout);
            all.operations.extend(below(&rewrite::operations(pod, &wants, annotations), pointer));
            all.files += layout.files.len();
            all.variables += layout.variables.len();
            all.job = all
                .job
                .take()
                .or_else(|| verify::job(object, &namespace, pod, &wants, &layout, &cluster.settings));
            all.mount_path = all.mount_path.take().or(layout.mount_path);
        }
        all.secrets.extend(wants.moved.into_keys().map(|(secret, _)| secret));
        all.warnings.append(&mut wants.warnings);
    }

    /// Files that are updated today stay updated after the migration, except in pods that run to
    /// completion.
    fn add_refresh(&self, object: &Object<'_>, pod: &Value, wants: &mut Wants) {
        let runs_on = !matches!(object.kind, "Job" | "CronJob")
            && pod
                .pointer("/spec/restartPolicy")
                .and_then(Value::as_str)
                .is_none_or(|policy| policy == "Always");
        match self.args.refresh {
            Refresh::Every(interval) if wants.is_refreshed && runs_on => {
                wants.settings.entry("refresh-interval").or_insert_with(|| interval.to_string());
            }
            Refresh::Every(_) | Refresh::None => {
                wants.settings.remove("refresh-interval");
            }
        }
    }
}

/// The entry of an object that is not migrated, if it has problems; for one without a pod, such as
/// a namespace or policy, also if it has warnings.
fn others<'a>(
    object: &Object<'_>,
    cluster: &OfflineCluster,
    source: &'a Source,
    line: usize,
) -> impl Iterator<Item = crate::report::Entry> + use<'a> {
    let mut all = evaluate(&object.standalone(), Action::Inject, cluster, false, decide);
    all.retain(|result| if result.has_pod() { result.outcome.has_problems() } else { result.has_findings() });
    let pointer = object.pointer.clone();
    all.into_iter().map(move |result| crate::report::Entry {
        file: source.name.clone(),
        line,
        result: ObjectResult { pointer: pointer.clone(), ..result },
        rewritten: None,
        diff: None,
    })
}

fn decide(subject: &Subject<'_>, context: &Context<'_>) -> (Decision, PolicyReport) {
    match subject {
        Subject::Workload(workload) => workload::decide_with_policies(workload, context),
        Subject::Pod(pod) => decide_with_policies(pod, context),
    }
}

/// The migration of all pod templates of an object.
#[derive(Default)]
struct Templates {
    has_secrets: bool,
    operations: Vec<Operation>,
    problems: Vec<String>,
    missing: BTreeSet<MissingEntry>,
    warnings: Vec<String>,
    files: usize,
    variables: usize,
    mount_path: Option<String>,
    has_sidecar: bool,
    secrets: BTreeSet<String>,
    job: Option<Value>,
}

impl Templates {
    /// Lets the core decide on the result, and adds all its problems.
    fn decide(&mut self, object: &Object<'_>, cluster: &OfflineCluster) -> anyhow::Result<()> {
        let mut changed = object.standalone();
        apply(&mut changed, &Patch::new(self.operations.clone()))?;
        for result in evaluate(&changed, Action::Inject, cluster, false, decide) {
            self.take(&result);
        }
        Ok(())
    }

    fn take(&mut self, result: &ObjectResult) {
        let decision = match &result.outcome {
            evaluate::Outcome::Decided(decision) => decision,
            evaluate::Outcome::Malformed(message) => {
                self.problems.push(format!("the API server would refuse it: {message}"));
                return;
            }
            _ => return,
        };
        match &**decision {
            Decision::Inject(injection) => self.has_sidecar |= injection.pattern == Pattern::Sidecar,
            Decision::Deny(denial) => {
                self.problems
                    .extend(denial.problems.iter().map(|problem| format!("after the migration: {problem}")));
            }
            Decision::Skip(skip) if skip.reason == SkipReason::NotAnnotated => {
                self.problems.push(
                    "no container reads its secrets; remove the unused volumes and \
                     annotations"
                        .to_owned(),
                );
            }
            Decision::Skip(skip) => {
                self.problems.push(format!(
                    "after the migration, nothing would be injected: {}",
                    skip.reason.sentence()
                ));
                self.problems.extend(skip.problems.iter().map(ToString::to_string));
            }
            Decision::Detach(_) => {
                self.problems.push(
                    "after the migration, nothing would be injected: its mutation-mode is ignore-and-detach"
                        .to_owned(),
                );
            }
        }
        self.warnings.extend(decision.warnings().iter().cloned());
    }
}

/// Reports products whose secrets are not migrated.
fn note_other_products(object: &Value, pod: &Value, wants: &mut Wants) {
    let is_empty = wants.is_empty();
    for other in scaivault_usage::other_products(object, pod) {
        let is_ours = matches!(other.product, Product::VaultK8s | Product::OpenBao | Product::BankVaults);
        if is_ours || other.product.kind() != ProductKind::Delivers {
            continue;
        }
        let name = other.product.name();
        if is_empty {
            wants.problems.push(format!(
                "it gets secrets from {name}, which migrate does not translate; write the annotations of ScaiVault by hand (docs/annotations.md)"
            ));
        } else {
            wants.warnings.push(format!("what it gets from {name} stays as it is"));
        }
    }
}

/// Whether an annotation of the injector refers to a secret or a file, or sets where files are.
fn asks_for_secrets(key: &str) -> bool {
    ["inject-secret-", "inject-dynamic-", "inject-env-", "secret-"].iter().any(|start| key.starts_with(start))
        || ["mount-path", "containers", "init-containers", "receipt"].contains(&key)
}

/// The pod templates of an object with their pointers.
pub(super) fn templates<'a>(object: &Object<'a>) -> Vec<(String, &'a Value)> {
    if object.kind.is_empty() {
        return Vec::new();
    }
    if let Some(pointer) = object.pod_pointer() {
        return object.value.pointer(pointer).map(|pod| (pointer.to_owned(), pod)).into_iter().collect();
    }
    let text = object.value.to_string();
    let found = manifest::find_templates(object.api_version, &text);
    found
        .into_iter()
        .filter_map(|found| Some((found.pointer.clone(), object.value.pointer(&found.pointer)?)))
        .collect()
}

/// The names in fields `secretName` and in a service account's lists.
fn secret_names(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match (key.as_str(), value) {
                    ("secretName", Value::String(name)) => names.push(name.clone()),
                    ("secrets" | "imagePullSecrets", Value::Array(items)) => {
                        let found = items.iter().filter_map(|item| item.get("name")?.as_str());
                        names.extend(found.map(str::to_owned));
                    }
                    _ => secret_names(value, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| secret_names(item, names)),
        _ => {}
    }
}

fn own_name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn below<'a>(operations: &'a [Operation], pointer: &'a str) -> impl Iterator<Item = Operation> + 'a {
    operations.iter().map(move |operation| match operation {
        Operation::Add { path, value } => {
            Operation::Add { path: format!("{pointer}{path}"), value: value.clone() }
        }
        Operation::Remove { path } => Operation::Remove { path: format!("{pointer}{path}") },
    })
}

fn display_name(object: &Object<'_>) -> String {
    format!("{}/{}", object.kind.to_lowercase(), object.name())
}

type Rewritten = (String, Value, Option<crate::edit::Obstacle>);

/// The text of a document after the patch, its value, and why it was rewritten.
fn rewrite_document(document: &Document<'_>, value: &Value, patch: &Patch) -> anyhow::Result<Rewritten> {
    if patch.is_empty() {
        return Ok((document.text.to_owned(), value.clone(), None));
    }
    let mut changed = value.clone();
    apply(&mut changed, patch)?;
    match edit(document, patch, &changed) {
        Ok(text) => Ok((text, changed, None)),
        Err(obstacle) => {
            let mut digits = document::with_digits(value.clone(), document)?;
            apply(&mut digits, patch)?;
            let text = document.with_content(&document::emit(&digits, document)?);
            Ok((text, changed, Some(obstacle)))
        }
    }
}

/// Parses all documents of a file. A document that cannot be parsed is reported.
fn parse<'a>(source: &'a Source, report: &mut Report) -> Vec<ParsedDocument<'a>> {
    let mut parsed = Vec::new();
    for document in yaml_stream::split(&source.text) {
        match document::parse(&document) {
            Ok(value) => parsed.push(ParsedDocument { document, value: value.unwrap_or_default() }),
            Err(error) => report.errors.push(crate::report::Unreadable::from_document(&source.name, error)),
        }
    }
    parsed
}
