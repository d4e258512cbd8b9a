//! Names of Secrets or classes, by pattern.

use std::{collections::BTreeSet, sync::Arc};

use regex::bytes::{RegexSet, RegexSetBuilder};

/// The maximum number of regular expressions in a list, and of their bytes. Names and `.*` do not count.
const EXPRESSIONS_MAX: usize = 16;
const EXPRESSION_BYTES: usize = 1024;
/// The maximum memory of compiled expressions. They are dropped after each search, because a namespace may
/// have any number of workloads, and compiled expressions are far larger than their text.
const COMPILED_BYTES: usize = 16 * 1024;
/// The maximum length of an object's name.
const NAME_MAX: usize = 253;
/// The maximum number of comparisons with names that contain `*`.
const GLOB_WORK: usize = 4096;
/// The maximum size of the names that regular expressions are compared with, in bytes.
const EXPRESSION_WORK: usize = 4096;

/// Names, names with `*` for any characters, and regular expressions for the whole name.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    exact: Vec<Box<str>>,
    globs: Vec<Box<str>>,
    expressions: Vec<Box<str>>,
}

impl Names {
    pub(super) fn from_globs<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        // Longer ones match nothing.
        let names = names.into_iter().filter(|name| name.len() <= NAME_MAX).map(Box::<str>::from);
        let (globs, exact) = names.partition(|name| name.contains('*'));
        Self { exact, globs, expressions: Vec::new() }
    }

    /// Reads regular expressions. The error lists those that are invalid.
    pub(super) fn from_expressions<'a>(
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Vec<String>> {
        let (mut globs, mut expressions) = (Vec::new(), Vec::<Box<str>>::new());
        for name in names {
            match as_glob(name) {
                Some(glob) => globs.push(glob),
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
        let names = Self { expressions, ..Self::from_globs(globs.iter().map(String::as_str)) };
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

    /// The names without patterns.
    pub(super) fn exact(&self) -> impl Iterator<Item = &str> {
        self.exact.iter().map(|name| &**name)
    }

    /// The matching names of `names`, which are sorted.
    pub(super) fn among<'a>(&self, names: &'a [Arc<str>]) -> Result<BTreeSet<&'a Arc<str>>, String> {
        let bytes: usize = names.iter().map(|name| name.len()).sum();
        if self.globs.len() * names.len() > GLOB_WORK {
            return Err(format!(
                "has {} names with * for {} names; allowed: {GLOB_WORK} comparisons; use fewer, or write whole names",
                self.globs.len(),
                names.len()
            ));
        }
        if !self.expressions.is_empty() && bytes > EXPRESSION_WORK {
            return Err(format!(
                "has regular expressions for names of {bytes} bytes; allowed: {EXPRESSION_WORK}; write whole names"
            ));
        }
        let exact = self.exact().filter_map(|name| names.binary_search_by(|known| (**known).cmp(name)).ok());
        let mut covered: BTreeSet<_> = exact.map(|index| &names[index]).collect();
        // They have been compiled when they were read, so this cannot fail.
        let expressions = self.compile().ok().flatten();
        covered.extend(names.iter().filter(|name| {
            self.globs.iter().any(|glob| covers(glob, name))
                || expressions.as_ref().is_some_and(|expressions| expressions.is_match(name.as_bytes()))
        }));
        Ok(covered)
    }

    fn compile(&self) -> Result<Option<RegexSet>, regex::Error> {
        if self.expressions.is_empty() { Ok(None) } else { compile(&self.expressions).map(Some) }
    }
}

/// The equivalent glob; `None` for an expression with other operators than `.*`.
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

/// Whether a glob with `*` matches a name: its parts are searched from left to right.
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
    fn a_star_matches_any_characters() {
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
        assert_eq!(names.exact, ["db"].map(Box::from));
        assert_eq!(names.globs, ["tls-*", "*-cert-*"].map(Box::from));
        assert_eq!(names.expressions, ["a.b", "x|y", "z+.*"].map(Box::from));
        let (covered, others) = (
            ["a.b", "axb", "db", "old-cert-1", "tls-web", "y", "zz-1"],
            ["a.bc", "cert-1", "tls", "xdb", "xy"],
        );
        let mut all: Vec<Arc<str>> = covered.into_iter().chain(others).map(Arc::from).collect();
        all.sort_unstable();
        let found: Vec<&str> = names.among(&all).unwrap().into_iter().map(|name| &**name).collect();
        assert_eq!(found, covered);
    }

    #[test]
    fn the_work_for_names_is_bounded() {
        let used =
            |count: usize| (0..count).map(|index| format!("{index:0>64}").into()).collect::<Vec<Arc<str>>>();
        let globs = Names::from_globs(["a*"; 64]);
        assert!(globs.among(&used(64)).is_ok());
        assert!(globs.among(&used(65)).unwrap_err().contains("64 names with * for 65 names"));
        // Names without patterns are looked up.
        let names = used(256);
        let exact = Names::from_globs(names.iter().take(64).map(|name| &**name));
        assert_eq!(exact.among(&names).unwrap().len(), 64);
        let expressions = Names::from_expressions(["a.b"]).unwrap();
        assert!(expressions.among(&used(64)).is_ok());
        assert!(expressions.among(&used(65)).unwrap_err().contains("for names of 4160 bytes; allowed: 4096"));
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
