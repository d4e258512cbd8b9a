//! Values of annotations that are no strings, as the file has them: `0440`, where YAML reads the number 288.

use std::collections::BTreeMap;

use scaivault_contract::names::ANNOTATION_PREFIX;
use scaivault_inject::{Code, Decision, Excerpt, Problem};

use super::{Outcome, Treated};
use crate::yaml_stream::Document;

/// Puts the text and the line of the file into the problems about such values.
pub(crate) fn quote(treated: &mut [Treated], document: &Document<'_>) {
    let mut seen = BTreeMap::new();
    for problem in treated.iter_mut().flat_map(problems).filter(|problem| problem.code == Code::NotAString) {
        let Some(key) = &problem.key else { continue };
        // Several objects of a document may have the same key.
        let nth = seen.entry(key.clone()).or_insert(0);
        let Some((line, text)) = unquoted(document, &format!("{ANNOTATION_PREFIX}{key}")).nth(*nth) else {
            continue;
        };
        *nth += 1;
        problem.message = format!("{} (line {line})", problem.message).into();
        if problem.value.is_some() && !text.is_empty() {
            problem.value = Some(Excerpt::new(text));
            problem.cure = format!("write {key}: \"{text}\"").into();
        }
    }
}

fn problems(treated: &mut Treated) -> impl Iterator<Item = &mut Problem> {
    let problems = match &mut treated.outcome {
        Outcome::Decided(decision) => match &mut **decision {
            Decision::Deny(denial) => Some(&mut denial.problems),
            Decision::Skip(skip) => Some(&mut skip.problems),
            Decision::Inject(_) | Decision::Detach(_) => None,
        },
        Outcome::NoObject | Outcome::NoPod | Outcome::Malformed(_) | Outcome::NoReceipt => None,
    };
    problems.into_iter().flatten()
}

/// Where a key has a value without quotes: the line of the stream, and the value as it is written.
fn unquoted<'d>(document: &Document<'d>, key: &str) -> impl Iterator<Item = (usize, &'d str)> {
    let first = document.line;
    document.text.lines().enumerate().filter_map(move |(index, line)| {
        let (before, rest) = line.split_once(key)?;
        if before.contains('#') || before.ends_with(|c: char| c.is_alphanumeric() || "./-_".contains(c)) {
            return None;
        }
        let value = rest.strip_prefix(['"', '\'']).unwrap_or(rest).trim_start().strip_prefix(':')?;
        let value = value.split(" #").next().unwrap_or_default();
        let end = value.find([',', '}']).unwrap_or(value.len());
        let value = value[..end].trim();
        (!value.starts_with(['"', '\'', '|', '>'])).then_some((first + index, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml_stream;

    #[test]
    fn values_without_quotes_are_found_with_their_line() {
        let text = "# scaivault.scailabs.ai/a: 1\nx: {scaivault.scailabs.ai/a: 0440, b: 2}\n\
                    y:\n  \"scaivault.scailabs.ai/a\" : yes  # no\n  scaivault.scailabs.ai/a: '3'\n  scaivault.scailabs.ai/ab: 4\n";
        let documents = yaml_stream::split(text);
        let found: Vec<_> = unquoted(&documents[0], "scaivault.scailabs.ai/a").collect();
        assert_eq!(found, [(2, "0440"), (4, "yes")]);
    }
}
