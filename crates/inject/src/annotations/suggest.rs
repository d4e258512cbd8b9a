//! Suggests what was probably meant by a value that its key does not accept.

mod secret;

use scaivault_contract::{Duration, Encoding, Format, Signal};

use super::{
    draft::Draft,
    nearest,
    registry::{AnnotationSpec, Entry, spec_of},
    value::ValueKind,
};
use crate::quantity::Quantity;

/// Maximum length in bytes of a value that is corrected.
const VALUE_BYTES: usize = 256;

/// The suggested fix: a corrected value that the key accepts, else the accepted words, else an
/// example.
pub(crate) fn fix(spec: &AnnotationSpec, entry: &Entry<'_>) -> String {
    if let Some(value) = correction(spec, entry) {
        return format!("did you mean {value:?}?");
    }
    match spec.value {
        ValueKind::Bool => "write \"true\" or \"false\"".to_owned(),
        ValueKind::Choice(_) | ValueKind::Format | ValueKind::Encoding | ValueKind::Signal => {
            "write one of the allowed values".to_owned()
        }
        ValueKind::FieldRef if takes(spec, entry.name, &format!("{}#password", entry.value)) => {
            format!("name the field, for example {:?}", format!("{}#password", entry.value))
        }
        _ => example(spec, entry),
    }
}

/// Likewise, without searching for a correction.
pub(crate) fn example(spec: &AnnotationSpec, entry: &Entry<'_>) -> String {
    let is_list = spec.value == ValueKind::SecretSource && entry.value.contains('=');
    let is_near = |example: &&&str| example.contains('=') == is_list || !is_list;
    let example = spec.examples.iter().filter(is_near).find(|example| **example != entry.value);
    match spec.value {
        ValueKind::Bool => "write \"true\" or \"false\"".to_owned(),
        ValueKind::Choice(_) => "write one of the allowed values".to_owned(),
        _ => format!("write for example {:?}", example.copied().unwrap_or_default()),
    }
}

/// A correction for a value that its key (without the prefix) does not accept; `None` if the key
/// accepts it or nothing similar is found.
pub fn corrected(key: &str, value: &str) -> Option<String> {
    let (spec, name) = spec_of(key)?;
    if takes(spec, name, value) { None } else { correction(spec, &Entry { name, value }) }
}

/// The first candidate that the key accepts with this name.
fn correction(spec: &AnnotationSpec, entry: &Entry<'_>) -> Option<String> {
    if entry.value.is_empty() || entry.value.len() > VALUE_BYTES {
        return None;
    }
    let plain = entry.value.trim_matches(|c: char| c.is_whitespace() || "'\"`".contains(c));
    let candidates = std::iter::once(plain.to_owned()).chain(candidates(spec.value, plain));
    candidates.into_iter().find(|value| value != entry.value && takes(spec, entry.name, value))
}

fn takes(spec: &AnnotationSpec, name: &str, value: &str) -> bool {
    (spec.set)(&mut Draft::default(), &Entry { name, value }).is_ok()
}

/// The possible meanings of a value, most likely first.
fn candidates(kind: ValueKind, value: &str) -> Vec<String> {
    let lower = value.to_ascii_lowercase();
    let one = |value: Option<String>| value.into_iter().collect();
    match kind {
        ValueKind::Bool => one(meant_bool(value).map(|value| value.to_string())),
        ValueKind::Choice(words) => one(word(&lower, words)),
        ValueKind::Format => one(word(&lower, &Format::ALL.map(Format::name))),
        ValueKind::Encoding => one(word(&lower.replace("b64", "base64"), &[Encoding::ALLOWED])),
        ValueKind::Signal => one(signal(value)),
        ValueKind::Duration => one(duration(&lower)),
        ValueKind::Number { .. } | ValueKind::RunAsUser => number(&lower),
        ValueKind::FileMode => one(mode(&lower)),
        ValueKind::Quantity => quantity(value),
        // A variable such as `${label:app}` may contain any of the characters that are corrected.
        ValueKind::SecretSource | ValueKind::FieldRef | ValueKind::DynamicRef if value.contains("${") => {
            Vec::new()
        }
        ValueKind::SecretSource => one(secret::source(value)),
        ValueKind::FieldRef => one(Some(secret::reference(value))),
        ValueKind::DynamicRef => one(Some(secret::dynamic(value))),
        ValueKind::RelativeFile => one(Some(value.trim_start_matches("./").trim_matches('/').to_owned())),
        ValueKind::MountPath => one(Some(format!("/{}", value.trim_start_matches("./").trim_matches('/')))),
        ValueKind::Selection => one(value.contains('*').then(|| "*".to_owned())),
        ValueKind::Url => one(Some(url(&lower))),
        ValueKind::ReloadUrl => reload_url(value),
        ValueKind::ObjectName => one(Some(lower.replace(['_', ' '], "-"))),
        ValueKind::Image => one(Some(lower)),
        ValueKind::Template
        | ValueKind::ReloadTarget
        | ValueKind::Line
        | ValueKind::ObjectKey
        | ValueKind::RestartSelection
        | ValueKind::RestartWindows
        | ValueKind::Written => Vec::new(),
    }
}

