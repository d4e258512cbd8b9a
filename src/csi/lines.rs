//! Finds the lines of findings.

use super::finding::{Code, Finding};
use crate::{edit::Places, yaml_stream::Document};

/// Sets the line of each finding of an object.
pub(super) fn add(findings: &mut [Finding], object: &str, document: &Document<'_>) {
    if findings.is_empty() {
        return;
    }
    let Some(places) = Places::parse(document) else {
        for finding in findings {
            finding.line = None;
        }
        return;
    };
    for finding in findings {
        let pointer = format!("{object}{}", finding.pointer);
        let in_text = finding.line.filter(|_| finding.code == Code::Objects);
        let inner = in_text.and_then(|line| Some(places.block_line(&pointer)? + line - 1));
        finding.line = inner.or_else(|| places.line(&pointer));
    }
}

/// The line of a list's item, or of one of its keys, in an embedded text.
pub(super) fn in_text(places: &Places<'_>, item: usize, key: Option<&str>) -> Option<usize> {
    let pointer =
        format!("/{item}{}", key.map_or(String::new(), |key| format!("/{}", crate::apply::escape(key))));
    places.line(&pointer)
}
