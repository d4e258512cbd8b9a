use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::yaml_stream::split;

fn only(stream: &str) -> Document<'_> {
    let [document] = split(stream).try_into().unwrap();
    document
}

/// Strings that some YAML parser reads as another type, and strings with special characters.
const AWKWARD: &[&str] = &[
    "",
    " ",
    "y",
    "n",
    "yes",
    "Yes",
    "NO",
    "on",
    "off",
    "true",
    "True",
    "null",
    "Null",
    "~",
    "12:30:45",
    "1:20",
    "0400",
    "0o17",
    "0x1F",
    "0b11",
    "1_000",
    "1e3",
    "1E-3",
    "+1",
    "-1",
    ".5",
    "5.",
    "1.0",
    ".inf",
    "-.INF",
    ".nan",
    "NaN",
    "2024-01-01",
    "2024-01-01T00:00:00Z",
    "=",
    "<<",
    "- a",
    "-",
    "--- a",
    "---",
    "...",
    "? a",
    "a: b",
    "a:",
    ": a",
    "a #b",
    "#a",
    "&a",
    "*a",
    "!a",
    "|",
    ">",
    "%a",
    "@a",
    "`a",
    "'a'",
    "\"a\"",
    "[a]",
    "{a}",
    "{{ a }}",
    "a, b",
    "a\tb",
    "\ta",
    "a\n",
    "a\nb",
    "a\nb\n",
    "a\nb\n\n",
    "\na",
    "\n",
    "\n\n",
    "  a\nb\n",
    "a\n  b\n",
    " \n a",
    "a \nb",
    "a\r\nb",
    "a\rb",
    "---\na",
    "a\n---\nb\n",
    "# a\nb\n",
    "\u{0}",
    "\u{1b}",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{FEFF}",
    "a\u{FEFF}b\n",
    "é",
    "\u{1F600}",
    "\\",
    "a\\nb",
    "a\nb\tc\n",
    "\ta\nb\n",
];

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 1000.0)),
        prop::sample::select(AWKWARD).prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        "[ a\\n#:|>\\-\"'\\t]{0,16}".prop_map(Value::from),
        "[a-z ]{100,200}".prop_map(Value::from),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}", prop::sample::select(AWKWARD).prop_map(String::from), "[ -~]{1,12}",]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn written_yaml_parses_to_the_same_value(value in value()) {
        let yaml = emit_yaml(&value).unwrap();
        let read = parse_yaml(&yaml).map_err(|error| TestCaseError::fail(format!("{error}\n{yaml}")))?;
        prop_assert_eq!(&read, &value, "{}", yaml);
    }

    #[test]
    fn a_number_keeps_its_value(number in any::<f64>().prop_filter("JSON has no other", |n| n.is_finite())) {
        prop_assert_eq!(parse_yaml(&emit_yaml(&json!(number)).unwrap()).unwrap(), json!(number));
    }

    #[test]
    fn written_json_parses_to_the_same_value(value in value(), indentation in "[ \\t]{0,4}") {
        for style in [None, Some(indentation.as_str())] {
            prop_assert_eq!(&strict_json::parse(&emit_json(&value, style).unwrap()).unwrap(), &value);
        }
    }
}

#[test]
fn each_awkward_string_survives_as_key_and_as_value() {
    for text in AWKWARD {
        for value in [json!({*text: *text}), json!([*text]), json!({"a": [{"b": *text, "c": 1}]})] {
            let yaml = emit_yaml(&value).unwrap();
            assert_eq!(parse_yaml(&yaml).unwrap(), value, "{yaml}");
        }
    }
}

#[test]
fn yaml_is_read_as_kubectl_reads_it() {
    let yaml = "\
mode: 0400
other: 0o400
yes: on
quoted: \"on\"
time: 12:30:45
date: 2024-01-01
base: &base {cpu: 10m}
merged: {<<: *base, memory: 1Mi}
block: |
  two
  lines
nothing:
";
    assert_eq!(
        parse_yaml(yaml).unwrap(),
        json!({
            "mode": 0o400,
            "other": 0o400,
            "yes": true,
            "quoted": "on",
            "time": "12:30:45",
            "date": "2024-01-01",
            "base": {"cpu": "10m"},
            "merged": {"cpu": "10m", "memory": "1Mi"},
            "block": "two\nlines\n",
            "nothing": null,
        })
    );
}

#[test]
fn multiline_text_is_a_literal_block() {
    let long = "word ".repeat(50).trim_end().to_owned();
    let yaml = emit_yaml(&json!({"script": "set -e\nexit 0\n", "long": long})).unwrap();
    assert_eq!(yaml, format!("script: |\n  set -e\n  exit 0\nlong: {long}\n"));
}

