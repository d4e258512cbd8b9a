//! Unknown keys, and suggestions of what was probably meant.

use std::borrow::Cow;

use scaivault_contract::names::ANNOTATION_PREFIX;

use super::{
    key::{ExactKey, Key, NamedKey},
    nearest::distance_within,
    registry::{asks_for_secrets, specs},
    suggest::meant_bool,
    value::ValueKind,
};
use crate::problem::{Code, Excerpt, Layer, Problem, shown_key};

/// Maximum length of an annotation's or label's name after its prefix, in bytes.
const NAME_BYTES: usize = 63;
/// Maximum number of edits between the prefix of a key and the injector's prefix.
const PREFIX_EDITS: usize = 3;
/// The prefix of keys that ask for a secret.
const INJECT_DASH: &str = "inject-";
/// A number of edits above that of any two keys that are considered similar.
const FAR: usize = 6;
/// Maximum length of a key in bytes: a domain, a slash and a name.
const KEY_BYTES: usize = 253 + 1 + NAME_BYTES;
/// Maximum number of keys of one object that are reported.
const KEYS_SHOWN: usize = 16;

/// The purpose of a key for which having no effect would be the opposite of what its author wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intention {
    /// To request a secret.
    Ask,
    /// To opt pods out, or to remove an injection.
    OptOut,
}

impl Intention {
    /// The intention of a known key with this value; `None` if ignoring the key is harmless.
    fn new(key: &str, value: &str) -> Option<Self> {
        if asks_for_secrets(key) {
            return Some(Self::Ask);
        }
        match key {
            _ if key == ExactKey::MutationMode.text() => Some(Self::OptOut),
            _ if key == ExactKey::Inject.text() => match meant_bool(value) {
                Some(true) => Some(Self::Ask),
                Some(false) => Some(Self::OptOut),
                None => None,
            },
            _ => None,
        }
    }

    /// The consequence of the key having no effect.
    const fn effect(self) -> &'static str {
        match self {
            Self::Ask => "no annotation that is read asks for a secret, so the pods would start without any",
            Self::OptOut => "it has no effect, so the pods would still be injected",
        }
    }
}

/// A key without an effect that its author relies on.
#[derive(Clone, Debug)]
pub(crate) struct UnreadKey {
    key: String,
    pub(crate) layer: Layer,
    pub(crate) intention: Intention,
    /// The known key that was probably meant, without the prefix; `None` if the key is known but
    /// not allowed in its layer.
    meant: Option<String>,
}

impl UnreadKey {
    /// A known key that its layer must not set; `None` if ignoring it is harmless.
    pub(crate) fn not_taken(key: &str, value: &str, layer: &Layer) -> Option<Self> {
        let is_operators = matches!(layer, Layer::BuiltIn | Layer::Injector | Layer::Policy(_));
        let intention = Intention::new(key, value).filter(|_| !is_operators)?;
        Some(Self { key: key.to_owned(), layer: layer.clone(), intention, meant: None })
    }

    /// The text for cases where it is harmless.
    pub(crate) fn warning(&self) -> String {
        let place =
            if self.layer == Layer::Pod { String::new() } else { format!(" (of the {})", self.layer) };
        let key = shown_key(&self.key);
        if let Some(meant) = &self.meant {
            return format!(
                "{ANNOTATION_PREFIX}{key}{place} is not a known annotation; did you mean {ANNOTATION_PREFIX}{meant}?"
            );
        }
        let layer = &self.layer;
        format!("{ANNOTATION_PREFIX}{key} has no effect on the {layer} itself; {}", self.fix())
    }

    /// The problem for cases where the opposite of what the author wants would happen.
    pub(crate) fn problem(self) -> Problem {
        let effect = self.intention.effect();
        let fix = self.fix().into();
        let Self { key, layer, meant, .. } = self;
        let (code, fault) = match meant {
            Some(_) => (Code::MisspeltKey, "not a known annotation".to_owned()),
            None => (Code::MisplacedKey, format!("it is not read on the {layer}")),
        };
        Problem {
            code,
            key: Some(key),
            layer,
            value: None,
            message: format!("{fault}; {effect}").into(),
            allowed: None,
            fix,
        }
    }

    fn fix(&self) -> String {
        let mode = ExactKey::MutationMode.text();
        match (&self.meant, self.intention) {
            (Some(meant), _) if self.layer == Layer::Pod || meant == mode => {
                format!("write {ANNOTATION_PREFIX}{meant}, or remove the annotation")
            }
            (Some(meant), Intention::Ask) => format!("write {ANNOTATION_PREFIX}{meant} on the pod template"),
            (None, Intention::Ask) => "move it to the pod template".to_owned(),
            (_, Intention::OptOut) => format!("write {ANNOTATION_PREFIX}{mode}: ignore there"),
        }
    }
}

