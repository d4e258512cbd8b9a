//! Joins the streams of several files to one stream.

use std::borrow::Cow;

use super::{after_marker, is_blank_or_comment, json_values, lines, split, without_bom};

/// Joins streams. A single one is unchanged; several are separated by the markers that YAML needs
/// between documents. Several JSON streams stay one JSON stream.
pub(crate) fn join(streams: &[String]) -> String {
    let streams: Vec<&str> = streams.iter().map(String::as_str).filter(|stream| !stream.is_empty()).collect();
    if let [only] = streams.as_slice() {
        return (*only).to_owned();
    }
    let all_json = streams.iter().copied().all(is_json);

    let mut joined = String::with_capacity(streams.iter().map(|stream| stream.len() + 8).sum());
    for (index, stream) in streams.into_iter().enumerate() {
        if index > 0 && !joined.ends_with('\n') {
            joined.push('\n');
        }
        let first = index == 0;
        match Start::new(stream) {
            _ if all_json => {}
            Start::Directive if !first => joined.push_str("...\n"),
            // Also before the first: a parser that sees a brace at the start reads the whole stream
            // as JSON.
            Start::Content if !first || begins_with_a_brace(stream) => joined.push_str("---\n"),
            Start::Marker | Start::Directive | Start::Content => {}
        }
        let stream = if joined.is_empty() { stream } else { without_bom(stream) };
        joined.push_str(&if all_json { Cow::Borrowed(stream) } else { as_yaml(stream) });
    }
    joined
}

/// Converts a stream for a YAML stream: the values of a JSON stream need markers between them.
fn as_yaml(stream: &str) -> Cow<'_, str> {
    if !is_json(stream) {
        return Cow::Borrowed(stream);
    }
    let mut documents = split(stream).into_iter();
    let mut yaml = documents.next().map_or_else(String::new, |document| document.text.to_owned());
    for document in documents {
        yaml.push_str(if yaml.ends_with('\n') { "---\n" } else { "\n---\n" });
        yaml.push_str(document.text.trim_start());
    }
    Cow::Owned(yaml)
}

/// Whether the stream consists of JSON values only. A brace at its start is not sufficient: flow
/// YAML and JSON documents between markers start with one, too.
fn is_json(stream: &str) -> bool {
    json_values(without_bom(stream), 0).is_some()
}

fn begins_with_a_brace(stream: &str) -> bool {
    without_bom(stream).trim_start().starts_with('{')
}

/// The first element of a stream, ignoring comments.
enum Start {
    /// `---`, or an empty stream.
    Marker,
    /// `%`, which may only follow the end marker of another document.
    Directive,
    Content,
}

impl Start {
    fn new(stream: &str) -> Self {
        match lines(without_bom(stream)).find(|line| !is_blank_or_comment(line)) {
            None => Self::Marker,
            Some(line) if after_marker(line, "---").is_some() => Self::Marker,
            Some(line) if line.starts_with('%') => Self::Directive,
            Some(_) => Self::Content,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_stay_apart() {
        for (streams, expected) in [
            (vec!["a: 1"], "a: 1"),
            (vec!["", "a: 1", ""], "a: 1"),
            (vec!["a: 1", "b: 2\n"], "a: 1\n---\nb: 2\n"),
            (vec!["---\na: 1\n", "# c\n---\nb: 2\n"], "---\na: 1\n# c\n---\nb: 2\n"),
            (vec!["a: 1\n", "%YAML 1.1\n---\nb: 2\n"], "a: 1\n...\n%YAML 1.1\n---\nb: 2\n"),
            (vec!["\u{FEFF}a: 1\n", "\u{FEFF}b: 2\n"], "\u{FEFF}a: 1\n---\nb: 2\n"),
            (vec!["{\"a\": 1}", "{\"b\": 2}\n"], "{\"a\": 1}\n{\"b\": 2}\n"),
            (vec!["{\"a\": 1}", "b: 2\n"], "---\n{\"a\": 1}\n---\nb: 2\n"),
            (vec!["a: 1\n", "{\"b\": 2}\n"], "a: 1\n---\n{\"b\": 2}\n"),
            (vec!["{a: 1}\n", "{b: 2}\n"], "---\n{a: 1}\n---\n{b: 2}\n"),
            (
                vec!["{\"a\": 1}\n---\n{\"b\": 2}\n", "{\"c\": 3}\n"],
                "---\n{\"a\": 1}\n---\n{\"b\": 2}\n---\n{\"c\": 3}\n",
            ),
            (vec!["{\"a\": 1}", "{b: 2}\n"], "---\n{\"a\": 1}\n---\n{b: 2}\n"),
            (
                vec!["a: 1\n", "{\"b\": 2} {\"c\": 3}\n{\"d\": 4}"],
                "a: 1\n---\n{\"b\": 2}\n---\n{\"c\": 3}\n---\n{\"d\": 4}",
            ),
            (vec!["\u{FEFF}{\"a\": 1}\n", "b: 2\n"], "---\n{\"a\": 1}\n---\nb: 2\n"),
        ] {
            let streams: Vec<_> = streams.into_iter().map(str::to_owned).collect();
            assert_eq!(join(&streams), expected, "{streams:?}");
        }
    }

    #[test]
    fn the_parser_finds_every_document_of_joined_streams() {
        let streams =
            ["{z: 0}", "a: 1", "--- {b: 2}", "%YAML 1.2\n---\nc: 3\n", "{\"d\": 4}{\"e\": 5}", "{f: 6}"]
                .map(str::to_owned);
        let values: Vec<serde_json::Value> = serde_saphyr::from_multiple(&join(&streams)).unwrap();
        assert_eq!(values.len(), streams.len() + 1);
    }
}
