//! Names of Secrets or classes, by pattern.

use regex::bytes::{RegexSet, RegexSetBuilder};

/// The most regular expressions of a list, and the most bytes of all of them. Names and `.*` are none.
const EXPRESSIONS_MAX: usize = 16;
const EXPRESSION_BYTES: usize = 1024;
/// The most memory of these when they are compiled. They are only compiled while names are looked for: a namespace has any number of
/// workloads, and compiled expressions are far larger than their text.
const COMPILED_BYTES: usize = 16 * 1024;

/// Names with `*` for any characters, and regular expressions for the whole name.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    globs: Vec<Box<str>>,
    expressions: Vec<Box<str>>,
}

impl Names {
    pub(super) fn from_globs<'a>(globs: impl IntoIterator<Item = &'a str>) -> Self {
        Self { globs: globs.into_iter().map(Box::from).collect(), expressions: Vec::new() }
    }

    /// Reads regular expressions. An error says what is wrong with each that cannot be used.
    pub(super) fn from_expressions<'a>(
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Vec<String>> {
        let (mut globs, mut expressions) = (Vec::<Box<str>>::new(), Vec::<Box<str>>::new());
        for name in names {
            match as_glob(name) {
                Some(glob) => globs.push(glob.into()),
                None => expressions.push(name.into()),
            }
        }
        let bytes: usize = expressions.iter().map(|expression| expression.len()).sum();
        if expressions.len() > EXPRESSIONS_MAX || bytes > EXPRESSION_BYTES {
            return Err(vec![format!(
                "has {} regular expressions of {bytes} bytes; allowed: {EXPRESSIONS_MAX} of {EXPRESSION_BYTES} bytes, \
                 besides names and names with .*",
                expressions.len()
            )]);
        }
        let names = Self { globs, expressions };
        if names.compile().is_ok() {
            return Ok(names);
        }
        let wrong = names.expressions.iter().filter(|expression| compile(&[(*expression).clone()]).is_err());
        let wrong: Vec<String> = wrong
            .map(|expression| {
                let text = scaivault_contract::Excerpt::new(expression);
                format!("{text} is not a regular expression that can be read")
            })
            .collect();
        if wrong.is_empty() {
            return Err(vec!["the regular expressions are too large; use fewer or shorter ones".to_owned()]);
        }
        Err(wrong)
    }

    pub(super) fn lookup(&self) -> Lookup<'_> {
        // It was compiled when it was read.
        Lookup { globs: &self.globs, expressions: self.compile().ok().flatten() }
    }

    fn compile(&self) -> Result<Option<RegexSet>, regex::Error> {
        if self.expressions.is_empty() { Ok(None) } else { compile(&self.expressions).map(Some) }
    }
}

/// What names are looked up in.
#[derive(Debug)]
pub(super) struct Lookup<'a> {
    globs: &'a [Box<str>],
    expressions: Option<RegexSet>,
}

impl Lookup<'_> {
    pub(super) fn covers(&self, name: &str) -> bool {
        self.globs.iter().any(|glob| covers(glob, name))
            || self.expressions.as_ref().is_some_and(|expressions| expressions.is_match(name.as_bytes()))
    }
}

/// The glob that means the same as an expression; none for one with other operators than `.*`.
fn as_glob(expression: &str) -> Option<String> {
    let glob = expression.replace(".*", "*");
    let is_same = expression
        .split(".*")
        .all(|part| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    is_same.then_some(glob)
}

/// Names of objects are ASCII.
fn compile(expressions: &[Box<str>]) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(expressions.iter().map(|name| format!("^(?:{name})$")))
        .unicode(false)
        .size_limit(COMPILED_BYTES)
        .dfa_size_limit(COMPILED_BYTES)
        .build()
}

/// Whether a glob with `*` covers a name: the parts between the stars are found from left to right.
fn covers(glob: &str, name: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else { return glob == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let Some((middle, last)) = rest.rsplit_once('*') else { return name.ends_with(rest) };
    for part in middle.split('*') {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (glob, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxc", false),
            ("*", "", true),
            ("ab*b", "ab", false),
        ] {
            assert_eq!(covers(glob, name), expected, "{glob} {name}");
        }
    }

    #[test]
    fn names_and_any_characters_are_not_compiled() {
        let names = Names::from_expressions(["db", "tls-.*", ".*-cert-.*", "a.b", "x|y", "z+.*"]).unwrap();
        assert_eq!(names.globs, ["db", "tls-*", "*-cert-*"].map(Box::from));
        assert_eq!(names.expressions, ["a.b", "x|y", "z+.*"].map(Box::from));
        let lookup = names.lookup();
        for name in ["db", "tls-web", "old-cert-1", "axb", "a.b", "y", "zz-1"] {
            assert!(lookup.covers(name), "{name}");
        }
        for name in ["xdb", "tls", "cert-1", "a.bc", "xy"] {
            assert!(!lookup.covers(name), "{name}");
        }
    }

    #[test]
    fn expressions_are_bounded() {
        for (list, expected) in [
            (vec!["a{1,9000}".to_owned()], "\"a{1,9000}\" is not a regular expression"),
            (vec!["db".to_owned(), "(".to_owned()], "\"(\" is not a regular expression"),
            (vec!["[a-z]{40}.+".to_owned(); 16], "too large"),
            (vec!["a.b".to_owned(); 17], "has 17 regular expressions of 51 bytes; allowed: 16 of 1024"),
            (vec![format!("a.{}", "b".repeat(600)); 2], "has 2 regular expressions of 1204 bytes"),
        ] {
            let problems = Names::from_expressions(list.iter().map(String::as_str)).unwrap_err();
            assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
        }
    }
}
