//! `ARCHITECTURE.md` and the table of rules say the same.

use std::collections::BTreeSet;

use super::{Finding, RULES, tree::Tree};

const DOCUMENT: &str = "ARCHITECTURE.md";
const MARK: &str = "[tidy:";

pub(super) fn invariants_are_checked(tree: &Tree) -> Vec<Finding> {
    let claimed = marks(tree.text(DOCUMENT).unwrap_or_default());
    let checked = RULES.iter().map(|rule| rule.id).collect();
    compare(&claimed, &checked)
}

fn compare(claimed: &BTreeSet<&str>, checked: &BTreeSet<&str>) -> Vec<Finding> {
    let unchecked = claimed.difference(checked).map(|id| {
        Finding::new(DOCUMENT, format!("claims {MARK}{id}], which no rule in xtask/src/tidy.rs checks"))
    });
    let untold = checked
        .difference(claimed)
        .map(|id| Finding::new(DOCUMENT, format!("does not say what {MARK}{id}] is about")));
    unchecked.chain(untold).collect()
}

fn marks(text: &str) -> BTreeSet<&str> {
    text.split(MARK).skip(1).filter_map(|rest| rest.split_once(']')).map(|(id, _)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_out_of_prose() {
        assert_eq!(
            marks("a [tidy:one] b **[tidy:two]**\n[tidy: never closed"),
            BTreeSet::from(["one", "two"])
        );
    }

    #[test]
    fn claims_and_checks_match_both_ways() {
        let findings = compare(&BTreeSet::from(["both", "claimed"]), &BTreeSet::from(["both", "checked"]));
        let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            findings,
            [
                "ARCHITECTURE.md: claims [tidy:claimed], which no rule in xtask/src/tidy.rs checks",
                "ARCHITECTURE.md: does not say what [tidy:checked] is about",
            ]
        );
    }
}
