//! The table of annotations, in the order of the documentation.
//!
//! Parsing, defaults, suggestions, the subcommand `annotations`, `docs/annotations.md`, the fuzz
//! dictionary and the random annotations of the property tests are derived from this table.

use std::{borrow::Cow, str::FromStr};

use scaivault_contract::{DeferredSource, SecretSourceError, SecretSourceErrors};

use super::{
    draft::{Draft, FileDraft},
    key::{ExactKey, Key, NamedKey},
    value::{Reason, ValueKind},
};
use crate::{
    layer::Setters,
    problem::{Code, shown_key},
    quantity::Quantity,
};

mod container;
mod delivery;
mod identity;
mod lifecycle;
mod secrets;

/// An annotation key and everything that is derived from it.
#[derive(Debug)]
pub struct AnnotationSpec {
    /// The key without the prefix.
    pub key: Key,
    /// The kind of its values.
    pub value: ValueKind,
    /// The default, as it is documented.
    pub default: DefaultValue,
    /// The layers that may set it.
    pub setters: Setters,
    /// One or two sentences in Markdown.
    pub doc: &'static str,
    /// Accepted values. Documentation shows the first; the property tests and the fuzzers use all
    /// of them.
    pub examples: &'static [&'static str],
    /// Parses a value and stores it in the draft, without looking at other keys.
    pub(crate) set: fn(&mut Draft, &Entry<'_>) -> Result<(), Rejection>,
}

/// Keys that belong together.
#[derive(Debug)]
pub struct Section {
    /// Their subject.
    pub group: Group,
    /// The keys, in the order of the documentation.
    pub specs: &'static [AnnotationSpec],
}

/// The subjects of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The secrets that are injected.
    Secrets,
    /// Options of a file.
    Files,
    /// Whether a pod is injected at all.
    Mode,
    /// How and to which containers the secrets are delivered.
    Delivery,
    /// How the secrets are kept up to date.
    Refresh,
    /// Whether the workload is restarted.
    Restart,
    /// The agent's identity at ScaiVault.
    Identity,
    /// The behaviour if ScaiVault is unavailable.
    Failure,
    /// The agent's container.
    Container,
    /// Keys that the injector writes.
    Written,
}

impl AnnotationSpec {
    /// The example in the documentation.
    pub fn example(&self) -> &'static str {
        self.examples.first().copied().unwrap_or_default()
    }
}

impl Group {
    /// The title of the section.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Secrets => "Secrets",
            Self::Files => "Files",
            Self::Mode => "Opting in and out",
            Self::Delivery => "Delivery",
            Self::Refresh => "Refresh and reload",
            Self::Restart => "Restarts",
            Self::Identity => "ScaiVault and identity",
            Self::Failure => "Failure",
            Self::Container => "The agent's container",
            Self::Written => "Written by the injector",
        }
    }
}

/// The default of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// A fixed value, in the form of an annotation.
    Value(&'static str),
    /// A description, if it depends on other settings.
    Words(&'static str),
    /// No default.
    None,
}

/// An annotation as it is passed to its row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// The name after a [`Key::Named`]; empty for other keys.
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
}

/// Why a row does not accept an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// One error. The accepted values are those of the key's [`ValueKind`].
    Value(Reason),
    /// The errors of a list, each with its accepted values.
    Entries(Vec<EntryError>),
    /// The name in the key is invalid, whatever the value is.
    Name(NameError),
}

/// The error in a name after a [`Key::Named`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameError {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// The accepted names, if they can be described.
    pub(crate) allowed: Option<&'static str>,
    pub(crate) fix: String,
}

/// The error in one entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryError {
    pub(crate) message: String,
    pub(crate) allowed: Option<String>,
}

impl From<NameError> for Rejection {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self::Value(reason)
    }
}

impl From<&'static str> for Rejection {
    fn from(reason: &'static str) -> Self {
        Self::Value(reason.into())
    }
}

/// All rows, in the order of the documentation.
pub fn specs() -> impl Iterator<Item = &'static AnnotationSpec> {
    REGISTRY.iter().flat_map(|section| section.specs)
}

/// The row of a key.
pub(crate) fn spec_for(key: ExactKey) -> &'static AnnotationSpec {
    let found = specs().find(|spec| spec.key == Key::Exact(key));
    found.expect("each key has a row, which a test checks")
}

/// The row of a written key, and the name in it.
pub fn spec_of(key: &str) -> Option<(&'static AnnotationSpec, &str)> {
    specs().find_map(|spec| Some((spec, spec.key.name_in(key)?)))
}

/// Whether a key asks for an injection.
pub(crate) fn asks_for_secrets(key: &str) -> bool {
    let secrets = REGISTRY.iter().filter(|section| section.group == Group::Secrets);
    secrets.flat_map(|section| section.specs).any(|spec| spec.key.name_in(key).is_some())
}

/// Maximum length of a `<name>`: a key has at most 63 characters after the slash, and
/// `secret-template-` takes 16.
const LONGEST_NAME: usize = 47;

