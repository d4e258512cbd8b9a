//! Processes the manifests of all files.

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use scaivault_inject::{Context, Decision, Patch, PolicyReport, decide_with_policies, workload};
use serde_json::{Value, json};

use crate::{
    apply::{ApplyError, apply},
    csi, diff,
    document::{self, digits, emit_yaml},
    edit::edit,
    evaluate::{Action, ObjectResult, Subject, evaluate, own_text, patch},
    input::{self, InputFiles, ReadError, Source},
    object::{Object, objects},
    offline_cluster::OfflineCluster,
    report::{Entry, Report, Unreadable},
    yaml_stream::{self, Document, Format},
};

/// The minimum number of files for which a progress bar is shown.
const FILES_WORTH_A_BAR: usize = 16;

/// What to do, and what to report.
pub(super) struct Job {
    pub(super) action: Action,
    pub(super) with_diff: bool,
    pub(super) with_settings: bool,
    /// Whether SecretProviderClasses and their volumes are checked.
    pub(super) with_csi: bool,
    pub(super) product: Product,
}

/// The output in addition to the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    /// Nothing.
    None,
    /// The text of each file.
    Text,
    /// The value of each document.
    Values,
}

/// The result.
#[derive(Default)]
pub(super) struct Results {
    /// The result for each object.
    pub(super) report: Report,
    /// The resulting text of each file, if texts are requested.
    pub(super) streams: Vec<String>,
    /// The resulting value of each document that has one, if values are requested.
    values: Vec<Value>,
}

/// A parsed document. Its value is null if it has no content.
struct ParsedDocument<'a> {
    source: &'a Source,
    document: Document<'a>,
    value: Value,
}

impl Job {
    /// Processes all manifests that were found.
    pub(super) fn run(&self, found: &InputFiles, mut cluster: OfflineCluster) -> anyhow::Result<Results> {
        let InputFiles { files, errors } = found;
        let mut results = Results::default();
        results.report.errors.extend(errors.iter().map(Unreadable::from));

        let bar = progress(files.len());
        let mut sources = Vec::with_capacity(files.len());
        for path in files {
            match input::read(path) {
                Ok(source) => sources.push(source),
                Err(error) => results.report.errors.push(Unreadable::from(&error)),
            }
        }
        let mut parsed_files = Vec::with_capacity(sources.len());
        for source in &sources {
            parsed_files.push(parse(source, &mut results.report));
            bar.inc(1);
        }
        let mut classes = csi::Inputs::default();
        // A workload may precede its namespace and its service account, also in another file.
        for parsed in parsed_files.iter().flatten() {
            for object in objects(&parsed.value) {
                cluster.note(&object);
                classes.note(&object);
            }
        }
        for documents in parsed_files {
            let mut stream = String::new();
            for parsed in documents {
                stream.push_str(&self.work(parsed, &cluster, &classes, &mut results)?);
            }
            results.streams.push(stream);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(results)
    }

    /// Processes one document and returns its resulting text, if texts are requested.
    fn work(
        &self,
        parsed: ParsedDocument<'_>,
        cluster: &OfflineCluster,
        classes: &csi::Inputs,
        results: &mut Results,
    ) -> anyhow::Result<String> {
        let ParsedDocument { source, document, value } = parsed;
        let Some(content) = &document.content else {
            return Ok(document.text.to_owned());
        };
        let place = || format!("{}:{}", source.name, content.line);
        let mut evaluated = evaluate(&value, self.action, cluster, self.with_settings, |subject, context| {
            self.decide(subject, context)
        });
        own_text::quote(&mut evaluated, &document);
        let patch = patch(&evaluated);
        let changed = patched(&value, &patch).with_context(place)?;
        if self.with_csi {
            let injected = changed.as_ref().unwrap_or(&value);
            csi::check(&mut evaluated, (&value, injected), classes, &document);
        }
        let edited = match &changed {
            Some(changed) if self.product == Product::Text || self.with_diff => {
                Some(edit(&document, &patch, changed))
            }
            _ => None,
        };
        let obstacle = edited.as_ref().and_then(|edited| edited.as_ref().err().copied());
        let rewritten = obstacle.filter(|_| self.product == Product::Text);
        // Parsed values do not preserve digits such as those of `1.10`.
        let is_written = rewritten.is_some() || self.with_diff || self.product == Product::Values;
        let (value, changed) = if is_written {
            let value = document::with_digits(value, &document).with_context(place)?;
            let changed = patched(&value, &patch).with_context(place)?;
            (value, changed)
        } else {
            (value, changed)
        };
        let change = Change {
            document: &document,
            value: &value,
            changed: changed.as_ref(),
            edited: edited.and_then(Result::ok),
            is_single: evaluated.iter().filter(|result| result.is_changed()).count() == 1,
        };
        for result in evaluated {
            let diff = if self.with_diff { change.diff(&result).with_context(place)? } else { None };
            results.report.entries.push(Entry {
                file: source.name.clone(),
                line: content.line,
                rewritten: rewritten.filter(|_| result.is_changed()),
                result,
                diff,
            });
        }
        let text = match self.product {
            Product::Text => change.text().with_context(place)?,
            Product::None | Product::Values => String::new(),
        };
        if self.product == Product::Values {
            results.values.push(changed.unwrap_or(value));
        }
        Ok(text)
    }

    fn decide(&self, subject: &Subject<'_>, context: &Context<'_>) -> (Decision, PolicyReport) {
        match (self.action, subject) {
            (Action::DetachByName, subject) => {
                (scaivault_inject::detach_by_name(subject.pod()), PolicyReport::default())
            }
            (_, Subject::Workload(workload)) => workload::decide_with_policies(workload, context),
            (_, Subject::Pod(pod)) => decide_with_policies(pod, context),
        }
    }
}

impl Results {
    /// All objects as JSON: a single standalone object as it is, otherwise one `List`.
    pub(super) fn json(&self) -> Result<String, serde_json::Error> {
        let objects: Vec<Object<'_>> = self.values.iter().flat_map(objects).collect();
        let json = match objects.as_slice() {
            [only] if only.pointer.is_empty() => serde_json::to_string_pretty(only.value)?,
            _ => {
                let items: Vec<Value> = objects.iter().map(Object::standalone).collect();
                serde_json::to_string_pretty(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?
            }
        };
        let mut json = digits::restore(&json, Format::Json);
        json.push('\n');
        Ok(json)
    }
}

/// The value after the patch; `None` if nothing changes.
fn patched(value: &Value, patch: &Patch) -> Result<Option<Value>, ApplyError> {
    if patch.is_empty() {
        return Ok(None);
    }
    let mut changed = value.clone();
    apply(&mut changed, patch)?;
    Ok(Some(changed))
}

/// Parses all documents of a file. A document that cannot be parsed is reported and skipped.
fn parse<'a>(source: &'a Source, report: &mut Report) -> Vec<ParsedDocument<'a>> {
    let mut parsed = Vec::new();
    for document in yaml_stream::split(&source.text) {
        match document::parse(&document) {
            Ok(value) => parsed.push(ParsedDocument { source, document, value: value.unwrap_or_default() }),
            Err(error) => report.errors.push(Unreadable::from_document(&source.name, error)),
        }
    }
    parsed
}