/// The meaning of a word for yes or no.
pub(super) fn meant_bool(value: &str) -> Option<bool> {
    let lower = value.trim().to_ascii_lowercase();
    match lower.as_str() {
        "yes" | "y" | "on" | "1" | "t" | "enable" | "enabled" | "always" => Some(true),
        "no" | "n" | "off" | "0" | "f" | "disable" | "disabled" | "never" | "none" | "ignore" => Some(false),
        other => nearest(other, ["true", "false"]).map(|word| word == "true"),
    }
}

/// Synonyms of the values of several keys.
const SYNONYMS: &[(&str, &str)] =
    &[("verbose", "debug"), ("fatal", "error"), ("critical", "error"), ("text", "raw"), ("plain", "raw")];

/// The most similar word; else the one with which the value has most parts in common: `detach`
/// finds `ignore-and-detach`, `warning` finds `warn`.
fn word(value: &str, words: &[&str]) -> Option<String> {
    let value = value.trim_start_matches('.').replace(['_', ' '], "-");
    if let Some(word) = nearest(&value, words.iter().copied()) {
        return Some(word.to_owned());
    }
    let synonym = SYNONYMS.iter().find(|(word, _)| *word == value).map(|(_, meant)| *meant);
    if let Some(word) = synonym.filter(|meant| words.contains(meant)) {
        return Some(word.to_owned());
    }
    let is_same = |one: &str, other: &str| {
        one.len().min(other.len()) >= 3 && (one.starts_with(other) || other.starts_with(one))
    };
    let shared =
        |word: &str| value.split('-').filter(|part| word.split('-').any(|w| is_same(part, w))).count();
    let found = words.iter().filter(|word| shared(word) > 0);
    // The shortest one if several are equal.
    found.max_by_key(|word| (shared(word), usize::MAX - word.len())).map(|word| (*word).to_owned())
}

fn signal(value: &str) -> Option<String> {
    let names = Signal::ALL.map(Signal::name);
    if let Ok(number) = value.parse::<i32>() {
        let signal = Signal::ALL.into_iter().find(|signal| signal.number() == number)?;
        return Some(signal.name().to_owned());
    }
    let upper = value.to_ascii_uppercase().replace(['-', '_'], "");
    let with_sig = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    nearest(&with_sig, names).map(str::to_owned)
}

/// A number without separators, or a duration in seconds.
fn number(lower: &str) -> Vec<String> {
    let digits = lower.replace(['_', ',', '\''], "");
    let seconds = duration(lower).and_then(|text| text.parse::<Duration>().ok());
    let mut found = vec![digits];
    found.extend(seconds.map(|duration| duration.as_secs().to_string()));
    found
}

/// A mode that was parsed as octal and written as decimal: 288 is 0440.
fn mode(lower: &str) -> Option<String> {
    let digits = lower.trim_start_matches("0o").trim_start_matches('0');
    let number = digits.parse::<u32>().ok().filter(|number| *number <= 0o777)?;
    Some(format!("{number:04o}"))
}

/// The suffix that was probably meant: `M` for `m`, or `m` for `M`.
fn quantity(value: &str) -> Vec<String> {
    let other = |from, to| value.strip_suffix(from).map(|number| format!("{number}{to}"));
    let found = [Quantity::meant(value), other('m', "M"), other('M', "m"), other('k', "M")];
    found.into_iter().flatten().collect()
}

fn url(lower: &str) -> String {
    let rest = lower.split_once("://").map_or(lower, |(_, rest)| rest);
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    format!("https://{}", &rest[..end])
}

fn reload_url(value: &str) -> Vec<String> {
    let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    let port = rest.split('/').next().and_then(|host| host.rsplit_once(':')).map(|(_, port)| port);
    let own = port.map(|port| format!("http://127.0.0.1:{port}{path}"));
    std::iter::once(format!("http://{rest}")).chain(own).collect()
}

/// Converts `1min`, `60`, `5 m`, `1h30m` or `1.5h` to ScaiVault's notation.
fn duration(lower: &str) -> Option<String> {
    let text: String = lower.chars().filter(|c| !c.is_whitespace()).collect();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(format!("{text}s"));
    }
    let mut rest = text.as_str();
    let (mut seconds, mut parts) = (0_u64, 0);
    let mut only = None;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let (letter, length) = unit_of(unit)?;
        seconds = seconds.checked_add(times(number, length)?)?;
        only = number.parse::<u64>().ok().filter(|_| letter != 'w').map(|number| format!("{number}{letter}"));
        (rest, parts) = (next, parts + 1);
    }
    match only.filter(|_| parts == 1) {
        Some(text) => Some(text),
        None => (seconds > 0).then(|| Duration::from_secs(seconds).to_string()),
    }
}

/// The letter of a unit and its length in seconds.
fn unit_of(unit: &str) -> Option<(char, u64)> {
    Some(match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => ('s', 1),
        "m" | "min" | "mins" | "minute" | "minutes" => ('m', 60),
        "h" | "hr" | "hrs" | "hour" | "hours" => ('h', 3_600),
        "d" | "day" | "days" => ('d', 86_400),
        "w" | "wk" | "week" | "weeks" => ('w', 604_800),
        _ => return None,
    })
}

/// A number, which may have a fraction, multiplied by the unit's seconds.
fn times(number: &str, seconds: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut total = whole.parse::<u64>().ok()?.checked_mul(seconds)?;
    if !fraction.is_empty() {
        let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        total = total.checked_add(fraction.parse::<u64>().ok()?.checked_mul(seconds)? / scale)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests;
