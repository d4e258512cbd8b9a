//! Keys that are none of ours, and what was probably meant.

use std::borrow::Cow;

use scaivault_contract::names::ANNOTATION_PREFIX;

use super::{
    key::Key,
    nearest::distance_within,
    registry::{asks_for_secrets, specs},
    value::ValueKind,
};
use crate::problem::{Code, Excerpt, Layer, Problem, shown_key};

/// The longest name of an annotation or label behind its prefix, bytes.
const NAME_BYTES: usize = 63;
/// The most edits between the prefix of a key and ours.
const PREFIX_EDITS: usize = 3;
/// The longest key, bytes: a domain, a slash and a name.
const KEY_BYTES: usize = 253 + 1 + NAME_BYTES;
/// The most keys of one object that are warned of.
const KEYS_SHOWN: usize = 16;

/// An unknown key of a pod that is nearest to one that asks for a secret.
#[derive(Clone, Debug)]
pub(crate) struct Misspelt {
    key: String,
    meant: String,
}

impl Misspelt {
    /// Where another key asks for a secret.
    pub(crate) fn warning(&self) -> String {
        let Self { key, meant } = self;
        format!(
            "{ANNOTATION_PREFIX}{key} is not a known annotation; did you mean {ANNOTATION_PREFIX}{meant}?"
        )
    }

    /// Where no key asks for a secret: the pod would start without what it was annotated for.
    pub(crate) fn problem(self) -> Problem {
        let Self { key, meant } = self;
        Problem {
            code: Code::MisspeltKey,
            key: Some(key),
            layer: Layer::Pod,
            value: None,
            message: "not a known annotation, and no other one asks for a secret, so the pod would start without any"
                .into(),
            allowed: None,
            cure: format!("write {ANNOTATION_PREFIX}{meant}, or remove the annotation").into(),
        }
    }
}

/// What is said about an unknown key.
pub(crate) enum Unknown {
    /// It was to ask for a secret.
    Misspelt(Misspelt),
    /// Anything else, in words.
    Warning(String),
}

/// Looks for what was meant by an unknown key.
pub(crate) fn unknown(key: &str, layer: &Layer) -> Unknown {
    let place = if *layer == Layer::Pod { String::new() } else { format!(" (of the {layer})") };
    let shown = shown_key(key);
    // One that had to be quoted is no misspelling of a key, and a hint would repeat it.
    let meant = (shown == key).then(|| meant(key)).flatten();
    match meant {
        Some(meant) if *layer == Layer::Pod && asks_for_secrets(&meant) => {
            Unknown::Misspelt(Misspelt { key: key.to_owned(), meant })
        }
        Some(meant) => Unknown::Warning(format!(
            "{ANNOTATION_PREFIX}{shown}{place} is not a known annotation; did you mean {ANNOTATION_PREFIX}{meant}?"
        )),
        None => Unknown::Warning(format!(
            "{ANNOTATION_PREFIX}{shown}{place} is not a known annotation; `scaivault-injector annotations` lists them"
        )),
    }
}

/// The known key nearest to an unknown one, without the prefix. Of a key that takes a name, the part before the name is
/// compared: `inject-secert-db.json` finds `inject-secret-db.json`.
fn meant(key: &str) -> Option<String> {
    if key.len() > NAME_BYTES {
        return None;
    }
    // Same length as the key, so that places in one are places in the other.
    let plain = key.to_ascii_lowercase().replace('_', "-");
    let near = specs().filter(|spec| spec.value != ValueKind::Written).filter_map(|spec| match spec.key {
        Key::Exact(exact) => {
            let exact = exact.text();
            let most = (exact.len() / 3).max(1).min(plain.len().checked_sub(1)?);
            Some((distance_within(&plain, exact, most)?, exact.to_owned()))
        }
        Key::Named(named) => {
            let (distance, name) = name_behind(&plain, key, named.text())?;
            let name = if name.is_empty() { named.placeholder() } else { name };
            Some((distance, format!("{named}{name}")))
        }
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, key)| key)
}

