//! The rules in `ARCHITECTURE.md` that the compiler, clippy and cargo-deny cannot check.
//!
//! A rule is a pure function of a [`Tree`]: cargo's metadata about the packages, and the text of
//! every file. [`RULES`] lists each with an id, and `ARCHITECTURE.md` marks its statements with the
//! same id, `[tidy:<id>]`.

use anyhow::{Result, bail};

use tree::Tree;

mod dependencies;
mod documents;
mod sources;
#[cfg(test)]
mod tests;
mod tree;

/// A rule: its id in `ARCHITECTURE.md` and in findings, and the function that returns the findings.
type Rule = (&'static str, fn(&Tree) -> Vec<String>);

const RULES: &[Rule] = &[
    ("arrows-point-down", dependencies::arrows_point_down),
    ("core-is-pure", dependencies::core_is_pure),
    ("shipped-without-demo", dependencies::shipped_without_demo),
    ("one-naming-rule", dependencies::one_naming_rule),
    ("shared-manifest", dependencies::shared_manifest),
    ("no-unsafe", sources::no_unsafe),
    ("small-main", sources::small_main),
    ("small-files", sources::small_files),
    ("honest-tests", sources::honest_tests),
    ("no-leftovers", sources::no_leftovers),
    ("small-text-files", sources::small_text_files),
    ("one-toolchain", documents::one_toolchain),
    ("threats-have-tests", documents::threats_have_tests),
    ("invariants-are-checked", documents::invariants_are_checked),
];

/// Checks all rules and prints all findings.
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
    let findings = RULES.iter().map(|(id, check)| (id, check(tree)));
    findings
        .flat_map(|(id, found)| found.into_iter().map(move |what| format!("{what} [tidy:{id}]")))
        .collect()
}

/// Whether `word` is in the line, but not as part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(in_name)
            && (!word.ends_with(in_name) || !line[at + word.len()..].starts_with(in_name))
    })
}
