//! Checks the laws on one document.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use crate::{
    DETACH, INJECT,
    program::{Outcome as Output, run_with},
};

/// The result for one document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Injected, and every law holds.
    Injected,
    /// Unchanged: a kind that the injector does not know.
    Untouched,
    /// Rejected, with the codes of its problems.
    Refused(BTreeSet<String>),
    /// A law is violated: which one, with the program's output.
    Broken(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected => f.write_str("injected, laws hold"),
            Self::Untouched => f.write_str("untouched"),
            Self::Refused(codes) => {
                let codes: Vec<_> = codes.iter().map(String::as_str).collect();
                write!(f, "refused: {}", codes.join(", "))
            }
            Self::Broken(_) => f.write_str("BROKEN"),
        }
    }
}

/// Injects, injects again, and detaches: `inject(inject(p)) == inject(p)` and
/// `detach(inject(p)) == p`, as JSON.
pub(super) fn check(document: &Value) -> Outcome {
    let inject = |input: &Value| answer(&run_with(input.to_string(), INJECT));
    let injected = match inject(document) {
        Ok(injected) => injected,
        Err(said) => {
            let codes = problem_codes(&said);
            return if codes.is_empty() {
                Outcome::Broken(format!("inject fails without a problem's code: {said}"))
            } else {
                Outcome::Refused(codes)
            };
        }
    };
    if injected == *document {
        return Outcome::Untouched;
    }
    match inject(&injected) {
        Err(said) => Outcome::Broken(format!("a second inject fails: {said}")),
        Ok(again) if again != injected => Outcome::Broken("a second inject changes something".into()),
        Ok(_) => match answer(&run_with(injected.to_string(), DETACH)) {
            Err(said) => Outcome::Broken(format!("detach fails: {said}")),
            Ok(detached) if detached != *document => {
                Outcome::Broken("detach does not give back what was injected".into())
            }
            Ok(_) => Outcome::Injected,
        },
    }
}

/// The resulting document, or the program's error.
fn answer(output: &Output) -> Result<Value, String> {
    if output.code != 0 {
        return Err(output.stderr.trim().to_owned());
    }
    match super::documents(&output.stdout) {
        Ok(documents) if documents.len() == 1 => Ok(documents.into_iter().next().unwrap_or_default()),
        Ok(documents) => Err(format!("{} documents came out of one", documents.len())),
        Err(error) => Err(format!("the output is not YAML: {error}")),
    }
}

/// Every `[code]` in the text of problems.
pub(super) fn problem_codes(text: &str) -> BTreeSet<String> {
    let is_code = |code: &str| {
        code.starts_with(|c: char| c.is_ascii_lowercase())
            && code.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    };
    text.split('[')
        .skip(1)
        .filter_map(|rest| rest.split_once(']'))
        .map(|(code, _)| code)
        .filter(|code| is_code(code))
        .map(str::to_owned)
        .collect()
}

#[test]
fn codes_are_read_out_of_problems() {
    let text = "2 problems (1) a: \"b[0]\": bad; to fix: c [invalid-duration] (2) d; to fix: e [unknown-key]";
    assert_eq!(problem_codes(text), ["invalid-duration", "unknown-key"].map(String::from).into());
    assert!(problem_codes("error: spec.containers[0] is odd").is_empty());
}
