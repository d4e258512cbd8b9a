//! The threat model and the tests say the same.

use super::{Finding, tree::Tree};

const DOCUMENT: &str = "docs/threat-model.md";
/// What a threat's tests stand behind.
const TESTS: &str = "* Test";
/// The directory whose tests each name the threat that they are about.
const TENANT: &str = "crates/inject/tests/core/tenant/";
const THREAT: &str = "/// Threat ";

/// Every test that the page names exists, and every threat that a tenant's test names is one of the page.
pub(super) fn threats_have_tests(tree: &Tree) -> Vec<Finding> {
    let page = tree.text(DOCUMENT).unwrap_or_default();
    let sources: Vec<(&str, &str)> = tree
        .files
        .iter()
        .filter(|file| file.is_rust())
        .filter_map(|file| Some((file.path.as_str(), file.text.as_deref()?)))
        .collect();
    let is_gone = |name: &&str| {
        let signature = format!("fn {name}(");
        !sources.iter().any(|(_, text)| text.contains(&signature))
    };
    let gone = tests(page).into_iter().filter(is_gone);
    let mut findings: Vec<_> = gone
        .map(|name| Finding::new(DOCUMENT, format!("names the test {name}, which does not exist")))
        .collect();
    for (path, text) in sources.iter().filter(|(path, _)| path.starts_with(TENANT)) {
        for rest in text.lines().filter_map(|line| line.trim().strip_prefix(THREAT)) {
            let number = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            if !page.contains(&format!("\n### {number}. ")) {
                let what = format!("names threat {number}, which {DOCUMENT} does not have");
                findings.push(Finding::new(*path, what));
            }
        }
    }
    findings
}

/// The names of tests: words in backticks with an underscore, on a line of tests or one that continues it.
fn tests(page: &str) -> Vec<&str> {
    let mut is_of_tests = false;
    let mut names = Vec::new();
    for line in page.lines() {
        is_of_tests = line.starts_with(TESTS) || is_of_tests && line.starts_with("  ");
        if is_of_tests {
            names.extend(line.split('`').skip(1).step_by(2).filter(|word| word.contains('_')));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Threats\n\n### 1. Dots\n\n* Stops it: `no_test`\n* Tests: `is_there`, in the agent\n  `is_gone` and `word`\n\n`other_word`\n";

    #[test]
    fn a_test_that_is_gone_is_found() {
        let found = threats_have_tests(&Tree::with_file(DOCUMENT, PAGE).and_file("a.rs", "fn is_there() {}"));
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["docs/threat-model.md: names the test is_gone, which does not exist"]);
    }

    #[test]
    fn a_threat_without_a_number_on_the_page_is_found() {
        let test = "/// Threat 1.\nfn is_there() {}\n/// Threat 12: more.\nfn is_gone() {}";
        let path = "crates/inject/tests/core/tenant/a.rs";
        let found = threats_have_tests(&Tree::with_file(DOCUMENT, PAGE).and_file(path, test));
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, [format!("{path}: names threat 12, which docs/threat-model.md does not have")]);
    }
}
