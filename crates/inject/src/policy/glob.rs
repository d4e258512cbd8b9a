//! Globs of paths and names with the semantics of ScaiVault's own policies: `*` matches one segment
//! or a part of it, `**` zero or more segments, `?` one character. A glob must match the whole
//! text.

use std::borrow::Cow;

use scaivault_contract::{PodVariable, TextPart, text_parts};

/// Maximum length of a glob in bytes.
const MAX_BYTES: usize = 512;

/// Represents the value of `${pod}`, which the agent fills: only `*`, `**` and `${pod}` match it.
const POD: u8 = 1;
/// Likewise for `${node}`.
const NODE: u8 = 2;

/// The error in a glob, if any. A variable counts as part of a segment.
pub(super) fn fault(glob: &str) -> Option<&'static str> {
    if glob.is_empty() {
        return Some("it is empty");
    }
    if glob.len() > MAX_BYTES {
        return Some("it has more than 512 bytes");
    }
    if glob.chars().any(char::is_control) {
        return Some("it has a control character");
    }
    if glob.split('/').any(str::is_empty) {
        return Some("it has an empty segment: single slashes stand between segments only");
    }
    if glob.split('/').any(|segment| segment.contains("**") && segment != "**") {
        return Some("** must be a whole segment; within a segment write *");
    }
    None
}

/// A text to match against globs. Each variable that the agent fills is replaced by a reserved
/// character.
pub(super) struct GlobText(Vec<u8>);

impl GlobText {
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len());
        for part in text_parts(text).unwrap_or_else(|_| vec![TextPart::Literal(text)]) {
            match part {
                TextPart::Literal(literal) => bytes.extend_from_slice(literal.as_bytes()),
                TextPart::Variable(name) if name == PodVariable::Pod.name() => bytes.push(POD),
                TextPart::Variable(_) => bytes.push(NODE),
            }
        }
        Self(bytes)
    }
}

/// Whether a glob matches a text. The work is at most proportional to the product of their lengths.
pub(super) fn covers(glob: &str, subject: &GlobText) -> bool {
    let is_slash = |byte: &u8| *byte == b'/';
    let glob: Cow<'_, [u8]> =
        if glob.contains('$') { GlobText::new(glob).0.into() } else { glob.as_bytes().into() };
    let (mut pattern, mut segments) = (glob.split(is_slash), subject.0.split(is_slash));
    // The position after the last `**` and the segment where the last attempt began. Only the last
    // `**` has to backtrack: it can match whatever an earlier one could.
    let mut retry = None;
    loop {
        let mut rest = pattern.clone();
        match rest.next() {
            Some(b"**") => {
                retry = Some((rest.clone(), segments.clone()));
                pattern = rest;
                continue;
            }
            Some(part) => {
                let mut behind = segments.clone();
                let Some(segment) = behind.next() else { return false };
                if covers_segment(part, segment) {
                    (pattern, segments) = (rest, behind);
                    continue;
                }
            }
            None if segments.clone().next().is_none() => return true,
            None => {}
        }
        let Some((after, from)) = &mut retry else { return false };
        if from.next().is_none() {
            return false;
        }
        (pattern, segments) = (after.clone(), from.clone());
    }
}

