//! Which secret becomes which file.

use std::collections::BTreeMap;

use scaivault_contract::{
    DynamicMapping, FileMode, FileOptions, Format, MAPPINGS_LIMIT, RelativeFile, SecretMapping, TargetFile,
    conflicts,
};

use super::Findings;
use crate::{
    annotations::{Draft, FileDraft, nearest},
    problem::Code,
};

/// The mappings, sorted by name.
pub(super) struct Files {
    pub(super) secrets: Vec<SecretMapping>,
    pub(super) dynamic: Vec<DynamicMapping>,
}

pub(super) fn resolve(draft: &Draft, only_reader: bool, findings: &mut Findings<'_>) -> Files {
    orphans(draft, findings);
    let mut keys_by_file = BTreeMap::new();
    let mut target = |prefix: &str, name: &str, findings: &mut Findings<'_>| {
        let file = file_of(draft, name, findings)?;
        let target = TargetFile::below(draft.mount_path.as_str(), &file);
        keys_by_file
            .entry(target.as_str().to_owned())
            .or_insert_with(Vec::new)
            .push(format!("{prefix}{name}"));
        Some(target)
    };
    let secrets: Vec<SecretMapping> = draft
        .secrets
        .iter()
        .filter_map(|(name, secret)| {
            let file = target("inject-secret-", name, findings)?;
            let options = options(draft, name, secret.field.is_some(), only_reader, findings);
            Some(SecretMapping { secret: secret.clone(), file, options })
        })
        .collect();
    let dynamic: Vec<DynamicMapping> = draft
        .dynamic
        .iter()
        .filter_map(|(name, dynamic)| {
            let file = target("inject-dynamic-", name, findings)?;
            let options = options(draft, name, false, only_reader, findings);
            Some(DynamicMapping { dynamic: dynamic.clone(), file, options })
        })
        .collect();
    let files = secrets.iter().map(|m| m.file.as_str()).chain(dynamic.iter().map(|m| m.file.as_str()));
    for conflict in conflicts(files) {
        let keys = |file: &str| keys_by_file.get(file).map(|keys| keys.join(" and ")).unwrap_or_default();
        let (first, second) = (keys(&conflict.first), keys(&conflict.second));
        let who = if first == second { first } else { format!("{first} and {second}") };
        findings.problem(
            Code::FileConflict,
            None,
            Some(&conflict.second),
            format!("{who} cannot both be: {conflict}"),
            "give one another file by secret-file-<name>",
        );
    }
    size(draft, &secrets, &dynamic, findings);
    Files { secrets, dynamic }
}

/// Options for names that nothing selects: a misspelt name would otherwise be lost without a word.
fn orphans(draft: &Draft, findings: &mut Findings<'_>) {
    let is_selected = |name: &str| draft.secrets.contains_key(name) || draft.dynamic.contains_key(name);
    for (name, file) in draft.files.iter().filter(|(name, _)| !is_selected(name)) {
        let FileDraft { file, format, template, mode } = file;
        let names = draft.secrets.keys().chain(draft.dynamic.keys()).map(String::as_str);
        let cure = nearest(name, names).map_or_else(
            || format!("add inject-secret-{name}, or remove the option"),
            |name| format!("did you mean {name:?}?"),
        );
        for (prefix, is_set) in [
            ("secret-file-", file.is_some()),
            ("secret-format-", format.is_some()),
            ("secret-template-", template.is_some()),
            ("secret-mode-", mode.is_some()),
        ] {
            if is_set {
                findings.named_problem(
                    Code::UnknownName,
                    Some(format!("{prefix}{name}")),
                    None,
                    "no inject-secret-… or inject-dynamic-… annotation has this name",
                    cure.clone(),
                );
            }
        }
    }
}

/// The file a name stands for; none, with a problem, where the name cannot be one.
fn file_of(draft: &Draft, name: &str, findings: &mut Findings<'_>) -> Option<RelativeFile> {
    if let Some(file) = draft.files.get(name).and_then(|file| file.file.clone()) {
        return Some(file);
    }
    match name.parse() {
        Ok(file) => Some(file),
        Err(error) => {
            let error: scaivault_contract::RelativeFileError = error;
            findings.problem(
                Code::FileConflict,
                None,
                Some(name),
                format!("the name cannot be a file: {error}"),
                format!("add secret-file-{name} with the file's path"),
            );
            None
        }
    }
}

fn options(
    draft: &Draft,
    name: &str,
    has_field: bool,
    only_reader: bool,
    findings: &mut Findings<'_>,
) -> FileOptions {
    let FileDraft { format, template, mode, .. } = draft.files.get(name).cloned().unwrap_or_default();
    let default_format = if has_field { Format::Raw } else { Format::Json };
    if format.is_some() && template.is_some() {
        findings.named_problem(
            Code::FormatConflict,
            Some(format!("secret-format-{name}")),
            None,
            "a template writes the file already",
            format!("keep one of secret-format-{name} and secret-template-{name}"),
        );
    }
    if format == Some(Format::Raw) && !has_field {
        findings.named_problem(
            Code::FormatConflict,
            Some(format!("secret-format-{name}")),
            Some("raw"),
            "raw writes one field, and the secret is named without a #field",
            "add a #field to the path, or choose json, env, yaml or properties",
        );
    }
    let default_mode = if only_reader { FileMode::OWNER_ONLY } else { FileMode::DEFAULT };
    FileOptions {
        // What is the agent's default is not written.
        format: format.filter(|format| *format != default_format),
        mode: Some(mode.unwrap_or(default_mode)).filter(|mode| *mode != FileMode::DEFAULT),
        template,
    }
}

/// All mappings together go into environment variables, which the kernel bounds.
fn size(draft: &Draft, secrets: &[SecretMapping], dynamic: &[DynamicMapping], findings: &mut Findings<'_>) {
    let bytes: usize = secrets.iter().map(|mapping| mapping.to_string().len() + 1).sum::<usize>()
        + dynamic.iter().map(|mapping| mapping.to_string().len() + 1).sum::<usize>()
        + draft.variables.iter().map(|(name, secret)| format!("{secret} -> {name}\n").len()).sum::<usize>();
    if bytes > MAPPINGS_LIMIT {
        findings.problem(
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
}
