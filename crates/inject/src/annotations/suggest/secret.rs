//! Corrects paths of secrets, lists of them, dynamic credentials and durations.

use std::collections::BTreeSet;

use scaivault_contract::Duration;

/// One secret, or several to which aliases are added.
pub(super) fn source(value: &str) -> Option<String> {
    let text = value.replace(" =", "=").replace("= ", "=");
    let entries: Vec<&str> =
        text.split(|c: char| c == ',' || c == ';' || c.is_whitespace()).filter(|e| !e.is_empty()).collect();
    if let [only] = entries.as_slice()
        && !only.contains('=')
    {
        return Some(reference(only));
    }
    let mut aliases = BTreeSet::new();
    let mut corrected = Vec::with_capacity(entries.len());
    for entry in entries {
        let (alias, secret) = match entry.split_once('=') {
            Some((alias, secret)) => (alias.to_owned(), reference(secret)),
            None => (last_part(&reference(entry)).to_owned(), reference(entry)),
        };
        let alias = free(&alias_of(&alias), &mut aliases);
        corrected.push(format!("{alias}={secret}"));
    }
    (!corrected.is_empty()).then(|| corrected.join(" "))
}

/// `path[#field][@version]`, without characters that are not allowed.
pub(super) fn reference(value: &str) -> String {
    let value = value.replace(':', "#").replace('\\', "/");
    let end = value.find(['#', '@']).unwrap_or(value.len());
    let (path, rest) = value.split_at(end);
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let mut text = segments.collect::<Vec<_>>().join("/").to_ascii_lowercase();
    let part = |sign: char| {
        let found = rest.split_once(sign)?.1;
        found.split(['#', '@']).next().filter(|part| !part.is_empty())
    };
    if let Some(field) = part('#') {
        text.push('#');
        text.push_str(field);
    }
    let version = part('@').map(|version| version.trim_start_matches(['v', 'V', '0']));
    // `latest` and the like are dropped: without a version, the current one is read.
    if let Some(version) = version.filter(|version| version.parse::<u32>().is_ok()) {
        text.push('@');
        text.push_str(version);
    }
    text
}

/// `engine=E role=R [ttl=D]`.
pub(super) fn dynamic(value: &str) -> String {
    let mut text = value.replace([',', ';'], " ").replace(':', "=");
    for spaced in [" =", "= "] {
        while text.contains(spaced) {
            text = text.replace(spaced, "=");
        }
    }
    if let Some((engine, role)) = text.split_once('/').filter(|_| !text.contains('=')) {
        return format!("engine={} role={}", engine.trim(), role.trim());
    }
    let words = text.split_whitespace().map(|word| match word.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("ttl") => {
            let lower = value.to_ascii_lowercase();
            format!("ttl={}", duration(&lower).unwrap_or(lower))
        }
        Some((name, value)) => format!("{}={value}", name.to_ascii_lowercase()),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn last_part(secret: &str) -> &str {
    let path = secret.split(['#', '@']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

fn alias_of(text: &str) -> String {
    let alias: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match alias.as_str() {
        "engine" | "role" | "ttl" => format!("{alias}_"),
        _ if alias.starts_with(|c: char| c.is_ascii_digit()) => format!("_{alias}"),
        _ => alias,
    }
}

/// The alias, with a number if it is already taken.
fn free(alias: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{alias}{number}"));
    let mut names = std::iter::once(alias.to_owned()).chain(numbered);
    let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// Converts `1min`, `60`, `5 m`, `1h30m` or `1.5h` to ScaiVault's notation.
pub(super) fn duration(lower: &str) -> Option<String> {
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
