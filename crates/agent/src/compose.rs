//! From what was read to the files that are written: the core of a refresh. Pure.

use scaivault_client::Secret;
use scaivault_contract::{FileMode, TargetFile};
use zeroize::Zeroizing;

use crate::{
    config::{FileSpec, Source, Wanted},
    exit::Exit,
    failure::Failure,
    fetch::{Answers, Key},
    leases::Leases,
    render::{self, Content},
};

/// The most bytes of the variables' file: a kubelet reads no more of it.
const VARIABLES_MAX_BYTES: usize = 64 * 1024;

/// A file's content, ready to be written.
pub(crate) struct Composed<'a> {
    /// Where.
    pub(crate) target: &'a TargetFile,
    /// Its permission bits.
    pub(crate) mode: FileMode,
    /// What stands in it.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// What can be written, and why the rest cannot.
#[derive(Default)]
pub(crate) struct Composition<'a> {
    /// The files.
    pub(crate) files: Vec<Composed<'a>>,
    /// One for each file or variable that is missing.
    pub(crate) failures: Vec<Failure>,
}

/// How to deal with variables some of which could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variables {
    /// Their file is written with those that are there: the pod starts without the others.
    AsTheyAre,
    /// Their file is left as it was.
    AllOrNone,
}

/// Composes every file whose source is among the answers and the leases. A source that is in neither is left out
/// without a failure: it was not asked for this time.
pub(crate) fn compose<'a>(
    wanted: &'a Wanted,
    answers: &Answers,
    leases: &Leases,
    variables: Variables,
) -> Composition<'a> {
    let mut composition = Composition::default();
    for spec in &wanted.files {
        let composed = match &spec.source {
            Source::Secrets(source) => {
                let read: Option<Result<Vec<_>, _>> =
                    source.secrets().map(|secret| answers.get(&Key::of(secret)).map(Result::as_ref)).collect();
                match read {
                    None => continue,
                    Some(Err(failure)) => Err(failure.clone()),
                    Some(Ok(secrets)) => {
                        let contents: Vec<_> = secrets
                            .into_iter()
                            .map(|secret| Content { version: Some(secret.version), data: &secret.data })
                            .collect();
                        composed(spec, &contents)
                    }
                }
            }
            Source::Lease(dynamic) => match leases.get(dynamic) {
                None => continue,
                Some(lease) => {
                    composed(spec, &[Content { version: None, data: &lease.credentials }])
                }
            },
        };
        match composed {
            Ok(file) => composition.files.push(file),
            Err(failure) => composition.failures.push(failure),
        }
    }
    compose_variables(wanted, answers, variables, &mut composition);
    composition
}

fn composed<'a>(spec: &'a FileSpec, contents: &[Content<'_>]) -> Result<Composed<'a>, Failure> {
    let FileSpec { source, file, mode, .. } = spec;
    let bytes = render::render(spec, contents)
        .map_err(|error| Failure::of_render(format_args!("{source} -> {file}"), &error))?;
    Ok(Composed { target: file, mode: *mode, bytes })
}

fn compose_variables<'a>(
    wanted: &'a Wanted,
    answers: &Answers,
    variables: Variables,
    composition: &mut Composition<'a>,
) {
    let Some(target) = &wanted.variables_file else { return };
    let mut bytes = Zeroizing::new(Vec::new());
    let mut failures = Vec::new();
    for mapping in &wanted.variables {
        // The file is written as a whole: of a round that asked for other secrets only those of pinned versions are there.
        let Some(answer) = answers.get(&Key::of(&mapping.secret)) else { return };
        let line = answer.as_ref().map_err(Clone::clone).and_then(|Secret { data, .. }| {
            let field = mapping.secret.field.as_ref().expect("the grammar of variables asks for a field");
            render::variable_line(&mapping.variable, data, field)
                .map_err(|error| Failure::of_render(mapping, &error))
        });
        match line {
            Ok(line) => bytes.extend_from_slice(line.as_bytes()),
            Err(failure) => failures.push(failure),
        }
    }
    if bytes.len() > VARIABLES_MAX_BYTES {
        let reason = format!(
            "the variables have {} bytes together, and Kubernetes reads {VARIABLES_MAX_BYTES}; write some to files",
            bytes.len()
        );
        composition.failures.push(Failure::new(target, reason, Exit::Invalid));
        return;
    }
    if failures.is_empty() || variables == Variables::AsTheyAre {
        composition.files.push(Composed { target, mode: FileMode::DEFAULT, bytes });
    }
    composition.failures.append(&mut failures);
}

#[cfg(test)]
mod tests;
