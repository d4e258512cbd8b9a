//! Maps secrets to files.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
};

use scaivault_contract::{
    DynamicMapping, FileMode, FileOptions, Format, MAPPINGS_LIMIT, MappingFault, RelativeFile, SecretMapping,
    SecretRef, SecretSource, TargetFile, VariableMapping, conflicts,
};

use super::Diagnostics;
use crate::{
    annotations::{Draft, FileDraft, NamedKey, nearest},
    problem::{Code, Layer, shown_key},
};

/// Maximum number of keys that one problem names.
const KEYS_SHOWN: usize = 4;

/// The mappings, sorted by name.
pub(super) struct Files {
    pub(super) secrets: Vec<SecretMapping>,
    pub(super) dynamic: Vec<DynamicMapping>,
}

/// All mappings in the agent's grammar, one entry per line. Written once, both to check their size
/// and for each container's variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct MappingTexts {
    pub(crate) secrets: String,
    pub(crate) dynamic: String,
    pub(crate) variables: String,
}

impl Files {
    pub(super) fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.dynamic.is_empty()
    }

    /// The absolute paths of all files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let secrets = self.secrets.iter().map(|mapping| mapping.file.as_str());
        secrets.chain(self.dynamic.iter().map(|mapping| mapping.file.as_str()))
    }
}

pub(super) fn resolve<'d>(draft: &'d Draft, only_reader: bool, diagnostics: &mut Diagnostics<'_>) -> Files {
    orphans(draft, diagnostics);
    let mut keys: Vec<(NamedKey, &str)> = Vec::new();
    let mut target = |key: NamedKey, name: &'d str, diagnostics: &mut Diagnostics<'_>| {
        let file = file_of(draft, name, diagnostics)?;
        keys.push((key, name));
        Some(TargetFile::below(draft.mount_path.as_str(), &file))
    };
    let secrets: Vec<SecretMapping> = draft
        .secrets
        .iter()
        .filter_map(|(name, source)| {
            let file = target(NamedKey::InjectSecret, name, diagnostics)?;
            let options = options(draft, name, only_reader);
            let mut mapping = SecretMapping { source: source.clone(), file, options };
            contradictions(name, mapping.faults(), diagnostics);
            let has_field = matches!(source, SecretSource::Single(SecretRef { field: Some(_), .. }));
            if matches!(source, SecretSource::Single(_)) && !has_field {
                raw_of_whole(name, &mapping.options, diagnostics);
            }
            without_default(&mut mapping.options, if has_field { Format::Raw } else { Format::Json });
            Some(mapping)
        })
        .collect();
    let dynamic: Vec<DynamicMapping> = draft
        .dynamic
        .iter()
        .filter_map(|(name, dynamic)| {
            let file = target(NamedKey::InjectDynamic, name, diagnostics)?;
            let options = options(draft, name, only_reader);
            let mut mapping = DynamicMapping { dynamic: dynamic.clone(), file, options };
            contradictions(name, mapping.faults(), diagnostics);
            raw_of_whole(name, &mapping.options, diagnostics);
            without_default(&mut mapping.options, Format::Json);
            Some(mapping)
        })
        .collect();
    let files = Files { secrets, dynamic };
    refuse_conflicts(draft, &files, &keys, diagnostics);
    files
}

/// Reports files that cannot exist together. `keys` are the keys that selected them, in the same
/// order.
fn refuse_conflicts(
    draft: &Draft,
    files: &Files,
    keys: &[(NamedKey, &str)],
    diagnostics: &mut Diagnostics<'_>,
) {
    let conflicts = conflicts(files.paths());
    if conflicts.is_empty() {
        return;
    }
    let mut keys_by_file = BTreeMap::new();
    for (file, (key, name)) in files.paths().zip(keys) {
        keys_by_file.entry(file).or_insert_with(Vec::new).push(whose(draft, *key, name));
    }
    for conflict in conflicts {
        let mut keys: Vec<&str> = [&conflict.first, &conflict.second]
            .into_iter()
            .filter_map(|file| keys_by_file.get(file.as_str()))
            .flatten()
            .map(String::as_str)
            .collect();
        keys.dedup();
        let shown = keys.iter().take(KEYS_SHOWN).copied().collect::<Vec<_>>().join(" and ");
        let more = keys.len().saturating_sub(KEYS_SHOWN);
        let who = if more == 0 { shown } else { format!("{shown} and {more} more") };
        diagnostics.problem(
            Code::FileConflict,
            None,
            Some(&conflict.second),
            format!("{who} cannot all be: {conflict}"),
            "give each a file of its own by secret-file-<name>",
        );
    }
}

/// A key in words, with its policy if it is from one.
fn whose(draft: &Draft, key: NamedKey, name: &str) -> String {
    let text = format!("{key}{name}");
    match draft.layer_of_named(key, name) {
        Layer::Policy(policy) => format!("{} (of the policy {policy})", shown_key(&text)),
        _ => shown_key(&text).into_owned(),
    }
}

