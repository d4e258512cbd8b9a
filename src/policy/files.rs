//! Reads policies from files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::bail;
use scaivault_inject::{Policy, PolicySet};
use scaivault_policy::{KIND, TEST_KIND, VERSION, compile};

use crate::{
    document::{self, ParseError},
    edit::Places,
    input::{self, Source},
    object::{Object, objects},
    yaml_stream::{self, Document},
};

/// The policies, and the mistakes in those that cannot be used.
#[derive(Debug, Default)]
pub(crate) struct PolicyFiles {
    policies: Vec<Policy>,
    /// The files that were read.
    files: BTreeSet<PathBuf>,
    /// Where each policy was found, by name.
    places: BTreeMap<String, String>,
    /// One line each, with its position.
    pub(crate) mistakes: Vec<String>,
}

/// Whether an object is a policy, or was probably meant to be one.
pub(crate) fn is_policy(object: &Object<'_>) -> bool {
    let group = |api_version: &str| api_version.split('/').next().unwrap_or_default().to_owned();
    object.kind == KIND || (group(object.api_version) == group(VERSION) && object.kind != TEST_KIND)
}

/// The message for a document that cannot be parsed.
pub(crate) fn parse_mistake(source: &Source, error: &ParseError) -> String {
    let ParseError { line, column, message, hint } = error;
    let hint = hint.map(|hint| format!("; to fix: {hint}")).unwrap_or_default();
    format!("{}:{line}:{column}: {message}{hint}", source.name)
}

impl PolicyFiles {
    /// Reads the policies in these files and directories. Objects of other kinds are ignored.
    pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<PolicySet> {
        let mut files = Self::default();
        for path in paths {
            files.add_path(path)?;
        }
        if !files.mistakes.is_empty() {
            bail!("policies that cannot be used\n{}", files.mistakes.join("\n"));
        }
        Ok(files.into_set())
    }

    /// Adds the policies of a file or directory, which must contain at least one.
    pub(crate) fn add_path(&mut self, path: &Path) -> anyhow::Result<()> {
        let found = input::find(&[path.to_owned()])?;
        if let Some(error) = found.errors.into_iter().next() {
            return Err(error.into());
        }
        let (before, mut is_known) = (self.count(), false);
        for file in &found.files {
            if self.is_read(file) {
                is_known = true;
            } else {
                self.add_source(&input::read(file)?);
            }
        }
        if self.count() == before && !is_known {
            bail!(
                "{}: no {KIND} ({VERSION}) is here; name a file or directory with policies",
                path.display()
            );
        }
        Ok(())
    }

    /// Records that a file is read, and returns whether it was read before, by this or another
    /// path.
    pub(crate) fn is_read(&mut self, file: &Path) -> bool {
        !self.files.insert(fs::canonicalize(file).unwrap_or_else(|_| file.to_owned()))
    }

    /// Adds the policies of a text, if there are any.
    pub(crate) fn add_source(&mut self, source: &Source) {
        for document in yaml_stream::split(&source.text) {
            let Some(content) = &document.content else { continue };
            match document::parse(&document) {
                Ok(value) => {
                    for object in objects(&value.unwrap_or_default()) {
                        // Also one without an `apiVersion`.
                        if is_policy(&object) || object.value["kind"] == KIND {
                            self.add(&object, source, &document, content.line);
                        }
                    }
                }
                Err(error) => self.mistakes.push(parse_mistake(source, &error)),
            }
        }
    }

    fn add(&mut self, object: &Object<'_>, source: &Source, document: &Document<'_>, line: usize) {
        let name = object.name();
        let mut mistake = |line, text: &str| {
            self.mistakes.push(format!("{}:{line} injectionpolicy/{name}: {text}", source.name));
        };
        match compile(&object.standalone()) {
            Ok(policy) => {
                if let Some(other) = self.places.get(name) {
                    mistake(line, &format!("metadata.name: {other} has a policy of this name, too"));
                } else {
                    self.places.insert(name.to_owned(), format!("{}:{line}", source.name));
                    self.policies.push(policy);
                }
            }
            Err(problems) => {
                let places = Places::parse(document);
                for problem in &problems {
                    let at = places.as_ref().and_then(|places| places.field(&object.pointer, &problem.field));
                    mistake(at.unwrap_or(line), &problem.to_string());
                }
            }
        }
    }

    /// The number of policies and mistakes.
    pub(crate) fn count(&self) -> usize {
        self.policies.len() + self.mistakes.len()
    }

    /// The policies that can be used.
    pub(crate) fn into_set(self) -> PolicySet {
        PolicySet::new(self.policies)
    }
}