/// go-yaml, the parser of `kubectl`, rejects such a block: "found a tab character where an
/// indentation space is expected".
#[test]
fn no_literal_block_begins_with_a_tab() {
    for text in ["\ta\nb\n", "\n\ta\n"] {
        let yaml = emit_yaml(&json!({"script": text})).unwrap();
        assert!(yaml.starts_with("script: \""), "{yaml}");
    }
    assert!(emit_yaml(&json!({"script": "a:\n\tb\n"})).unwrap().starts_with("script: |"));
}

#[test]
fn json_stays_json_with_its_indentation() {
    let value = json!({"a": [1]});
    for (before, after) in [
        ("{\"b\":2}", "{\"a\":[1]}"),
        ("{\n  \"b\": 2\n}\n", "{\n  \"a\": [\n    1\n  ]\n}\n"),
        ("{\n\t\"b\": 2\n}\n", "{\n\t\"a\": [\n\t\t1\n\t]\n}\n"),
        ("{\r\n \"b\": 2\r\n}\r\n", "{\r\n \"a\": [\r\n  1\r\n ]\r\n}\r\n"),
    ] {
        let document = only(before);
        assert_eq!(document.with_content(&emit(&value, &document).unwrap()), after);
    }
}

#[test]
fn errors_name_line_and_column_of_the_stream() {
    for (stream, line, column, message) in [
        ("a: 1\n---\n# c\nb: 1\nc: [\n", 5, 4, "bracket"),
        ("---\na: 1\nb: 2\na: 3\n", 4, 1, "duplicate"),
        ("\n{\"a\": 1,\n \"a\": 2}\n", 3, 4, "duplicate key \"a\""),
        ("a: 1\n\tb: 2\n", 1, 4, "tab"),
    ] {
        let error = split(stream).iter().find_map(|document| parse(document).err()).unwrap();
        assert_eq!((error.line, error.column), (line, column), "{stream:?}: {error}");
        assert!(error.message.contains(message), "{error}");
        assert!(!error.message.contains(" line "), "the place is said once: {error}");
        assert_eq!(error.hint, None);
    }
}

#[test]
fn a_template_that_is_not_yaml_gets_a_hint() {
    let error = parse(&only("a: 1\n{{- if .Values.on }}\nb: {{ .Values.b }}\n{{- end }}\n")).unwrap_err();
    assert!(error.hint.unwrap().contains("helm template"));
    assert_eq!(error.line, 2, "{error}");
}

#[test]
fn text_that_needs_quotes_gets_a_hint() {
    for (stream, line, column, hint) in [
        ("a: *unknown\n", 1, 4, "starts with * needs quotes"),
        ("---\na:\n- **\n", 3, 3, "starts with * needs quotes"),
        ("*\n", 1, 1, "starts with * needs quotes"),
        ("a: [b/${c}/d]\n", 1, 8, "a value with ${ between [ ] or { } needs quotes"),
    ] {
        let error = split(stream).iter().find_map(|document| parse(document).err()).unwrap();
        assert_eq!((error.line, error.column), (line, column), "{stream:?}: {error}");
        assert!(error.hint.is_some_and(|text| text.contains(hint)), "{stream:?}: {error:?}");
    }
}

#[test]
fn a_document_without_content_has_no_value() {
    for stream in ["# comment\n", "---\n", "--- # c\n...\n"] {
        assert_eq!(parse(&only(stream)), Ok(None), "{stream:?}");
    }
}

#[test]
fn numbers_are_written_with_their_own_digits() {
    for (stream, expected) in [
        ("{\"a\":1.10,\"b\":[1e3,{\"c\":18446744073709551616}],\"d\":\"1.10\"}", None),
        ("a: 1.10\nb:\n- 0x1F\n- 1_000\n- 1e3\nc: \"1.10\"\n", None),
        // A number that is one only because of its tag does not keep its digits; other numbers do.
        ("a: !!int \"0012\"\nb: !!float 5\nc: 1.10 # é\n", Some("a: 10\nb: 5.0\nc: 1.10\n")),
        ("# é\n---\né: {ü: 1.10, <<: {ü: 1e3, d: 1e3}}\n", Some("é:\n  ü: 1.10\n  d: 1e3\n")),
        ("a: &n 1.10\nb: *n\nc:\n  <<: {d: 1e3}\n", Some("a: 1.10\nb: 1.10\nc:\n  d: 1e3\n")),
    ] {
        let document = only(stream);
        let value = parse(&document).unwrap().unwrap();
        let written = emit(&with_digits(value, &document).unwrap(), &document).unwrap();
        assert_eq!(written, expected.unwrap_or(stream));
    }
}

#[test]
fn yaml_numbers_are_numbers_in_json() {
    let document = only("a: 0x1F\nb: 1.10\n");
    let value = with_digits(parse(&document).unwrap().unwrap(), &document).unwrap();
    assert_eq!(emit_json(&value, None).unwrap(), "{\"a\":31,\"b\":1.10}");
}