/// Reports options whose name no key selects; a misspelt name would otherwise have no effect
/// without any message.
fn orphans(draft: &Draft, diagnostics: &mut Diagnostics<'_>) {
    let is_selected = |name: &str| draft.secrets.contains_key(name) || draft.dynamic.contains_key(name);
    for (name, file) in draft.files.iter().filter(|(name, _)| !is_selected(name)) {
        let FileDraft { file, format, template, mode, encoding, optional } = file;
        let names = draft.secrets.keys().chain(draft.dynamic.keys()).map(String::as_str);
        let hinted = diagnostics.problems.takes_hint().then(|| nearest(name, names)).flatten();
        let fix = hinted.map_or_else(
            || "add inject-secret-<name> with this name, or remove the option".to_owned(),
            |name| format!("did you mean {name:?}?"),
        );
        for (key, is_set) in [
            (NamedKey::SecretFile, file.is_some()),
            (NamedKey::SecretFormat, format.is_some()),
            (NamedKey::SecretTemplate, template.is_some()),
            (NamedKey::SecretMode, mode.is_some()),
            (NamedKey::SecretEncoding, encoding.is_some()),
            (NamedKey::SecretOptional, optional.is_some()),
        ] {
            if is_set {
                diagnostics.named_problem(
                    Code::UnknownName,
                    (key, name.as_str()),
                    None,
                    "no inject-secret-… or inject-dynamic-… annotation has this name",
                    fix.clone(),
                );
            }
        }
    }
}

/// The file of a name; `None`, with a problem, if the name is not a valid file.
fn file_of(draft: &Draft, name: &str, diagnostics: &mut Diagnostics<'_>) -> Option<RelativeFile> {
    if let Some(file) = draft.files.get(name).and_then(|file| file.file.clone()) {
        return Some(file);
    }
    match name.parse() {
        Ok(file) => Some(file),
        Err(error) => {
            let error: scaivault_contract::RelativeFileError = error;
            diagnostics.problem(
                Code::FileConflict,
                None,
                Some(name),
                format!("the name cannot be a file: {error}"),
                format!("add secret-file-{} with the file's path", shown_key(name)),
            );
            None
        }
    }
}

/// The options as written.
fn options(draft: &Draft, name: &str, only_reader: bool) -> FileOptions {
    let FileDraft { file: _, format, template, mode, encoding, optional } =
        draft.files.get(name).cloned().unwrap_or_default();
    let default_mode = if only_reader { FileMode::OWNER_ONLY } else { FileMode::DEFAULT };
    FileOptions {
        format,
        mode: Some(mode.unwrap_or(default_mode)).filter(|mode| *mode != FileMode::DEFAULT),
        encoding,
        optional: optional.unwrap_or(false),
        template,
    }
}

/// Omits the agent's default.
fn without_default(options: &mut FileOptions, default: Format) {
    options.format = options.format.filter(|format| *format != default);
}

/// Reports options that contradict each other or the source, in terms of annotations.
fn contradictions(name: &str, faults: Vec<MappingFault>, diagnostics: &mut Diagnostics<'_>) {
    let shown = shown_key(name);
    for fault in faults {
        let (key, message, fix) = match &fault {
            MappingFault::FormatAndTemplate => (
                NamedKey::SecretFormat,
                "a template writes the file already".to_owned(),
                format!("keep one of secret-format-{shown} and secret-template-{shown}"),
            ),
            MappingFault::EncodingNotRaw => (
                NamedKey::SecretEncoding,
                "it decodes one field that is written as it is".to_owned(),
                format!(
                    "name one path#field in inject-secret-{shown}, without a format or template of its own; in a template \
                     write the filter b64decode"
                ),
            ),
            MappingFault::RawOfSeveral => (
                NamedKey::SecretFormat,
                "raw writes one field, and several secrets are named".to_owned(),
                "choose json or yaml, or write a template".to_owned(),
            ),
            MappingFault::WholeInLines { format, alias } => (
                NamedKey::SecretFormat,
                format!("{format} writes one line for each alias, and {alias} names a whole secret"),
                format!("write {alias}=path#field, choose json or yaml, or write a template"),
            ),
            MappingFault::OptionalLease => (
                NamedKey::SecretOptional,
                "dynamic credentials are generated, so there is no secret that may be missing".to_owned(),
                "remove this annotation; fail-open starts the application without what could not \
                 be fetched"
                    .to_owned(),
            ),
            other => (NamedKey::InjectSecret, other.to_string(), "correct the annotation".to_owned()),
        };
        diagnostics.named_problem(Code::FormatConflict, (key, name), None, message, fix);
    }
}

fn raw_of_whole(name: &str, options: &FileOptions, diagnostics: &mut Diagnostics<'_>) {
    if options.format == Some(Format::Raw) {
        diagnostics.named_problem(
            Code::FormatConflict,
            (NamedKey::SecretFormat, name),
            Some("raw"),
            "raw writes one field, and the secret is named without a #field",
            "add a #field to the path, or choose json, env, dotenv, yaml or properties",
        );
    }
}

/// Writes the mappings. Their total size is limited, because the kernel limits environment
/// variables.
pub(super) fn texts(
    files: &Files,
    variables: &[VariableMapping],
    diagnostics: &mut Diagnostics<'_>,
) -> MappingTexts {
    let texts = MappingTexts {
        secrets: lines(&files.secrets),
        dynamic: lines(&files.dynamic),
        variables: lines(variables),
    };
    let bytes = texts.secrets.len() + texts.dynamic.len() + texts.variables.len();
    if bytes > MAPPINGS_LIMIT {
        diagnostics.problem(
            Code::TooLarge,
            None,
            None,
            format!(
                "all mappings and templates together take {bytes} bytes, and {} KiB fit",
                MAPPINGS_LIMIT / 1024
            ),
            "shorten the templates, or render in the app",
        );
    }
    texts
}

/// One entry per line.
pub(crate) fn lines(entries: &[impl Display]) -> String {
    let mut text = String::new();
    for entry in entries {
        writeln!(text, "{entry}").expect("writing into a String cannot fail");
    }
    text
}