/// The name that follows a named key in one that is misspelt, and how far that is from it. `plain` is the key in lower case.
fn name_behind<'k>(plain: &str, key: &'k str, named: &str) -> Option<(usize, &'k str)> {
    if let Some(at) = plain.find(named) {
        // In another case, or behind something: `agent-inject-secret-db.json`.
        return Some((usize::from(at > 0), &key[at + named.len()..]));
    }
    let stem = named.trim_end_matches('-');
    let most = stem.len() / 4;
    let ends = plain.match_indices(['-', '.']).map(|(at, _)| at).chain([plain.len()]);
    let misspelt = ends.filter(|end| end.abs_diff(stem.len()) <= most).filter_map(|end| {
        let name = key.get(end + 1..).unwrap_or_default();
        Some((distance_within(&plain[..end], stem, most)?, name))
    });
    // Without its last dash: `inject-secretdb.json`.
    let glued = plain.starts_with(stem).then(|| (1, &key[stem.len()..]));
    misspelt.chain(glued).min_by_key(|(distance, _)| *distance)
}

/// Where keys stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// Annotations that the injector reads.
    ReadAnnotations,
    /// Annotations that it does not read, such as those of the template of a CronJob's jobs.
    OtherAnnotations,
    /// Labels, which it never reads.
    Labels,
}

/// Warnings of full keys that were probably meant for the injector, and that it does not read where they stand: as labels, on
/// an object instead of its pod template, or with a misspelt prefix. `owner` says in words whose they are. At most 16.
pub fn misplaced_keys<'k>(place: KeyPlace, owner: &str, keys: impl Iterator<Item = &'k str>) -> Vec<String> {
    let warnings = keys.filter(|key| key.len() <= KEY_BYTES).filter_map(|key| {
        let whose = match place {
            KeyPlace::Labels => format!("label of the {owner}"),
            KeyPlace::ReadAnnotations | KeyPlace::OtherAnnotations => format!("of the {owner}"),
        };
        let (name, is_prefix_right) = name_of(key)?;
        // Of what has our prefix, labels may select workloads, and what is unknown is warned of elsewhere.
        let name = match known(name) {
            Some(name) => name,
            None if is_prefix_right => return None,
            None => Cow::Borrowed(name),
        };
        let shown = shown_full(key);
        match place {
            KeyPlace::ReadAnnotations if is_prefix_right => None,
            KeyPlace::Labels if is_prefix_right => Some(format!(
                "{shown} ({whose}) does nothing: labels are not read; write an annotation of the pod template"
            )),
            KeyPlace::OtherAnnotations if is_prefix_right => {
                Some(format!("{shown} ({whose}) does nothing there; move it to the pod template"))
            }
            _ => Some(format!(
                "{shown} ({whose}) does not have the injector's prefix; did you mean {ANNOTATION_PREFIX}{}?",
                shown_key(&name)
            )),
        }
    });
    warnings.take(KEYS_SHOWN).collect()
}

/// The name behind a prefix that is ours or nearly ours, and whether it is ours; none of other keys.
fn name_of(key: &str) -> Option<(&str, bool)> {
    if let Some(name) = key.strip_prefix(ANNOTATION_PREFIX) {
        return Some((name, true));
    }
    let domain = ANNOTATION_PREFIX.trim_end_matches('/');
    let is_near = |text: &str, most| distance_within(&text.to_ascii_lowercase(), domain, most).is_some();
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (prefix, name),
        None => ("", key),
    };
    if is_near(prefix, PREFIX_EDITS) {
        return Some((name, false));
    }
    // Part of our domain, or none: `scaivault/inject-secret-db`, `inject-secret-db`.
    let is_part = prefix.is_empty() || prefix.to_ascii_lowercase().contains("scai");
    if is_part && asks_for_secrets(name) {
        return Some((name, false));
    }
    // Without the slash: `scaivault.scailabs.ai.inject-secret-db`.
    let separators =
        key.match_indices(['.', '-', '_', ':', '\\']).map(|(at, separator)| (at, at + separator.len()));
    let glued = key.is_char_boundary(domain.len()).then_some((domain.len(), domain.len()));
    separators
        .chain(glued)
        .filter(|(end, _)| end.abs_diff(domain.len()) <= 1)
        .find(|(end, _)| key.get(..*end).is_some_and(|text| is_near(text, 1)))
        .and_then(|(_, start)| Some((key.get(start..).filter(|name| !name.is_empty())?, false)))
}

/// The known key that a name is or was meant to be.
fn known(name: &str) -> Option<Cow<'_, str>> {
    let is_known = specs().any(|spec| spec.key.name_in(name).is_some());
    if is_known { Some(Cow::Borrowed(name)) } else { meant(name).map(Cow::Owned) }
}

/// A full key as it may stand in a text.
fn shown_full(key: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    if key.bytes().all(is_plain) { Cow::Borrowed(key) } else { Cow::Owned(Excerpt::new(key).to_string()) }
}

#[cfg(test)]
mod tests;