/// The result for an unknown key.
pub(crate) enum UnknownKey {
    /// It was probably meant to request a secret or to opt out.
    Unread(UnreadKey),
    /// Any other key: a warning.
    Warning(String),
}

/// Searches for the key that was probably meant.
pub(crate) fn unknown(key: &str, value: &str, layer: &Layer) -> UnknownKey {
    let place = if *layer == Layer::Pod { String::new() } else { format!(" (of the {layer})") };
    let shown = shown_key(key);
    // A key that has to be quoted is not a misspelling, and a suggestion would repeat it.
    let Some(meant) = (shown == key).then(|| meant(key)).flatten() else {
        return UnknownKey::Warning(format!(
            "{ANNOTATION_PREFIX}{shown}{place} is not a known annotation; `scaivault-injector annotations` lists them"
        ));
    };
    match Intention::new(&meant, value) {
        Some(intention) if matters_in(layer, intention) => UnknownKey::Unread(UnreadKey {
            key: key.to_owned(),
            layer: layer.clone(),
            intention,
            meant: Some(meant),
        }),
        _ => UnknownKey::Warning(format!(
            "{ANNOTATION_PREFIX}{shown}{place} is not a known annotation; did you mean {ANNOTATION_PREFIX}{meant}?"
        )),
    }
}

/// Whether the author of a misspelt key in this layer relies on it.
fn matters_in(layer: &Layer, intention: Intention) -> bool {
    match intention {
        Intention::Ask => matches!(layer, Layer::Pod | Layer::Workload),
        Intention::OptOut => matches!(layer, Layer::Pod | Layer::Workload | Layer::Namespace),
    }
}

/// The most similar known key, without the prefix. For a key with a name, only the part before the
/// name is compared: `inject-secert-db.json` finds `inject-secret-db.json`.
fn meant(key: &str) -> Option<String> {
    if key.len() > NAME_BYTES {
        return None;
    }
    if let Some(meant) = VAULT_K8S.iter().find_map(|(other, own)| translated(key, other, own)) {
        return Some(meant);
    }
    // It has the same length as the key, so indices in one are valid in the other.
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

/// Keys of vault-k8s of which only the prefix was replaced, and the injector's equivalents. Keys
/// that end in a dash take a name. `agent-inject-secret-<name>` is found by its similarity.
const VAULT_K8S: &[(&str, &str)] = &[
    ("agent-inject", "inject"),
    ("agent-inject-containers", "containers"),
    ("agent-inject-default-template", "secret-format-<name>"),
    ("agent-inject-file-", "secret-file-"),
    ("agent-inject-perms-", "secret-mode-"),
    ("agent-inject-template-", "secret-template-"),
    ("agent-limits-mem", "limits-memory"),
    ("agent-pre-populate-only", "pattern"),
    ("agent-requests-mem", "requests-memory"),
    ("auth-type", "client-credentials-secret"),
    ("secret-volume-path", "mount-path"),
    ("secret-volume-path-", "secret-file-"),
    ("service", "url"),
    ("template-static-secret-render-interval", "refresh-interval"),
];

fn translated(key: &str, other: &str, own: &str) -> Option<String> {
    let name = key.strip_prefix(other)?;
    (name.is_empty() != other.ends_with('-')).then(|| format!("{own}{name}"))
}

/// The name in a misspelt named key, and the edit distance of the rest. `plain` is the key in lower
/// case.
fn name_behind<'k>(plain: &str, key: &'k str, named: &str) -> Option<(usize, &'k str)> {
    if let Some(at) = plain.find(named) {
        // In another case, or with another prefix: `agent-inject-secret-db.json`.
        return Some((usize::from(at > 0), &key[at + named.len()..]));
    }
    let stem = named.trim_end_matches('-');
    let most = stem.len() / 4;
    let ends = plain.match_indices(['-', '.']).map(|(at, _)| at).chain([plain.len()]);
    let misspelt = ends.filter(|end| end.abs_diff(stem.len()) <= most).filter_map(|end| {
        let name = key.get(end + 1..).unwrap_or_default();
        Some((distance_within(&plain[..end], stem, most)?, name))
    });
    // Without the last dash: `inject-secretdb.json`.
    let glued = plain.starts_with(stem).then(|| (1, &key[stem.len()..]));
    misspelt.chain(glued).chain(half(plain, key, named)).min_by_key(|(distance, _)| *distance)
}

