//! Composes the files from the secrets that were read. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use scaivault_client::Secret;
use scaivault_contract::{FileMode, TargetFile};
use scaivault_render::{self as render, Content, RenderError, Source};

use crate::{
    config::{FileSpec, Outputs},
    exit::Exit,
    failure::{Cause, Failure},
    fetch::Key,
    leases::Leases,
};

/// The maximum size of the variables' file in bytes: a kubelet reads no more of it.
const VARIABLES_MAX_BYTES: usize = 64 * 1024;
/// The maximum total JSON size in bytes of the secrets of one file, which are in memory at the same
/// time.
const SOURCES_MAX_BYTES: usize = 4 * 1024 * 1024;
/// The maximum JSON size in bytes that is held for all files together. At least
/// [`SOURCES_MAX_BYTES`], so that the first waiting file can always be completed.
const HELD_MAX_BYTES: usize = 2 * SOURCES_MAX_BYTES;

/// Receives a file that is ready to be written.
pub(crate) trait Put: FnMut(&'static TargetFile, FileMode, &[u8]) {}
impl<F: FnMut(&'static TargetFile, FileMode, &[u8])> Put for F {}

/// Writes each file when all of its secrets have been read. A secret that is only in files of a
/// single secret is not held.
pub(crate) struct Composer {
    wanted: &'static Outputs,
    outputs: Vec<Output>,
    /// Answers for files of several secrets, held until the last secret of the file arrives.
    held: BTreeMap<Key, Result<Secret, Failure>>,
    /// The sizes of answers that were dropped because of the limit. They are requested again when
    /// there is room.
    dropped: BTreeMap<Key, usize>,
    /// Whether the variables' file is written without variables that could not be read.
    has_partial_variables: bool,
}

/// The result for the files of one secret.
#[derive(Debug, Default)]
pub(crate) struct ComposeResult {
    /// One failure for each file or variable that could not be composed. Secrets that could not be
    /// read are not included.
    pub(crate) failures: Vec<Failure>,
    /// Optional files that are omitted because their source does not exist.
    pub(crate) absent: Vec<&'static TargetFile>,
    /// The secrets of other files that were not written.
    pub(crate) not_written: BTreeSet<Key>,
    /// Secrets that must be read to write a file of several.
    pub(crate) needed: BTreeSet<Key>,
}

/// A file and its secrets.
struct Output {
    keys: BTreeSet<Key>,
    content: Contents,
    /// For a file of several secrets: whether it has to be written.
    is_collecting: bool,
}

enum Contents {
    File(&'static FileSpec),
    Variables(&'static TargetFile),
}

impl Composer {
    /// Starts with every file to be written.
    pub(crate) fn new(wanted: &'static Outputs) -> Self {
        let files = wanted.files.iter().filter_map(|spec| match &spec.source {
            Source::Secrets(source) => {
                Some((source.secrets().map(Key::from_secret).collect(), Contents::File(spec)))
            }
            Source::Lease(_) => None,
        });
        let variables = wanted.variables_file.iter().map(|file| {
            let keys = wanted.variables.iter().map(|mapping| Key::from_secret(&mapping.secret)).collect();
            (keys, Contents::Variables(file))
        });
        let outputs = files.chain(variables);
        let outputs = outputs.map(|(keys, content)| {
            let keys: BTreeSet<Key> = keys;
            Output { is_collecting: keys.len() > 1, keys, content }
        });
        let (held, dropped) = (BTreeMap::new(), BTreeMap::new());
        Self { wanted, outputs: outputs.collect(), held, dropped, has_partial_variables: false }
    }

    /// Sets whether the variables' file is written without variables that could not be read, so
    /// that the pod can start.
    pub(crate) fn set_partial_variables(&mut self, has_partial_variables: bool) {
        self.has_partial_variables = has_partial_variables;
    }

    pub(crate) fn keys(&self) -> BTreeSet<Key> {
        self.outputs.iter().flat_map(|output| output.keys.iter().cloned()).collect()
    }

    /// The files of a secret.
    pub(crate) fn targets(&self, key: &Key) -> impl Iterator<Item = &'static TargetFile> {
        self.outputs_of(key).map(Output::target)
    }

    /// Whether all files of a secret may be omitted.
    pub(crate) fn is_optional(&self, key: &Key) -> bool {
        self.outputs_of(key).all(Output::is_optional)
    }

    fn outputs_of(&self, key: &Key) -> impl Iterator<Item = &Output> {
        self.outputs.iter().filter(move |output| output.keys.contains(key))
    }

    /// Processes the answer for a secret, and puts the files that it completes. `is_changed` means
    /// that the secret's files have to be written.
    pub(crate) fn take(
        &mut self,
        key: &Key,
        answer: Result<Secret, Failure>,
        is_changed: bool,
        mut put: impl Put,
    ) -> ComposeResult {
        let mut composed = ComposeResult::default();
        let mut is_held = false;
        let Self { wanted, outputs, held, dropped, has_partial_variables } = self;
        let mut writer = Writer {
            wanted,
            has_partial_variables: *has_partial_variables,
            composed: &mut composed,
            put: &mut put,
        };
        for output in outputs.iter_mut().filter(|output| output.keys.contains(key)) {
            if output.keys.len() > 1 {
                output.is_collecting |= is_changed && answer.is_ok();
                is_held |= output.is_collecting;
            } else if is_changed || answer.is_err() {
                writer.write(output, |_| answer.as_ref());
            }
        }
        if !is_held {
            return composed;
        }
        held.insert(key.clone(), answer);
        dropped.remove(key);
        let collecting = |output: &&mut Output| output.is_collecting && output.keys.contains(key);
        for output in outputs.iter_mut().filter(collecting) {
            let missing: Vec<_> = output.keys.iter().filter(|key| !held.contains_key(key)).cloned().collect();
            let bytes = |key| held.get(key).map_or(0, bytes);
            if output.keys.iter().map(bytes).sum::<usize>() > SOURCES_MAX_BYTES {
                writer.composed.failures.push(too_large(output.target()));
                output.is_collecting = false;
            } else if missing.is_empty() {
                writer.write(output, |key| held[key].as_ref());
                output.is_collecting = false;
            } else {
                writer.composed.needed.extend(missing.into_iter().filter(|key| !dropped.contains_key(key)));
            }
        }
        self.limit_held(&mut composed.needed);
        composed
    }

    /// Drops answers that no file needs any more, and those that exceed the limit. Files are served
    /// in order: the first waiting file gets all it needs, so the files are completed one after the
    /// other.
    fn limit_held(&mut self, needed: &mut BTreeSet<Key>) {
        let (mut held, mut dropped) = (mem::take(&mut self.held), mem::take(&mut self.dropped));
        let mut room = HELD_MAX_BYTES;
        for key in self.outputs.iter().filter(|output| output.is_collecting).flat_map(|output| &output.keys) {
            if let Some((key, answer)) = held.remove_entry(key) {
                let bytes = bytes(&answer);
                if let Some(left) = room.checked_sub(bytes) {
                    room = left;
                    self.held.insert(key, answer);
                } else {
                    self.dropped.insert(key, bytes);
                }
            } else if let Some((key, bytes)) = dropped.remove_entry(key) {
                if let Some(left) = room.checked_sub(bytes) {
                    room = left;
                    needed.insert(key);
                } else {
                    self.dropped.insert(key, bytes);
                }
            }
        }
    }
}

/// The approximate memory of an answer.
fn bytes(answer: &Result<Secret, Failure>) -> usize {
    answer.as_ref().map_or(0, |secret| secret.data.json().len())
}

impl Output {
    fn target(&self) -> &'static TargetFile {
        match self.content {
            Contents::File(spec) => &spec.file,
            Contents::Variables(file) => file,
        }
    }

    fn is_optional(&self) -> bool {
        matches!(self.content, Contents::File(FileSpec { optional: true, .. }))
    }
}

/// Writes files from available answers.
struct Writer<'a, P> {
    wanted: &'static Outputs,
    has_partial_variables: bool,
    composed: &'a mut ComposeResult,
    put: P,
}

/// Why a file is not written.
enum SkipReason {
    /// It is optional, and its source does not exist.
    Absent,
    /// Any other failure.
    Failed,
}

impl<P: Put> Writer<'_, P> {
    fn write<'s>(&mut self, output: &Output, answers: impl Fn(&Key) -> Result<&'s Secret, &'s Failure>) {
        let content = match output.content {
            Contents::File(spec) => self.file(spec, answers).map(|bytes| (bytes, spec.mode)),
            Contents::Variables(target) => {
                self.variables(target, answers).map(|bytes| (bytes, FileMode::DEFAULT))
            }
        };
        match content {
            Ok((bytes, mode)) => (self.put)(output.target(), mode, &bytes),
            Err(SkipReason::Absent) => self.composed.absent.push(output.target()),
            Err(SkipReason::Failed) => self.composed.not_written.extend(output.keys.iter().cloned()),
        }
    }

    fn file<'s>(
        &mut self,
        spec: &FileSpec,
        answers: impl Fn(&Key) -> Result<&'s Secret, &'s Failure>,
    ) -> Result<Vec<u8>, SkipReason> {
        let unwritten = |failure: &Failure| match failure.cause {
            Cause::Absent if spec.optional => SkipReason::Absent,
            _ => SkipReason::Failed,
        };
        let Source::Secrets(source) = &spec.source else { return Err(SkipReason::Failed) };
        let mut contents = Vec::new();
        for secret in source.secrets() {
            // The failed read is reported once, not for each of its files.
            let Secret { version, data } = answers(&Key::from_secret(secret)).map_err(unwritten)?;
            contents.push(Content { version: Some(*version), data });
        }
        render::render(&spec.source, &spec.style, &contents).map_err(|error| {
            let failure = render_failure(spec, &error);
            let unwritten = unwritten(&failure);
            if matches!(unwritten, SkipReason::Failed) {
                self.composed.failures.push(failure);
            }
            unwritten
        })
    }

    fn variables<'s>(
        &mut self,
        target: &TargetFile,
        answers: impl Fn(&Key) -> Result<&'s Secret, &'s Failure>,
    ) -> Result<Vec<u8>, SkipReason> {
        let mut bytes = Vec::new();
        let mut is_complete = true;
        for mapping in &self.wanted.variables {
            let Ok(secret) = answers(&Key::from_secret(&mapping.secret)) else {
                is_complete = false;
                continue;
            };
            let field = mapping.secret.field.as_ref().expect("the grammar of variables asks for a field");
            match render::variable_line(&mapping.variable, &secret.data, field) {
                Ok(line) => bytes.extend_from_slice(line.as_bytes()),
                Err(error) => {
                    self.composed.failures.push(Failure::from_render_error(mapping, &error));
                    is_complete = false;
                }
            }
        }
        if bytes.len() > VARIABLES_MAX_BYTES {
            let reason = format!(
                "the variables have {} bytes together, and Kubernetes reads {VARIABLES_MAX_BYTES}; write some to files",
                bytes.len()
            );
            self.composed.failures.push(Failure::new(target, reason, Exit::Invalid));
            return Err(SkipReason::Failed);
        }
        if is_complete || self.has_partial_variables { Ok(bytes) } else { Err(SkipReason::Failed) }
    }
}

fn too_large(target: &TargetFile) -> Failure {
    let limit = SOURCES_MAX_BYTES / 1024 / 1024;
    let reason = format!("its secrets have more than {limit} MiB together; write them to several files");
    Failure::new(target, reason, Exit::Invalid)
}

/// Puts the files of all held leases. Returns one failure for each that cannot be composed.
pub(crate) fn compose_leases(wanted: &'static Outputs, leases: &Leases, mut put: impl Put) -> Vec<Failure> {
    let mut failures = Vec::new();
    for spec in &wanted.files {
        let Some(lease) = spec.source.lease().and_then(|dynamic| leases.get(dynamic)) else { continue };
        match render::render(
            &spec.source,
            &spec.style,
            &[Content { version: None, data: &lease.credentials }],
        ) {
            Ok(bytes) => put(&spec.file, spec.mode, &bytes),
            Err(error) => failures.push(render_failure(spec, &error)),
        }
    }
    failures
}

fn render_failure(spec: &FileSpec, error: &RenderError) -> Failure {
    Failure::from_render_error(format_args!("{} -> {}", spec.source, spec.file), error)
}

#[cfg(test)]
mod tests;
