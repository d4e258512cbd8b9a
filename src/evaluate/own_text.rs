//! Quotes annotation values that are not strings as written in the file: `0440`, which YAML reads
//! as the number 288.

use scaivault_contract::{
    EXCERPT_CHARS,
    names::{ANNOTATION_PREFIX, SERVICE_ACCOUNT_ROLE_ANNOTATION},
};
use scaivault_inject::{Code, Decision, Excerpt, Layer, Problem, annotations::corrected};

use super::{ObjectResult, Outcome};
use crate::{edit::Places, yaml_stream::Document};

/// Adds the text and the line of the file to problems about such values.
pub(crate) fn quote(results: &mut [ObjectResult], document: &Document<'_>) {
    let mut places = None;
    for result in results {
        let (object, template) = (result.pointer.clone(), result.pod_pointer());
        for problem in problems(result).filter(|problem| problem.code == Code::NotAString) {
            let places = places.get_or_insert_with(|| Places::parse(document));
            let pointer = match (&problem.layer, &template) {
                (Layer::Pod, Some(template)) => template,
                _ => &object,
            };
            let Some(key) = full_key(problem) else { continue };
            if let Some((line, text)) = places.as_ref().and_then(|places| places.annotation(pointer, &key)) {
                describe(problem, &key, line, text);
            }
        }
    }
}

/// The key as written in the file.
fn full_key(problem: &Problem) -> Option<String> {
    let key = problem.key.as_deref()?;
    Some(if problem.layer == Layer::ServiceAccount && key == "role" {
        SERVICE_ACCOUNT_ROLE_ANNOTATION.to_owned()
    } else {
        format!("{ANNOTATION_PREFIX}{key}")
    })
}

fn describe(problem: &mut Problem, key: &str, line: usize, text: &str) {
    problem.message = format!("{} (line {line})", problem.message).into();
    // Null, lists and objects have no text; a value with a tag (`!!int "5"`) may already be quoted.
    if problem.value.is_none() || text.is_empty() || text.starts_with(['"', '\'', '|', '>']) {
        return;
    }
    let excerpt = Excerpt::new(text);
    if text.chars().nth(EXCERPT_CHARS).is_none() {
        // A word such as `yes` is invalid for the key even if quoted, so it is corrected.
        let meant = key.strip_prefix(ANNOTATION_PREFIX).and_then(|key| corrected(key, text));
        problem.fix = format!("write {key}: {}", Excerpt::new(meant.as_deref().unwrap_or(text))).into();
    }
    problem.value = Some(excerpt);
}

fn problems(result: &mut ObjectResult) -> impl Iterator<Item = &mut Problem> {
    let problems = match &mut result.outcome {
        Outcome::Decided(decision) => match &mut **decision {
            Decision::Deny(denial) => Some(&mut denial.problems),
            Decision::Skip(skip) => Some(&mut skip.problems),
            Decision::Inject(_) | Decision::Detach(_) => None,
        },
        Outcome::NoObject
        | Outcome::NoPod
        | Outcome::Class
        | Outcome::Malformed(_)
        | Outcome::InvalidPolicy(_)
        | Outcome::NoReceipt => None,
    };
    problems.into_iter().flatten()
}
