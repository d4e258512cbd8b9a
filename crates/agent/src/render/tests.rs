use proptest::prelude::*;
use serde_json::json;

use super::*;

fn data(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn as_text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn formatted_as(format: &str, field: Option<&str>, value: &Value) -> Result<String, RenderError> {
    let field = field.map(|name| name.parse::<FieldName>().unwrap());
    let data = data(value);
    let content = Content { path: "a/b", version: Some(3), data: &data, field: field.as_ref() };
    render(&Style::Format(format.parse().unwrap()), content).map(|bytes| as_text(&bytes))
}

fn templated(template: &str, value: &Value) -> Result<String, RenderError> {
    let style = Style::Template(Template::parse(template.to_owned())?);
    let data = data(value);
    let content = Content { path: "a/b", version: Some(3), data: &data, field: None };
    render(&style, content).map(|bytes| as_text(&bytes))
}

#[test]
fn every_format_of_a_whole_secret_and_of_a_field() {
    let value = json!({"user": "it's \"me\"", "port": 5432, "tls": {"on": true}, "none": null});
    for (format, field, expected) in [
        ("json", None, r#"{"user":"it's \"me\"","port":5432,"tls":{"on":true},"none":null}"#),
        ("json", Some("user"), r#""it's \"me\"""#),
        ("raw", Some("user"), r#"it's "me""#),
        ("raw", Some("port"), "5432"),
        ("raw", Some("tls"), r#"{"on":true}"#),
        ("raw", Some("none"), ""),
        ("env", None, "user='it'\\''s \"me\"'\nport='5432'\ntls='{\"on\":true}'\nnone=''\n"),
        ("env", Some("port"), "port='5432'\n"),
        (
            "yaml",
            None,
            "\"user\": \"it's \\\"me\\\"\"\n\"port\": 5432\n\"tls\": {\"on\":true}\n\"none\": null\n",
        ),
        ("yaml", Some("user"), "\"it's \\\"me\\\"\"\n"),
        ("properties", None, "user=it's \"me\"\nport=5432\ntls={\"on\":true}\nnone=\n"),
        ("properties", Some("port"), "port=5432\n"),
    ] {
        assert_eq!(formatted_as(format, field, &value).unwrap(), expected, "{format} {field:?}");
    }
}

#[test]
fn raw_takes_the_only_field_and_names_several() {
    assert_eq!(formatted_as("raw", None, &json!({"key": "k"})).unwrap(), "k");
    let error = formatted_as("raw", None, &json!({"a": "hunter2", "b": "hunter2"})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "format=raw takes one field; name it with path#field; its fields: \"a\", \"b\""
    );
    assert_eq!(error.exit(), Exit::Invalid);
    assert!(formatted_as("raw", None, &json!({})).is_err());
}

#[test]
fn a_missing_field_is_named_beside_those_that_are_there() {
    let error = formatted_as("raw", Some("pass"), &json!({"password": "hunter2"})).unwrap_err();
    assert_eq!(error.to_string(), "it has no field \"pass\"; its fields: \"password\"");
    assert_eq!(error.exit(), Exit::NotFound);
}

#[test]
fn env_refuses_what_no_variable_can_be() {
    let error = formatted_as("env", None, &json!({"a-b": "x"})).unwrap_err();
    assert!(matches!(error, RenderError::NotAVariable(_)), "{error}");
    assert!(matches!(formatted_as("env", None, &json!({"a": "x\0y"})), Err(RenderError::Nul(_))));
}

#[test]
fn yaml_escapes_what_yaml_reads_otherwise_than_json() {
    let text = formatted_as("yaml", None, &json!({"k": "a\u{2028}b\u{85}c\u{feff}\u{7f}é"})).unwrap();
    assert_eq!(text, "\"k\": \"a\\u2028b\\u0085c\\ufeff\\u007fé\"\n");
    assert_eq!(formatted_as("yaml", None, &json!({})).unwrap(), "{}\n");
}

#[test]
fn properties_escape_keys_blanks_and_other_letters() {
    let value = json!({"a =:#!\\": "  two \t\n\r\u{c}\\ é😀 "});
    let text = formatted_as("properties", None, &value).unwrap();
    assert_eq!(text, "a\\ \\=\\:\\#\\!\\\\=\\ \\ two \\t\\n\\r\\f\\\\ \\u00e9\\ud83d\\ude00 \n");
}

#[test]
fn a_template_sees_data_version_and_path_and_keeps_its_last_line_end() {
    let value = json!({"user": "u", "password": "<&>", "ports": [1, 2]});
    let template = "{{ path }}@{{ version }} {{ data.user }}:{{ data.password }}{% for p in data.ports %} {{ p }}{% endfor %}\n";
    assert_eq!(templated(template, &value).unwrap(), "a/b@3 u:<&> 1 2\n");
    assert_eq!(templated("{{ data.ports | tojson }}", &value).unwrap(), "[1, 2]");
}

#[test]
fn a_template_that_names_nothing_is_an_error_without_its_text() {
    let error = templated("ok\n{{ data.hunter2 }}", &json!({"a": "b"})).unwrap_err();
    let said = error.to_string();
    assert_eq!(said, "line 2 of the template names a value or a field that the secret does not have");
    assert_eq!(error.exit(), Exit::Invalid);
    let error = templated("{{ data.a + 1 }}", &json!({"a": "hunter2"})).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn a_template_is_bounded_in_work_and_output() {
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    assert_eq!(templated(endless, &json!({})), Err(TemplateError::OutOfFuel.into()));
    let large = json!({"a": "x".repeat(1024 * 1024)});
    let copies = "{% for i in range(5) %}{{ data.a }}{% endfor %}";
    assert_eq!(templated(copies, &large), Err(TemplateError::TooMuchOutput.into()));
    assert!(matches!(Template::parse("{{".to_owned()), Err(TemplateError::Syntax(_))));
    assert!(matches!(Template::parse("-".repeat(2000)), Err(TemplateError::Size(_))));
}

#[test]
fn a_variable_is_one_line_and_what_the_kubelet_cannot_read_is_refused() {
    let data =
        data(&json!({"a": "x #\"y\"\nz", "empty": "", "null": null, "quote": "hunter'2", "nul": "\0"}));
    let line = |field: &str| variable_line(&"VAR".parse().unwrap(), &data, &field.parse().unwrap());
    assert_eq!(*line("a").unwrap(), "VAR='x #\"y\"\nz'\n");
    assert!(matches!(line("empty"), Err(RenderError::EmptyVariable(_))));
    assert!(matches!(line("null"), Err(RenderError::EmptyVariable(_))));
    assert!(matches!(line("nul"), Err(RenderError::Nul(_))));
    assert!(matches!(line("absent"), Err(RenderError::NoField { .. })));
    let error = line("quote").unwrap_err();
    assert!(matches!(error, RenderError::QuoteInVariable(_)));
    assert!(!error.to_string().contains("hunter"), "{error}");
}

proptest! {
    /// What a shell makes of a line of `format=env` is the value.
    #[test]
    fn env_reads_back(value in "[^\0]{0,40}") {
        let text = formatted_as("env", None, &json!({ "A": value })).unwrap();
        let quoted = text.strip_prefix("A=").unwrap().strip_suffix('\n').unwrap();
        prop_assert_eq!(unquote(quoted), value);
    }

    #[test]
    fn yaml_of_one_string_is_json_too(value in "\\PC{0,40}") {
        let text = formatted_as("yaml", Some("a"), &json!({ "a": value })).unwrap();
        prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
    }

    #[test]
    fn properties_stay_on_one_line_of_ascii(key in ".{1,10}", value in "(.|\n){0,40}") {
        let text = formatted_as("properties", None, &json!({ key: value })).unwrap();
        prop_assert!(text.is_ascii());
        prop_assert_eq!(text.lines().count(), 1);
    }
}

/// Single quotes and the escaped quote between them, by the rules of the shell.
fn unquote(text: &str) -> String {
    let mut value = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(r"\'") {
            value.push('\'');
            rest = after;
        } else {
            let (inside, after) = rest.strip_prefix('\'').unwrap().split_once('\'').unwrap();
            value.push_str(inside);
            rest = after;
        }
    }
    value
}
