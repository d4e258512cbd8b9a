use proptest::prelude::*;

use super::*;

/// The content of each document that has one, without the final line break.
#[track_caller]
fn contents(stream: &str) -> Vec<&str> {
    let documents = split(stream);
    let whole: String = documents.iter().map(|document| document.text).collect();
    assert_eq!(whole, stream, "the documents' texts are the stream");
    documents
        .into_iter()
        .filter_map(|document| {
            let range = document.content?.range;
            Some(document.text[range].trim_end())
        })
        .collect()
}

#[test]
fn documents_are_separated_by_markers_at_column_0() {
    for (stream, expected) in [
        ("", vec![]),
        ("a: 1", vec!["a: 1"]),
        ("a: 1\n", vec!["a: 1"]),
        ("---\na: 1\n---\nb: 2\n", vec!["a: 1", "b: 2"]),
        ("a: 1\n---\nb: 2\n---\n", vec!["a: 1", "b: 2"]),
        ("---\r\na: 1\r\n---\r\nb: 2", vec!["a: 1", "b: 2"]),
        ("a: 1\r---\rb: 2\r", vec!["a: 1", "b: 2"]),
        ("--- # first\na: 1\n---\t# second\nb: 2\n", vec!["a: 1", "b: 2"]),
        ("--- {a: 1}\n--- {b: 2}\n", vec!["{a: 1}", "{b: 2}"]),
        ("--- !tag\na: 1\n", vec!["!tag\na: 1"]),
        ("--- |\n text\n", vec!["|\n text"]),
        ("%YAML 1.2\n---\na: 1\n...\n%YAML 1.2\n---\nb: 2\n", vec!["a: 1", "b: 2"]),
        ("a: 1\n...\nb: 2\n", vec!["a: 1", "b: 2"]),
        ("---\n---\n---\na: 1\n", vec!["a: 1"]),
        ("# only a comment\n", vec![]),
        ("---\n# only a comment\n...\n# another\n", vec![]),
        ("\u{FEFF}---\na: 1\n", vec!["a: 1"]),
        ("\u{FEFF}a: 1\n---\nb: 2\n", vec!["a: 1", "b: 2"]),
    ] {
        assert_eq!(contents(stream), expected, "{stream:?}");
    }
}

#[test]
fn text_that_looks_like_a_marker_does_not_separate() {
    for stream in [
        "a: ---\n",
        "---a: 1\n",
        "a: |\n  ---\n  b: 2\n",
        "a: |\n ...\n",
        "a: \"x\n  ---\n  y\"\n",
        "- ---\n- ...\n",
        "----\n",
        "....\n",
    ] {
        assert_eq!(contents(stream), [stream.trim_end()], "{stream:?}");
    }
}

/// YAML forbids the marker even there: the block scalar, and the document, end before it.
#[test]
fn a_marker_at_column_0_ends_a_block_scalar() {
    assert_eq!(contents("a: |\n  x\n---\n  y\n"), ["a: |\n  x", "  y"]);
    let parsed: Vec<serde_json::Value> = serde_saphyr::from_multiple("a: |\n  x\n---\n  y\n").unwrap();
    assert_eq!(parsed.len(), 2, "the parser agrees");
}

#[test]
fn lines_are_counted_from_1() {
    let lines = |stream| -> Vec<_> {
        split(stream).iter().map(|d| (d.line, d.content.as_ref().map(|c| c.line))).collect()
    };
    assert_eq!(lines("a: 1\n"), [(1, Some(1))]);
    assert_eq!(lines("# c\n\n---\n# d\na: 1\n"), [(1, Some(5))]);
    assert_eq!(lines("a: 1\n---\n\nb: 2\n--- {c: 3}\n"), [(1, Some(1)), (2, Some(4)), (5, Some(5))]);
    assert_eq!(lines("a: 1\r\n---\r\nb: 2\r\n"), [(1, Some(1)), (2, Some(3))]);
    assert_eq!(lines("a: 1\n...\n---\nb: 2\n"), [(1, Some(1)), (3, Some(4))]);
    assert_eq!(lines("{\"a\":\n1}\n\n{\"b\":2}\n"), [(1, Some(1)), (2, Some(4))]);
}