/// A document and its change.
struct Change<'a> {
    document: &'a Document<'a>,
    value: &'a Value,
    /// `None` if nothing changes.
    changed: Option<&'a Value>,
    /// The text after the change; `None` if it was not requested or cannot be edited in place.
    edited: Option<String>,
    /// Only one object changes, so the diff of the text belongs to it.
    is_single: bool,
}

impl Change<'_> {
    fn text(&self) -> anyhow::Result<String> {
        Ok(match (&self.edited, self.changed) {
            (Some(text), _) => text.clone(),
            (None, Some(changed)) => self.document.with_content(&document::emit(changed, self.document)?),
            (None, None) => self.document.text.to_owned(),
        })
    }

    /// The diff of an object: of its text, or else of its value as this program writes it.
    fn diff(&self, result: &ObjectResult) -> anyhow::Result<Option<String>> {
        let Some(changed) = self.changed.filter(|_| result.is_changed()) else { return Ok(None) };
        let is_yaml = self.document.content.as_ref().is_some_and(|content| content.format == Format::Yaml);
        if let Some(text) = self.edited.as_ref().filter(|_| self.is_single && is_yaml) {
            return Ok(Some(diff::unified(self.document.text, text, &result.display_name())));
        }
        let pointer = format!("{}{}", result.pointer, result.template.as_deref().unwrap_or_default());
        let (Some(before), Some(after)) = (self.value.pointer(&pointer), changed.pointer(&pointer)) else {
            return Ok(None);
        };
        let (before, after) = (emit_yaml(before)?, emit_yaml(after)?);
        Ok((before != after).then(|| diff::unified(&before, &after, &result.display_name())))
    }
}

impl From<&ReadError> for Unreadable {
    fn from(error: &ReadError) -> Self {
        let ReadError { name, reason } = error;
        Self { file: name.clone(), place: None, message: reason.to_string(), hint: None }
    }
}

/// A progress bar on standard error, shown if that is a terminal and there are many files.
fn progress(files: usize) -> ProgressBar {
    if files < FILES_WORTH_A_BAR {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {percent}% of the files")
        .expect("the template is well-formed");
    // Each file is parsed, then processed.
    ProgressBar::new(2 * files as u64).with_style(style)
}
