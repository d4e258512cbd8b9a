use proptest::prelude::*;
use scaivault_contract::{PodValues, parse_dynamic, parse_secrets};
use serde_json::{Value, json};

use super::*;

/// The file that a mapping line produces from these data, each of version 3.
fn written(line: &str, data: &[&str]) -> Result<Vec<u8>, RenderError> {
    let values = PodValues::default();
    let (source, format, options) = if line.starts_with("engine=") {
        let mapping = parse_dynamic(line).unwrap().remove(0);
        let format = mapping.format();
        (Source::Lease(mapping.dynamic.fill(&values).unwrap()), format, mapping.options)
    } else {
        let mapping = parse_secrets(line).unwrap().remove(0);
        let format = mapping.format();
        (Source::Secrets(mapping.source.fill(&values).unwrap()), format, mapping.options)
    };
    let style = Style::new(&source, options.template, options.encoding, format)?;
    let version = matches!(source, Source::Secrets(_)).then_some(3);
    let data: Vec<_> = data.iter().map(|json| SecretData::new(json).unwrap()).collect();
    let contents: Vec<_> = data.iter().map(|data| Content { version, data }).collect();
    render(&source, &style, &contents)
}

fn text_of(line: &str, data: &[&str]) -> Result<String, RenderError> {
    written(line, data).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[track_caller]
fn formatted_as(format: &str, field: Option<&str>, value: &Value) -> Result<String, RenderError> {
    let field = field.map(|name| format!("#{name}")).unwrap_or_default();
    text_of(&format!("a/b{field} -> /f format={format}"), &[&value.to_string()])
}

fn templated(template: &str, value: &Value) -> Result<String, RenderError> {
    rendered(template, &value.to_string())
}

fn rendered(template: &str, data: &str) -> Result<String, RenderError> {
    text_of(&format!("a/b -> /f template={}", json!(template)), &[data])
}

#[test]
fn every_format_of_a_whole_secret_and_of_a_field() {
    let value = json!({"user": "it's \"me\"", "port": 5432, "tls": {"on": true}, "none": null});
    for (format, field, expected) in [
        ("json", None, r#"{"none":null,"port":5432,"tls":{"on":true},"user":"it's \"me\""}"#),
        ("json", Some("user"), r#""it's \"me\"""#),
        ("raw", Some("user"), r#"it's "me""#),
        ("raw", Some("port"), "5432"),
        ("raw", Some("tls"), r#"{"on":true}"#),
        ("raw", Some("none"), ""),
        ("env", None, "none=''\nport='5432'\ntls='{\"on\":true}'\nuser=\"it's \\\"me\\\"\"\n"),
        ("env", Some("port"), "port='5432'\n"),
        ("dotenv", None, "none=''\nport='5432'\ntls='{\"on\":true}'\nuser=it's \"me\"\n"),
        (
            "yaml",
            None,
            "\"none\": null\n\"port\": 5432\n\"tls\": {\"on\":true}\n\"user\": \"it's \\\"me\\\"\"\n",
        ),
        ("yaml", Some("user"), "\"it's \\\"me\\\"\"\n"),
        ("properties", None, "none=\nport=5432\ntls={\"on\":true}\nuser=it's \"me\"\n"),
        ("properties", Some("port"), "port=5432\n"),
    ] {
        assert_eq!(formatted_as(format, field, &value).unwrap(), expected, "{format} {field:?}");
    }
}

#[test]
fn raw_uses_the_only_field_and_names_several() {
    assert_eq!(formatted_as("raw", None, &json!({"key": "k"})).unwrap(), "k");
    let error = formatted_as("raw", None, &json!({"a": "hunter2", "b": "hunter2"})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "format=raw takes one field; name it with path#field; its fields: \"a\", \"b\""
    );
    assert!(!error.is_absent());
    assert!(formatted_as("raw", None, &json!({})).is_err());
}

#[test]
fn a_missing_field_is_named_with_the_existing_ones() {
    let error = formatted_as("raw", Some("pass"), &json!({"password": "hunter2"})).unwrap_err();
    assert_eq!(error.to_string(), "it has no field \"pass\"; its fields: \"password\"");
    assert!(error.is_absent());
}

#[test]
fn variables_refuse_unreadable_values() {
    for (format, name, value) in [
        ("env", "a-b", "x"),
        ("env", "", "x"),
        ("env", "UID", "x"),
        ("env", "a", "x\0y"),
        ("dotenv", "a-b", "x"),
        ("dotenv", "__proto__", "x"),
        ("dotenv", "a", "x\0y"),
        ("dotenv", "a", "x\r\ny"),
        ("dotenv", "a", "x${y}z"),
        ("dotenv", "a", "it's \"#1\""),
        ("dotenv", "a", "it's \\\n"),
        ("dotenv", "a", "it's \\ "),
    ] {
        let error = formatted_as(format, None, &json!({ name: value })).unwrap_err();
        assert!(
            matches!(error, RenderError::NotAVariable { .. } | RenderError::NotRepresentable { .. }),
            "{error}"
        );
        let said = error.to_string();
        assert!(said.starts_with(&format!("its field {name:?} ")), "{said}");
        assert!(said.contains(&format!("format={format}")) && !said.contains(value), "{said}");
        assert!(!error.is_absent());
    }
}

#[test]
fn a_value_is_quoted_as_its_readers_need_it() {
    for (value, env, dotenv) in [
        ("it's#1", "\"it's#1\"", "\"it's#1\""),
        ("C:\\data\\", "\"C:\\\\data\\\\\"", "C:\\data\\"),
        ("$a`b`\"c\"", "'$a`b`\"c\"'", "'$a`b`\"c\"'"),
        ("'$a`b`\\", "\"'\\$a\\`b\\`\\\\\"", ""),
        ("a\nb", "'a\nb'", "'a\nb'"),
        ("", "''", "''"),
    ] {
        let fields = json!({ "A": value });
        assert_eq!(formatted_as("env", None, &fields).unwrap(), format!("A={env}\n"));
        match formatted_as("dotenv", None, &fields) {
            Ok(text) => assert_eq!(text, format!("A={dotenv}\n")),
            Err(error) => assert!(dotenv.is_empty(), "{error}"),
        }
    }
}

#[test]
fn numbers_keep_their_digits_and_fields_are_sorted() {
    let data = r#"{"pin":1.10,"id":18446744073709551616,"limit":1e3,"rate":0.1000000000000000055,"zero":-0,
                   "in":{"b":1E-7,"a":[123456789012345678901234567890,1.0]},"n":42,"half":0.5}"#;
    for (format, expected) in [
        (
            "json",
            r#"{"half":0.5,"id":18446744073709551616,"in":{"a":[123456789012345678901234567890,1.0],"b":1E-7},"limit":1e3,"n":42,"pin":1.10,"rate":0.1000000000000000055,"zero":-0}"#,
        ),
        (
            "env",
            "half='0.5'\nid='18446744073709551616'\nin='{\"a\":[123456789012345678901234567890,1.0],\"b\":1E-7}'\nlimit='1e3'\nn='42'\npin='1.10'\nrate='0.1000000000000000055'\nzero='-0'\n",
        ),
    ] {
        assert_eq!(text_of(&format!("a/b -> /f format={format}"), &[data]).unwrap(), expected);
    }
    for (template, expected) in [
        ("{{ data }}", text_of("a/b -> /f", &[data]).unwrap().as_str()),
        ("{{ data | tojson }}", text_of("a/b -> /f", &[data]).unwrap().as_str()),
        ("{{ data.id }} {{ data.limit }} {{ data.pin }} {{ data.zero }}", "18446744073709551616 1e3 1.10 -0"),
        ("{{ data.pin ~ '/' ~ data.limit }} {{ data.limit | string }}", "1.10/1e3 1e3"),
        ("{{ [data.pin, data.n, true, none] | join(',') }}", "1.10,42,true,"),
        (
            "{{ data.n + 1 }} {{ data.half * 3 }} {{ data.n / 2 }} {{ data.id + 1 }}",
            "43 1.5 21.0 18446744073709551617",
        ),
        ("{{ data.limit | int + 1 }} {{ data.pin | float * 2 }}", "1001 2.2"),
        ("{% if data.pin is number and data.half is number and data.pin == data.pin %}yes{% endif %}", "yes"),
        ("{% for key, value in data | items %}{{ key }} {% endfor %}", "half id in limit n pin rate zero "),
        (
            "{{ data['in'] | tojson(indent=1) }}",
            "{\n \"a\": [\n  123456789012345678901234567890,\n  1.0\n ],\n \"b\": 1E-7\n}",
        ),
    ] {
        assert_eq!(rendered(template, data).unwrap(), expected, "{template}");
    }
}

#[test]
fn values_look_the_same_in_templates_as_in_formats() {
    let data = json!({"on": true, "off": false, "none": null, "text": "<'&\">\n", "list": [1, null, "é"], "empty": [], "map": {"b": {}, "a": "x\"y"}});
    for name in ["on", "off", "none", "text", "list", "empty", "map"] {
        let raw = formatted_as("raw", Some(name), &data).unwrap();
        assert_eq!(templated(&format!("{{{{ data.{name} }}}}"), &data).unwrap(), raw);
        let json = formatted_as("json", Some(name), &data).unwrap();
        assert_eq!(templated(&format!("{{{{ data.{name} | tojson }}}}"), &data).unwrap(), json);
    }
}

#[test]
fn the_order_and_spelling_of_the_server_change_nothing() {
    let (one, other) = (
        r#"{"b":{"y":1,"x":[{"d":1,"c":2}]},"a":"é/"}"#,
        r#"{ "a":"\u00e9\/", "b":{"x":[{"c":2,"d":1}],"y":1}}"#,
    );
    for options in [
        "format=json",
        "format=yaml",
        "format=env",
        "format=dotenv",
        "format=properties",
        "template=\"{{ data }}{% for key in data %}{{ key }}{% endfor %}\"",
    ] {
        let line = format!("a/b -> /f {options}");
        assert_eq!(text_of(&line, &[one]).unwrap(), text_of(&line, &[other]).unwrap(), "{options}");
    }
}

#[test]
fn several_secrets_become_one_file() {
    let (db, api) = (r#"{"user":"u","password":"p","port":1}"#, r#"{"key":"k"}"#);
    for (line, expected) in [
        ("db=a/db api=a/api -> /f", r#"{"api":{"key":"k"},"db":{"password":"p","port":1,"user":"u"}}"#),
        ("db=a/db#user api=a/api -> /f", r#"{"api":{"key":"k"},"db":"u"}"#),
        (
            "db=a/db api=a/api -> /f format=yaml",
            "\"api\": {\"key\":\"k\"}\n\"db\": {\"password\":\"p\",\"port\":1,\"user\":\"u\"}\n",
        ),
        ("DB=a/db#password API=a/api#key -> /f format=dotenv", "API='k'\nDB='p'\n"),
        ("DB=a/db#port API=a/api#key -> /f format=properties", "API=k\nDB=1\n"),
        (
            "db=a/db api=a/api -> /f template=\"{{ secrets.db.data.password }} {{ secrets.db.version }} {{ secrets.api.path }}{% for name in secrets %} {{ name }}{% endfor %}\"",
            "p 3 a/api api db",
        ),
    ] {
        assert_eq!(text_of(line, &[db, api]).unwrap(), expected, "{line}");
    }
    let error = text_of("db=a/db#pass api=a/api -> /f", &[db, api]).unwrap_err();
    assert_eq!(error.to_string(), "db has no field \"pass\"; its fields: \"password\", \"port\", \"user\"");
    assert!(text_of("db=a/db api=a/api -> /f template=\"{{ data.user }}\"", &[db, api]).is_err());
}

#[test]
fn base64_becomes_bytes() {
    let bytes = [0xfe, 0xed, 0xfb, 0xff, 0, 1];
    for text in ["/u37/wAB", "_u37_wAB", " /u3\n7/w\r\n\tAB\n"] {
        let data = json!({ "keystore": text }).to_string();
        assert_eq!(written("a/b#keystore -> /f encoding=base64", &[&data]).unwrap(), bytes);
        assert_eq!(written("engine=e role=r -> /f format=raw encoding=base64", &[&data]).unwrap(), bytes);
    }
    for (text, expected) in [("", ""), ("YQ", "a"), ("YQ==", "a"), ("YWI", "ab"), ("YWI=", "ab")] {
        let data = json!({ "k": text }).to_string();
        assert_eq!(text_of("a/b#k -> /f encoding=base64", &[&data]).unwrap(), expected);
    }
    for value in
        [json!("hunter2!"), json!("YQ==="), json!("YR=="), json!("a"), json!("-/AA"), json!({"a": 1})]
    {
        let data = json!({ "k": value }).to_string();
        let error = text_of("a/b#k -> /f encoding=base64", &[&data]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its field \"k\" is not base64, which encoding=base64 decodes; correct the value or remove the option"
        );
    }
}

#[test]
fn filters_encode_and_decode_text() {
    let data =
        json!({"password": "p@ss/w#1%40? é~-._", "b64": "w6k", "binary": "/w==", "bad": "%", "n": 1.5});
    for (template, expected) in [
        ("{{ data.password | urlencode }}", "p%40ss%2Fw%231%2540%3F%20%C3%A9~-._"),
        ("{{ data.n | urlencode }}", "1.5"),
        ("{{ data.password | b64encode }}", "cEBzcy93IzElNDA/IMOpfi0uXw=="),
        ("{{ data.b64 | b64decode }}", "é"),
        ("{{ data.b64 | b64decode | b64encode }}", "w6k="),
    ] {
        assert_eq!(templated(template, &data).unwrap(), expected, "{template}");
    }
    let error = templated("\n{{ data.bad | b64decode }}", &data).unwrap_err();
    assert_eq!(error.to_string(), "line 2 of the template decodes a value that is not base64");
    let error = templated("{{ data.binary | b64decode }}", &data).unwrap_err();
    assert!(error.to_string().starts_with("line 1 of the template decodes a value whose bytes are not text"));
    assert!(error.to_string().contains("encoding=base64"));
}

#[test]
fn yaml_is_escaped_where_it_differs_from_json() {
    let text = formatted_as("yaml", None, &json!({"k": "a\u{2028}b\u{85}c\u{feff}\u{7f}é"})).unwrap();
    assert_eq!(text, "\"k\": \"a\\u2028b\\u0085c\\ufeff\\u007fé\"\n");
    assert_eq!(formatted_as("yaml", None, &json!({})).unwrap(), "{}\n");
    let long = json!({"k": {"a".repeat(998): [{"é\u{2028}".repeat(166): 1}]}});
    assert!(formatted_as("yaml", None, &json!({"a".repeat(998): long})).is_err());
    let error = formatted_as("yaml", None, &json!({"k": [{"a".repeat(999): 1}]})).unwrap_err();
    assert!(
        error.to_string().starts_with("its field \"k\" has a name of more than 1000 characters"),
        "{error}"
    );
}

#[test]
fn properties_escape_keys_blanks_and_other_letters() {
    let value = json!({"a =:#!\\": "  two \t\n\r\u{c}\\ é😀 "});
    let text = formatted_as("properties", None, &value).unwrap();
    assert_eq!(text, "a\\ \\=\\:\\#\\!\\\\=\\ \\ two \\t\\n\\r\\f\\\\ \\u00e9\\ud83d\\ude00 \n");
}

#[test]
fn a_template_gets_data_version_and_path() {
    let value = json!({"user": "u", "password": "<&>", "ports": [1, 2]});
    let template = "{{ path }}@{{ version }} {{ data.user }}:{{ data.password }}{% for p in data.ports %} {{ p }}{% endfor %}\n";
    assert_eq!(templated(template, &value).unwrap(), "a/b@3 u:<&> 1 2\n");
    assert_eq!(templated("{{ data.ports | tojson }}", &value).unwrap(), "[1,2]");
    let lease =
        text_of("engine=e role=r -> /f template=\"{{ path }} {{ data.user }}\"", &["{\"user\":\"u\"}"]);
    assert_eq!(lease.unwrap(), "e/r u");
}

#[test]
fn a_template_that_names_nothing_is_an_error_without_its_text() {
    let error = templated("ok\n{{ data.hunter2 }}", &json!({"a": "b"})).unwrap_err();
    let said = error.to_string();
    assert_eq!(said, "line 2 of the template names a value or a field that the secret does not have");
    assert!(!error.is_absent());
    let error = templated("{{ data.a + 1 }}", &json!({"a": "hunter2"})).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn a_template_is_bounded_in_work_and_output() {
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    assert_eq!(templated(endless, &json!({})), Err(TemplateError::OutOfFuel.into()));
    let large = json!({"a": "x".repeat(1_000_000)});
    let copies = "{% for i in range(5) %}{{ data.a }}{% endfor %}";
    assert_eq!(templated(copies, &large), Err(TemplateError::TooMuchOutput.into()));
    for growing in [
        "{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(26) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s | length }}",
        "{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(26) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | length }}",
        "{{ ('x' * 99000000) | length }}",
        "{{ '%99000000d' | format(1) | length }}",
        "{{ 'x' | replace('x', 'y' * 3000) | replace('y', 'z' * 100000) | length }}",
        "{{ range(99999) | join('x' * 10000) | length }}",
        "{% set one = [1] %}{{ one * 100000000 }}",
        "{% set one = [1] %}{{ (one * 100000000) | tojson | length }}",
        "{% set one = [1] %}{{ (one * 100000000) | string | length }}",
        "{% set one = [1] %}{{ (one * 100000000) | join | length }}",
        "{% set one = [1] %}{{ (one * 100000000) | list | length }}",
        "{{ [[[[1]]]] | tojson(indent=1000000000) | length }}{% for i in range(200001) %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(40) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(40) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson | length }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(40) %}{% set ns.s = {'a': ns.s, 'b': ns.s} %}{% endfor %}{{ ns.s | string | length }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(99999) %}{% set ns.s = [ns.s] %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(200) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s | tojson }}",
    ] {
        let error = templated(growing, &json!({})).unwrap_err();
        assert!(
            matches!(
                error,
                RenderError::Template(
                    TemplateError::OutOfFuel | TemplateError::TooMuchOutput | TemplateError::Rendering(_)
                )
            ),
            "{growing}: {error}"
        );
    }
    let deep =
        "{% set ns = namespace(s=[1]) %}{% for i in range(20000) %}{% set ns.s = [ns.s] %}{% endfor %}";
    assert_eq!(templated(&format!("{deep}{{{{ (ns.s ~ '') | length }}}}"), &json!({})).unwrap(), "40003");
}

#[test]
fn a_variable_is_one_line_that_the_kubelet_can_parse() {
    let data = json!({"a": "x #\"y\"\nz", "empty": "", "null": null, "quote": "hunter'2", "nul": "\0"});
    let data = SecretData::new(&data.to_string()).unwrap();
    let line = |field: &str| variable_line(&"VAR".parse().unwrap(), &data, &field.parse().unwrap());
    assert_eq!(line("a").unwrap(), "VAR='x #\"y\"\nz'\n");
    assert!(matches!(line("empty"), Err(RenderError::EmptyVariable(_))));
    assert!(matches!(line("null"), Err(RenderError::EmptyVariable(_))));
    assert!(matches!(line("nul"), Err(RenderError::Nul(_))));
    assert!(matches!(line("absent"), Err(RenderError::NoField { .. })));
    let error = line("quote").unwrap_err();
    assert!(matches!(error, RenderError::QuoteInVariable(_)));
    assert!(!error.to_string().contains("hunter"), "{error}");
}

proptest! {
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