/// Likewise within a segment, with `*` in place of `**`.
fn covers_segment(pattern: &[u8], segment: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut retry = None;
    loop {
        #[cfg(any(test, feature = "count-work"))]
        crate::work::look(0);
        match (pattern.get(at), segment.get(read)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                at += 1;
                retry = Some((at, read));
                continue;
            }
            (Some(expected), Some(found))
                if expected == found || *expected == b'?' && !matches!(*found, POD | NODE) =>
            {
                (at, read) = (at + 1, read + 1);
                continue;
            }
            (Some(_), None) => return false,
            _ => {}
        }
        let Some((after, from)) = &mut retry else { return false };
        *from += 1;
        (at, read) = (*after, *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(glob: &str, text: &str) -> bool {
        covers(glob, &GlobText::new(text))
    }

    #[test]
    fn stars_cover_segments_and_parts() {
        for (glob, text, expected) in [
            ("app/**", "app/db", true),
            ("app/**", "app/db/main", true),
            ("app/**", "app", true),
            ("app/**", "apps/db", false),
            ("app/*", "app/db", true),
            ("app/*", "app/db/main", false),
            ("app/*", "app", false),
            ("**/ssl/*", "a/b/ssl/cert", true),
            ("**/ssl/*", "ssl/cert", true),
            ("**/a/**/b", "a/x/a/y/b", true),
            ("**/a/**/b", "a/x/a/y/c", false),
            ("app/d?", "app/db", true),
            ("app/d?", "app/d", false),
            ("app/d?", "app/d/b", false),
            ("app/*-prod", "app/a-prod-prod", true),
            ("app/*a*b", "app/aabab", true),
            ("app/*a*b", "app/aabac", false),
            ("app", "app/db", false),
            ("app/db", "app", false),
            ("**", "a/b/c", true),
            ("*", "a", true),
            ("*", "a/b", false),
        ] {
            assert_eq!(check(glob, text), expected, "{glob} {text}");
        }
    }

    #[test]
    fn an_agents_variable_matches_itself_and_globs() {
        for (glob, expected) in [
            ("hosts/*/key", true),
            ("hosts/**", true),
            ("hosts/n-*/key", true),
            ("hosts/n-?/key", false),
            ("hosts/n-???????/key", false),
            ("hosts/n-${node}/key", true),
            ("hosts/n-${pod}/key", false),
            ("hosts/${node}/key", false),
            ("hosts/n-?*/key", false),
        ] {
            assert_eq!(check(glob, "hosts/n-${node}/key"), expected, "{glob}");
        }
    }

    #[test]
    fn malformed_globs_have_a_reason() {
        for glob in ["a/**", "**", "a-${label:app}/*", "?"] {
            assert_eq!(fault(glob), None, "{glob}");
        }
        for glob in ["", "/a", "a/", "a//b", "a**", "a/**b", "a\n", &"a".repeat(513)] {
            assert!(fault(glob).is_some(), "{glob}");
        }
    }

    /// A direct implementation of the definition; slow for globs with many wildcards.
    fn is_defined(glob: &[u8], text: &[u8]) -> bool {
        match (glob, text) {
            // `**/` before a segment, `/**` after one, or `**` alone.
            ([b'*', b'*', b'/', rest @ ..], _) => {
                let starts = (0..text.len()).filter(|at| *at == 0 || text[at - 1] == b'/');
                starts.map(|at| &text[at..]).any(|text| is_defined(rest, text))
            }
            ([] | [b'/', b'*', b'*'], []) | ([b'*', b'*'], _) => true,
            ([b'*', rest @ ..], _) => {
                let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
                (0..=end).any(|at| is_defined(rest, &text[at..]))
            }
            ([b'?', rest @ ..], [found, text @ ..]) => *found != b'/' && is_defined(rest, text),
            ([expected, rest @ ..], [found, text @ ..]) => expected == found && is_defined(rest, text),
            _ => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn globs_match_like_their_definition(
            glob in r"(\*\*|[ab*?]{1,3})(/(\*\*|[ab*?]{1,3})){0,4}",
            text in "[ab]{1,3}(/[ab]{1,3}){0,5}",
        ) {
            // Two in a row are equivalent to one, which the reference implementation does not
            // support.
            proptest::prop_assume!(fault(&glob).is_none() && !glob.contains("**/**"));
            proptest::prop_assert_eq!(check(&glob, &text), is_defined(glob.as_bytes(), text.as_bytes()));
        }
    }

    /// Globs and texts that make backtracking implementations take exponential time.
    #[test]
    fn work_is_bounded_by_the_two_lengths() {
        let glob = format!("{}*a*a*a*a*a*a*b", "**/".repeat(100));
        let text = format!("{}{}", "a/".repeat(9), "a".repeat(490));
        let subject = GlobText::new(&text);
        crate::work::take();
        assert!(!covers(&glob, &subject));
        let steps = crate::work::take();
        assert!(steps <= (glob.len() * text.len()) as u64, "{steps} steps");
    }
}
