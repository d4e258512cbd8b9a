//! Corrects paths of secrets, lists of them and dynamic credentials.

use std::collections::BTreeSet;

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
            format!("ttl={}", super::duration(&lower).unwrap_or(lower))
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
