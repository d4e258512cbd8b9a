//! One row per key, one file per section.

mod container;
mod delivery;
mod failure;
mod files;
mod identity;
mod mode;
mod refresh;
mod restart;
mod secrets;
mod written;

use std::{borrow::Cow, str::FromStr};

use scaivault_contract::{DeferredSource, SecretSourceError, SecretSourceErrors};

use super::{
    AnnotationSpec, DefaultValue, Entry, EntryError, ExactKey, Group, Key, NameError, NamedKey, Rejection,
    Section, Setters,
};
use crate::{
    annotations::draft::{Draft, FileDraft},
    problem::{Code, shown_key},
    quantity::Quantity,
};

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
    Section { group: Group::Secrets, specs: secrets::ROWS },
    Section { group: Group::Files, specs: files::ROWS },
    Section { group: Group::Mode, specs: mode::ROWS },
    Section { group: Group::Delivery, specs: delivery::ROWS },
    Section { group: Group::Refresh, specs: refresh::ROWS },
    Section { group: Group::Restart, specs: restart::ROWS },
    Section { group: Group::Identity, specs: identity::ROWS },
    Section { group: Group::Failure, specs: failure::ROWS },
    Section { group: Group::Container, specs: container::ROWS },
    Section { group: Group::Written, specs: written::ROWS },
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
        let message = format!("the name {name} also stands in {other}{name}, and one file cannot be both");
        let fix = "rename one of the two keys: each file needs a name of its own".to_owned();
        return Err(NameError { code: Code::FileConflict, message, allowed: None, fix });
    }
    Ok(name.to_owned())
}