/// The name in a key that lacks a word, such as `secret-db.json` or `inject-db.json` for
/// `inject-secret-db.json`. Other misspellings take precedence.
fn half<'k>(plain: &str, key: &'k str, named: &str) -> Option<(usize, &'k str)> {
    let second = named.strip_prefix(INJECT_DASH)?;
    if plain.starts_with(second) {
        return Some((FAR, &key[second.len()..]));
    }
    let is_first = plain.starts_with(INJECT_DASH) && named == NamedKey::InjectSecret.text();
    is_first.then(|| (FAR + 1, &key[INJECT_DASH.len()..]))
}

/// Where keys were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace<'a> {
    /// In annotations that the injector reads.
    ReadAnnotations,
    /// In annotations that it does not read, such as those of the template of a CronJob's jobs.
    OtherAnnotations,
    /// In labels, which it never reads.
    Labels,
    /// In another field, such as `metadata.annotation`.
    OtherField(&'a str),
}

/// A key that was probably meant for the injector, in a place where it does not read it.
#[derive(Clone, Debug)]
pub struct MisplacedKey {
    fault: String,
    fix: String,
    intention: Option<Intention>,
}

impl MisplacedKey {
    /// Whether it requests a secret.
    pub fn asks(&self) -> bool {
        self.intention == Some(Intention::Ask)
    }

    /// Whether it opts out.
    pub fn opts_out(&self) -> bool {
        self.intention == Some(Intention::OptOut)
    }

    /// The text for cases where it is harmless.
    pub fn warning(&self) -> String {
        let Self { fault, fix, .. } = self;
        format!("{fault}; {fix}")
    }

    /// The problem for cases where the opposite of what the author wants would happen.
    pub fn problem(self) -> Problem {
        let Self { fault, fix, intention } = self;
        let effect = intention.map_or("", Intention::effect);
        Problem {
            code: Code::MisplacedKey,
            // The message has the full key, because its prefix may be misspelt.
            key: None,
            layer: Layer::Pod,
            value: None,
            message: format!("{fault}; {effect}").into(),
            allowed: None,
            fix: fix.into(),
        }
    }
}

/// Finds full keys that were probably meant for the injector but are in a place where it does not
/// read them: labels, an object instead of its pod template, or a misspelt prefix. `owner` is the
/// object in words. Returns at most 16.
pub fn misplaced_keys<'k>(
    place: KeyPlace<'_>,
    owner: &str,
    entries: impl Iterator<Item = (&'k str, &'k str)>,
) -> Vec<MisplacedKey> {
    let found = entries.filter(|(key, _)| key.len() <= KEY_BYTES).filter_map(|(key, value)| {
        let whose = match place {
            KeyPlace::Labels => format!("label of the {owner}"),
            KeyPlace::ReadAnnotations | KeyPlace::OtherAnnotations => format!("of the {owner}"),
            KeyPlace::OtherField(field) => format!("in {field} of the {owner}"),
        };
        let (name, is_prefix_right) = name_of(key)?;
        // With the exact prefix, labels may select workloads, and unknown annotations are reported
        // elsewhere.
        let name = match known(name) {
            Some(name) => name,
            None if is_prefix_right => return None,
            None => Cow::Borrowed(name),
        };
        let shown = shown_full(key);
        let reader = if owner == "namespace" { "namespace" } else { "pod template" };
        let (fault, fix) = match place {
            KeyPlace::ReadAnnotations if is_prefix_right => return None,
            KeyPlace::Labels if is_prefix_right => {
                ("has no effect: labels are not read", format!("write an annotation of the {reader}"))
            }
            KeyPlace::OtherAnnotations if is_prefix_right => {
                ("has no effect there", "move it to the pod template".to_owned())
            }
            KeyPlace::OtherField(_) if is_prefix_right => {
                ("has no effect there", format!("write it below metadata.annotations of the {reader}"))
            }
            _ => (
                "does not have the injector's prefix",
                format!("did you mean {ANNOTATION_PREFIX}{}?", shown_key(&name)),
            ),
        };
        let fault = format!("{shown} ({whose}) {fault}");
        Some(MisplacedKey { fault, fix, intention: Intention::new(&name, value) })
    });
    found.take(KEYS_SHOWN).collect()
}

/// The name after the injector's prefix or a similar one, and whether the prefix is exact; `None`
/// for other keys.
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
    // A part of the domain, or no prefix: `scaivault/inject-secret-db`, `inject-secret-db`.
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

/// The known key that a name is or probably was meant to be.
fn known(name: &str) -> Option<Cow<'_, str>> {
    let is_known = specs().any(|spec| spec.key.name_in(name).is_some());
    if is_known { Some(Cow::Borrowed(name)) } else { meant(name).map(Cow::Owned) }
}

/// A full key in a form that is safe to show.
fn shown_full(key: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    if key.bytes().all(is_plain) { Cow::Borrowed(key) } else { Cow::Owned(Excerpt::new(key).to_string()) }
}

#[cfg(test)]
mod tests;
