//! Adds line numbers to problems about annotations.

use super::{
    report::Outcome,
    work::{MigratedObject, templates},
};
use crate::{edit::Places, object::Object, yaml_stream::Document};

/// Adds the line to problems that start with the full key of an annotation; for a template, the
/// line inside it.
pub(super) fn add(results: &mut [(Object<'_>, Option<MigratedObject>)], document: &Document<'_>) {
    let mut places = None;
    for (object, migrated) in results {
        let Some(MigratedObject { outcome: Outcome::Left { problems, .. }, .. }) = migrated else { continue };
        let pointers: Vec<String> = templates(object)
            .into_iter()
            .map(|(pointer, _)| format!("{}{pointer}", object.pointer))
            .collect();
        for problem in problems {
            let Some((key, message)) = problem.split_once(": ").filter(|(key, _)| is_key(key)) else {
                continue;
            };
            let places = places.get_or_insert_with(|| Places::parse(document));
            let found = pointers.iter().find_map(|pointer| places.as_ref()?.annotation(pointer, key));
            let Some((line, value)) = found else { continue };
            let inner = template_line(message).filter(|_| value.starts_with('|'));
            *problem = format!("line {}: {problem}", line + inner.unwrap_or(0));
        }
    }
}

fn is_key(text: &str) -> bool {
    text.contains('/') && !text.contains(char::is_whitespace)
}

/// The number in `line 3 of the template: …`.
fn template_line(message: &str) -> Option<usize> {
    let (number, rest) = message.strip_prefix("line ")?.split_once(' ')?;
    number.parse().ok().filter(|_| rest.starts_with("of the template"))
}
