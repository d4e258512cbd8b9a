//! `fuzz/dictionaries/annotations.dict`: keys and examples of the registry, for libFuzzer.

use std::{collections::BTreeSet, fmt::Write as _};

use anyhow::{Context, Result};
use serde::Deserialize;

const HEAD: &str = "# Written by `cargo xtask docs` from the annotation registry.\n";

/// The used fields of a row of `scaivault-injector annotations --format json`.
#[derive(Deserialize)]
struct Annotation {
    key: String,
    examples: Vec<String>,
}

/// Generates the dictionary. Keys have the form of the target's input: without prefix, and without
/// the name that the user chooses.
pub(super) fn page(annotations: &str) -> Result<String> {
    let annotations: Vec<Annotation> =
        serde_json::from_str(annotations).context("the table of annotations is not what was expected")?;
    let words: BTreeSet<_> = annotations
        .iter()
        .flat_map(|row| row.examples.iter().map(String::as_str).chain([key(&row.key)]))
        .collect();
    let mut page = HEAD.to_owned();
    for word in words.into_iter().filter(|word| !word.is_empty()) {
        writeln!(page, "\"{}\"", escape(word))?;
    }
    Ok(page)
}

fn key(full: &str) -> &str {
    let key = full.rsplit_once('/').map_or(full, |(_, key)| key);
    key.split_once('<').map_or(key, |(key, _)| key)
}

/// Escapes quotes, backslashes and everything that is not printable ASCII as `\xHH` for libFuzzer.
fn escape(word: &str) -> String {
    let mut escaped = String::new();
    for byte in word.bytes() {
        match byte {
            b'"' | b'\\' => write!(escaped, "\\{}", char::from(byte)),
            b' '..=b'~' => write!(escaped, "{}", char::from(byte)),
            _ => write!(escaped, "\\x{byte:02X}"),
        }
        .expect("writing to a string does not fail");
    }
    escaped
}
