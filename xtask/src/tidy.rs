//! The rules of the project that the compiler and clippy do not know, as `ARCHITECTURE.md` states them.
//!
//! A rule is a pure function over a [`Tree`]: what cargo says about the packages, and the text of every file. Each
//! stands in [`RULES`] under an id, and `ARCHITECTURE.md` marks what it claims with the same id, `[tidy:<id>]`.

use std::fmt;

use anyhow::{Result, bail};

use tree::Tree;

mod dependencies;
mod files;
mod invariants;
mod packages;
mod rust_text;
mod sources;
mod threats;
mod tree;

/// One rule.
struct Rule {
    /// Its name in `ARCHITECTURE.md` and in findings.
    id: &'static str,
    check: fn(&Tree) -> Vec<Finding>,
}

const RULES: &[Rule] = &[
    Rule { id: "arrows-point-down", check: dependencies::arrows_point_down },
    Rule { id: "core-is-pure", check: dependencies::core_is_pure },
    Rule { id: "policies-are-pure", check: dependencies::policies_are_pure },
    Rule { id: "webhook-knows-no-cluster", check: dependencies::webhook_knows_no_cluster },
    Rule { id: "testkit-is-for-tests", check: dependencies::testkit_is_for_tests },
    Rule { id: "shipped-without-demo", check: dependencies::shipped_without_demo },
    Rule { id: "anyhow-in-binaries", check: dependencies::anyhow_in_binaries },
    Rule { id: "no-typed-pods", check: dependencies::no_typed_pods },
    Rule { id: "banned-crates", check: dependencies::banned_crates },
    Rule { id: "one-naming-rule", check: packages::one_naming_rule },
    Rule { id: "shared-manifest", check: packages::shared_manifest },
    Rule { id: "no-unsafe", check: sources::no_unsafe },
    Rule { id: "small-main", check: sources::small_main },
    Rule { id: "small-files", check: sources::small_files },
    Rule { id: "libraries-do-not-print", check: sources::libraries_do_not_print },
    Rule { id: "honest-tests", check: sources::honest_tests },
    Rule { id: "no-leftovers", check: files::no_leftovers },
    Rule { id: "small-text-files", check: files::small_text_files },
    Rule { id: "one-toolchain", check: files::one_toolchain },
    Rule { id: "threats-have-tests", check: threats::threats_have_tests },
    Rule { id: "invariants-are-checked", check: invariants::invariants_are_checked },
];

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// A file, `file:line` or package.
    place: String,
    /// What is wrong and what to do.
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what } = self;
        write!(f, "{place}: {what}")
    }
}

/// Checks all rules and prints every finding, not the first one.
pub(crate) fn run() -> Result<()> {
    let findings = check(&Tree::read()?);
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    println!("tidy: {} rules hold", RULES.len());
    Ok(())
}

fn check(tree: &Tree) -> Vec<String> {
    RULES
        .iter()
        .flat_map(|Rule { id, check }| {
            check(tree).into_iter().map(move |finding| format!("{finding} [tidy:{id}]"))
        })
        .collect()
}

/// Whether `word` stands in the line, not as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let starts = !word.starts_with(in_name) || !before.is_some_and(in_name);
        let ends = !word.ends_with(in_name) || !after.is_some_and(in_name);
        starts && ends
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn this_tree_is_tidy() -> Result<()> {
        let findings = check(&Tree::read()?);
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        Ok(())
    }

    #[test]
    fn a_word_is_not_a_part_of_a_name() {
        for line in ["println!(a)", " println!", "std::println!(a)"] {
            assert!(has_word(line, "println!"), "{line}");
        }
        for line in ["eprintln!(a)", "my_println!(a)", "print"] {
            assert!(!has_word(line, "println!"), "{line}");
        }
        assert!(has_word("unsafe_a unsafe", "unsafe") && !has_word("unsafe_code", "unsafe"));
    }

    #[test]
    fn ids_are_unique() {
        let ids: BTreeSet<_> = RULES.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), RULES.len());
    }
}