/// The accepted values of a `<name>`.
const NAME_ALLOWED: &str = "a name of 1 to 47 letters, digits, -, _ and .";

/// The number of CPUs of the largest machines, rounded up.
const LARGEST_CPU: u32 = 4096;
/// The smallest amount of memory that the kernel allocates.
const LEAST_MEMORY_KIBIBYTES: u32 = 4;

/// Every annotation under `scaivault.scailabs.ai/`.
pub static REGISTRY: &[Section] = &[
    Section { group: Group::Secrets, specs: secrets::SECRETS },
    Section { group: Group::Files, specs: secrets::FILES },
    Section { group: Group::Mode, specs: lifecycle::MODE },
    Section { group: Group::Delivery, specs: delivery::ROWS },
    Section { group: Group::Refresh, specs: lifecycle::REFRESH },
    Section { group: Group::Restart, specs: lifecycle::RESTART },
    Section { group: Group::Identity, specs: identity::ROWS },
    Section { group: Group::Failure, specs: lifecycle::FAILURE },
    Section { group: Group::Container, specs: container::ROWS },
    Section { group: Group::Written, specs: lifecycle::WRITTEN },
];

/// Errors of the types in `crates/contract` end with the accepted values; they are removed, because
/// the key's kind has its own.
fn parse<T: FromStr<Err: ToString>>(entry: &Entry<'_>) -> Result<T, Cow<'static, str>> {
    entry.value.parse().map_err(|error: T::Err| Cow::Owned(split_allowed(&error.to_string()).0.to_owned()))
}

/// Splits an error of the types in `crates/contract` into its message and the accepted values. The
/// separator is searched from the end, because a quoted value may contain it.
fn split_allowed(error: &str) -> (&str, Option<&str>) {
    match error.rsplit_once("; allowed: ") {
        Some((message, allowed)) => (message, Some(allowed)),
        None => (error, None),
    }
}

/// Parses one secret or a list. Returns every error, each with its accepted values.
fn secret_source(entry: &Entry<'_>) -> Result<DeferredSource, Rejection> {
    entry.value.parse().map_err(|errors: SecretSourceErrors| {
        let entry_error = |error: SecretSourceError| {
            let text = error.to_string();
            let (message, allowed) = split_allowed(&text);
            EntryError { message: message.to_owned(), allowed: allowed.map(str::to_owned) }
        };
        Rejection::Entries(errors.into_iter().map(entry_error).collect())
    })
}

fn quantity(entry: &Entry<'_>) -> Result<Quantity, Cow<'static, str>> {
    let quantity: Quantity = entry.value.parse().map_err(|_| "not a quantity")?;
    if quantity.is_positive() { Ok(quantity) } else { Err("it must be greater than zero".into()) }
}

/// Parses an amount of CPU.
fn cpu(entry: &Entry<'_>) -> Result<Quantity, Cow<'static, str>> {
    let quantity = quantity(entry)?;
    if quantity > Quantity::whole(LARGEST_CPU) {
        return Err(format!("it must be at most {LARGEST_CPU} CPUs").into());
    }
    Ok(quantity)
}

/// Parses an amount of memory. Less than a page is probably a mistaken `m`, which means thousandths
/// of a byte.
fn memory(entry: &Entry<'_>) -> Result<Quantity, Cow<'static, str>> {
    let quantity = quantity(entry)?;
    if entry.value.ends_with('m') {
        return Err("the suffix m means thousandths of a byte".into());
    }
    if quantity < Quantity::kibibytes(LEAST_MEMORY_KIBIBYTES) {
        return Err(format!("it must be at least {LEAST_MEMORY_KIBIBYTES}Ki").into());
    }
    Ok(quantity)
}

fn file<'a>(draft: &'a mut Draft, entry: &Entry<'_>) -> &'a mut FileDraft {
    draft.files.entry(entry.name.to_owned()).or_default()
}

/// Validates the name of a file. `is_taken` says whether the key `other` has the same name.
fn file_name(name: &str, is_taken: bool, other: NamedKey) -> Result<String, NameError> {
    let error = |code, message, fix| Err(NameError { code, message, allowed: Some(NAME_ALLOWED), fix });
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.len() > LONGEST_NAME {
        let message = format!("the name {} has more than {LONGEST_NAME} characters", shown_key(name));
        let fix = "shorten the name in the key; secret-file-<name> gives the file another path".to_owned();
        return error(Code::InvalidValue, message, fix);
    }
    if !name.bytes().all(is_plain) {
        let message = "the name in the key has characters that an annotation key cannot hold".to_owned();
        let fix = "rename the key; secret-file-<name> gives the file any other path".to_owned();
        return error(Code::InvalidValue, message, fix);
    }
    if is_taken {
        let message = format!("the name {name} is also used in {other}{name}, and one file cannot be both");
        let fix = "rename one of the two keys: each file needs a name of its own".to_owned();
        return Err(NameError { code: Code::FileConflict, message, allowed: None, fix });
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests;
