//! Rules that compare documents with their subjects.

use std::collections::BTreeSet;

use super::{RULES, tree::Tree};

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const MARK: &str = "[tidy:";
const THREATS: &str = "docs/threat-model.md";
/// The directory whose tests each name the threat that they cover.
const TENANT: &str = "crates/inject/tests/core/tenant/";

/// Compares the marks in `ARCHITECTURE.md` with the rules in both directions.
pub(super) fn invariants_are_checked(tree: &Tree) -> Vec<String> {
    let marks = tree.text(ARCHITECTURE).split(MARK).skip(1).filter_map(|rest| rest.split_once(']'));
    let claimed: BTreeSet<_> = marks.map(|(id, _)| id).collect();
    let checked: BTreeSet<_> = RULES.iter().map(|(id, _)| *id).collect();
    let unchecked =
        claimed.difference(&checked).map(|id| format!("claims {MARK}{id}], which no rule checks"));
    let untold = checked.difference(&claimed).map(|id| format!("does not say what {MARK}{id}] is about"));
    unchecked.chain(untold).map(|what| format!("{ARCHITECTURE}: {what}")).collect()
}

/// The images are built with the toolchain of the tests.
pub(super) fn one_toolchain(tree: &Tree) -> Vec<String> {
    let value = |file: &str, key: &str| {
        let value = tree.text(file).lines().find_map(|line| line.trim().strip_prefix(key))?;
        Some(value.trim_start_matches([' ', '=']).trim_matches('"').to_owned())
    };
    let finding = match (value("rust-toolchain.toml", "channel"), value("Dockerfile", "ARG RUST_IMAGE")) {
        (Some(pinned), Some(image)) if image.contains(&format!(":{pinned}-")) => return Vec::new(),
        (Some(pinned), Some(_)) => format!("RUST_IMAGE must have Rust {pinned}, as rust-toolchain.toml says"),
        _ => "must have `ARG RUST_IMAGE=`, and rust-toolchain.toml a `channel`, to be compared".to_owned(),
    };
    vec![format!("Dockerfile: {finding}")]
}

/// Every test that the page names exists, and every threat that a tenant's test names is on the
/// page.
pub(super) fn threats_have_tests(tree: &Tree) -> Vec<String> {
    let page = tree.text(THREATS);
    let is_gone = |name: &&str| {
        let signature = format!("fn {name}(");
        !tree.rust().any(|(_, text)| text.contains(&signature))
    };
    let gone = tests_named_by(page).into_iter().filter(is_gone);
    let mut findings: Vec<_> =
        gone.map(|name| format!("{THREATS}: names the test {name}, which does not exist")).collect();
    for (path, text) in tree.rust().filter(|(path, _)| path.starts_with(TENANT)) {
        for rest in text.lines().filter_map(|line| line.trim().strip_prefix("/// Threat ")) {
            let number = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            if !page.contains(&format!("\n### {number}. ")) {
                findings.push(format!("{path}: names threat {number}, which {THREATS} does not have"));
            }
        }
    }
    findings
}

/// Words in backticks with an underscore, on a line about tests or its continuation.
fn tests_named_by(page: &str) -> Vec<&str> {
    let mut is_of_tests = false;
    let mut names = Vec::new();
    for line in page.lines() {
        is_of_tests = line.starts_with("* Test") || is_of_tests && line.starts_with("  ");
        if is_of_tests {
            names.extend(line.split('`').skip(1).step_by(2).filter(|word| word.contains('_')));
        }
    }
    names
}
