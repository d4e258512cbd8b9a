//! One row a key, one file a chapter.

mod container;
mod delivery;
mod failure;
mod files;
mod identity;
mod mode;
mod refresh;
mod secrets;
mod written;

use std::{borrow::Cow, str::FromStr};

use scaivault_contract::{DeferredSource, SecretSourceError, SecretSourceErrors};

use super::{
    AnnotationSpec, Chapter, DefaultValue, Entry, EntryError, ExactKey, Group, Key, NamedKey, Rejection,
    Setters,
};
use crate::{
    annotations::draft::{Draft, FileDraft},
    quantity::Quantity,
};

/// The longest `<name>`: a key has at most 63 characters after the slash, and `secret-template-` takes 16.
const LONGEST_NAME: usize = 47;

/// CPUs of the largest machines, rounded up.
const LARGEST_CPU: u32 = 4096;
/// The smallest amount of memory that the kernel hands out.
const LEAST_MEMORY_KIBIBYTES: u32 = 4;

/// Every annotation under `scaivault.scailabs.ai/`.
pub static REGISTRY: &[Chapter] = &[
    Chapter { group: Group::Secrets, specs: secrets::ROWS },
    Chapter { group: Group::Files, specs: files::ROWS },
    Chapter { group: Group::Mode, specs: mode::ROWS },
    Chapter { group: Group::Delivery, specs: delivery::ROWS },
    Chapter { group: Group::Refresh, specs: refresh::ROWS },
    Chapter { group: Group::Identity, specs: identity::ROWS },
    Chapter { group: Group::Failure, specs: failure::ROWS },
    Chapter { group: Group::Container, specs: container::ROWS },
    Chapter { group: Group::Written, specs: written::ROWS },
];

/// The errors of the shared types end with what is allowed; here the kind of the value says that.
fn parse<T: FromStr<Err: ToString>>(entry: &Entry<'_>) -> Result<T, Cow<'static, str>> {
    entry.value.parse().map_err(|error: T::Err| Cow::Owned(split_allowed(&error.to_string()).0.to_owned()))
}

/// An error of the shared types without and with what it says is allowed. A quoted value comes before that.
fn split_allowed(error: &str) -> (&str, Option<&str>) {
    match error.rsplit_once("; allowed: ") {
        Some((message, allowed)) => (message, Some(allowed)),
        None => (error, None),
    }
}

/// One secret or a list: every error of it, each with what is allowed there.
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
    let Ok(quantity) = entry.value.parse::<Quantity>() else {
        return Err(with_meant("not a quantity".to_owned(), Quantity::meant(entry.value)));
    };
    if quantity.is_positive() { Ok(quantity) } else { Err("it must be greater than zero".into()) }
}

/// An amount of CPU. More than a machine has is an amount of memory, or a wrong `M`.
fn cpu(entry: &Entry<'_>) -> Result<Quantity, Cow<'static, str>> {
    let quantity = quantity(entry)?;
    if quantity > Quantity::whole(LARGEST_CPU) {
        let meant = entry.value.strip_suffix('M').map(|number| format!("{number}m"));
        return Err(with_meant(format!("it must be at most {LARGEST_CPU} CPUs"), meant));
    }
    Ok(quantity)
}

/// An amount of memory. Less than a page is a wrong `m`, which means thousandths of a byte.
fn memory(entry: &Entry<'_>) -> Result<Quantity, Cow<'static, str>> {
    let quantity = quantity(entry)?;
    if let Some(number) = entry.value.strip_suffix('m') {
        let meant = Some(format!("{number}M"));
        return Err(with_meant("the suffix m means thousandths of a byte".to_owned(), meant));
    }
    if quantity < Quantity::kibibytes(LEAST_MEMORY_KIBIBYTES) {
        return Err(with_meant(format!("it must be at least {LEAST_MEMORY_KIBIBYTES}Ki"), None));
    }
    Ok(quantity)
}

fn with_meant(message: String, meant: Option<String>) -> Cow<'static, str> {
    match meant.filter(|meant| meant.parse::<Quantity>().is_ok()) {
        Some(meant) => format!("{message}; did you mean {meant}?").into(),
        None => message.into(),
    }
}

fn file<'a>(draft: &'a mut Draft, entry: &Entry<'_>) -> &'a mut FileDraft {
    draft.files.entry(entry.name.to_owned()).or_default()
}

fn file_name(name: &str, taken: bool, by: &str) -> Result<String, Cow<'static, str>> {
    if name.len() > LONGEST_NAME {
        return Err(format!("the name {name} has more than {LONGEST_NAME} characters").into());
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err("the name in the key has characters that an annotation key cannot hold".into());
    }
    if taken {
        return Err(format!("the name {name} also stands in {by}{name}").into());
    }
    Ok(name.to_owned())
}