#[test]
fn a_json_stream_is_one_document_for_each_value() {
    assert_eq!(contents("{\"a\": 1}\n{\"b\": 2} {}\n"), ["{\"a\": 1}", "{\"b\": 2}", "{}"]);
    assert_eq!(contents("\n  {\"a\": 1}"), ["{\"a\": 1}"]);
    let formats: Vec<_> = split("---\n{\"a\": 1}\n---\n{a: 1}\n---\n{\"a\": 1} # yaml\n")
        .into_iter()
        .map(|document| document.content.unwrap().format)
        .collect();
    assert_eq!(formats, [Format::Json, Format::Yaml, Format::Yaml]);
}

#[test]
fn new_content_keeps_the_surrounding_text() {
    for (before, expected) in [
        ("a: 1\n", "new: 1\n"),
        ("a: 1", "new: 1\n"),
        ("# head\n---\n# why\n\na: 1\n", "# head\n---\n# why\n\nnew: 1\n"),
        ("---\na: 1\n\n# tail\n\n", "---\nnew: 1\n# tail\n\n"),
        ("--- # name\na: 1\n...\n", "--- # name\nnew: 1\n...\n"),
        ("--- {a: 1}\n", "---\nnew: 1\n"),
        ("--- !tag\na: 1\n", "---\nnew: 1\n"),
        ("%YAML 1.1\n---\na: 1\n", "%YAML 1.1\n---\nnew: 1\n"),
        ("\u{FEFF}a: 1\n", "\u{FEFF}new: 1\n"),
        ("---\r\na: 1\r\n...\r\n", "---\r\nnew: 1\r\n...\r\n"),
        ("a: |+\n  x\n\n\n# tail\n", "new: 1\n# tail\n"),
        ("a: |\n  # text\n# tail\n", "new: 1\n# tail\n"),
    ] {
        let [document] = split(before).try_into().unwrap();
        assert_eq!(document.with_content("new: 1\n"), expected, "{before:?}");
    }
    let [document] = split("---\n {\"a\": 1}\n\n").try_into().unwrap();
    assert_eq!(document.with_content("{\"new\": 1}"), "---\n {\"new\": 1}\n\n");
}

#[test]
fn a_comment_between_lines_of_the_content_belongs_to_it() {
    assert_eq!(contents("a: 1\n# why\nb: 2\n# end\n"), ["a: 1\n# why\nb: 2"]);
}

proptest! {
    /// Streams of relevant fragments: no text is lost, and the parser finds the same number of
    /// documents.
    #[test]
    fn splitting_loses_nothing_and_agrees_with_the_parser(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "---\n", "--- # c\n", "--- {x: 1}\n", "...\n", "# comment\n", "\n", "  \n", "a: 1\n",
            "b: |\n  text\n  ---\n", "c: |+\n  x\n\n", "- \"q\"\n", "\t\n",
        ]), 0..12),
    ) {
        let stream = pieces.concat();
        let documents = split(&stream);
        let whole: String = documents.iter().map(|document| document.text).collect();
        prop_assert_eq!(&whole, &stream);

        let values: Result<Vec<serde_json::Value>, _> = serde_saphyr::from_multiple(&stream);
        if let Ok(values) = values {
            let found = values.into_iter().filter(|value| !value.is_null()).count();
            prop_assert_eq!(documents.iter().filter(|document| document.content.is_some()).count(), found);
        }
    }

    /// For any text.
    #[test]
    fn any_text_is_split_without_loss(stream in "[-.#%{}a: \\n\\r\u{FEFF}é]{0,60}") {
        let whole: String = split(&stream).iter().map(|document| document.text).collect();
        prop_assert_eq!(whole, stream);
    }
}
