use scaivault_contract::{TemplateNames, check_template};

use super::*;

/// Maps the field `user` of `kv/data/renamed` to `user-name`.
struct Renamed;

impl Fields for Renamed {
    fn field(&self, path: &str, name: &str) -> String {
        if (path, name) == ("kv/data/renamed", "user") { "user-name".to_owned() } else { name.to_owned() }
    }

    fn has_renamed(&self, path: &str) -> bool {
        path == "kv/data/renamed"
    }
}

/// Translates, and validates the result as the injector does when a pod is created.
#[track_caller]
fn check(template: &str, expected: &str) {
    let translated = translate(template, &Renamed).unwrap();
    assert_eq!(translated.template, expected, "{template}");
    let source = match translated.secrets.as_slice() {
        [_] => "app/a".to_owned(),
        named => named
            .iter()
            .map(|named| format!("{}=app/{}", named.alias, named.alias))
            .collect::<Vec<_>>()
            .join(" "),
    };
    let source: scaivault_contract::SecretSource = source.parse().unwrap();
    let names = TemplateNames::from_source(&source);
    check_template(&translated.template, &names).unwrap();
}

#[track_caller]
fn refuse(template: &str, line: usize, said: &str) {
    let fault = translate(template, &Renamed).unwrap_err();
    assert!(fault.line == line && fault.message.contains(said), "{template}\n{fault}");
}

#[test]
fn values_of_one_secret_are_translated() {
    for (template, expected) in [
        (
            r#"{{- with secret "kv/data/billing/db" -}}
postgres://{{ .Data.data.username }}:{{ .Data.data.password }}@db/billing
{{- end }}"#,
            "postgres://{{ data.username }}:{{ data.password }}@db/billing",
        ),
        ("{{ with secret \"kv/a\" }}{{ .Data.password }}\n{{ end }}", "{{ data.password }}\n"),
        ("{{with secret `kv/data/a`}}{{.Data.data.a.b}}{{end}}", "{{ data.a.b }}"),
        (
            "{{ with secret \"kv/data/a\" }}{{ index .Data.data \"api-key\" }}{{ end }}",
            "{{ data[\"api-key\"] }}",
        ),
        ("{{ with secret \"kv/data/a\" }}{{ .Data.data.in }}{{ end }}", "{{ data[\"in\"] }}"),
        ("{{ with secret \"kv/data/renamed\" }}{{ .Data.data.user }}{{ end }}", "{{ data[\"user-name\"] }}"),
        ("{{ (secret \"kv/data/a\").Data.data.key }}", "{{ data.key }}"),
        (
            "{{ with secret \"kv/data/a\" }}{{ .Data.metadata.version }} {{ .Data.data.key }}{{ end }}",
            "{{ version }} {{ data.key }}",
        ),
        (
            "{{ with secret \"kv/data/a\" }}{{ .Data.data.key | base64Decode | trimSpace }}{{ .Data.data | toJSON }}{{ end }}",
            "{{ data.key|b64decode|trim }}{{ data|tojson }}",
        ),
        (
            "{{ with secret \"kv/data/a\" }}{{ urlquery .Data.data.key }}{{ .Data.data.key | replaceAll \"a\" \"b\" }}{{ end }}",
            "{{ data.key|urlencode }}{{ data.key|replace(\"a\", \"b\") }}",
        ),
        ("{{/* note */ -}}\n a {{ with secret \"kv/data/a\" }}{{ .Data.data.b }}{{ end }}", "a {{ data.b }}"),
    ] {
        check(template, expected);
    }
}

#[test]
fn loops_and_conditions_are_translated() {
    for (template, expected) in [
        (
            "{{ with secret \"kv/data/a\" }}{{ range $k, $v := .Data.data }}export {{ $k }}={{ $v }}\n{{ end }}{{ end }}",
            "{% for k, v in data|items %}export {{ k }}={{ v }}\n{% endfor %}",
        ),
        (
            "{{ with secret \"kv/data/a\" }}{{ range $path, $data := .Data }}{{ $path }}{{ $data | toUpper }}{{ end }}{{ end }}",
            "{% for path_, data_ in data|items %}{{ path_ }}{{ data_|upper }}{% endfor %}",
        ),
        (
            "{{ with secret \"kv/data/a\" }}{{ if .Data.data.tls }}on{{ else if eq .Data.data.x \"1\" }}x{{ else }}off{{ end }}{{ end }}",
            "{% if data.tls is defined and data.tls %}on{% elif data.x == \"1\" %}x{% else %}off{% endif %}",
        ),
        (
            "{{ with secret \"kv/data/a\" }}{{ if and .Data.data.a (not .Data.data.b) }}1{{ end }}{{ end }}",
            "{% if (data.a is defined and data.a) and (not (data.b is defined and data.b)) %}1{% endif %}",
        ),
    ] {
        check(template, expected);
    }
}

#[test]
fn several_secrets_get_aliases() {
    check(
        "{{ with secret \"kv/data/db\" }}{{ .Data.data.a }}{{ with secret \"kv/data/x/db\" }}{{ .Data.data.b }}{{ end }}{{ .Data.data.c }}{{ end }}",
        "{{ secrets.db.data.a }}{{ secrets.db_2.data.b }}{{ secrets.db.data.c }}",
    );
    let translated =
        translate("{{ with secret \"a/role\" }}{{ end }}{{ with secret \"a/1-x\" }}{{ end }}", &Renamed)
            .unwrap();
    let aliases: Vec<_> = translated.secrets.iter().map(|named| named.alias.as_str()).collect();
    assert_eq!(aliases, ["s_role", "s_1_x"]);
}

#[test]
fn text_that_looks_like_a_tag_stays_text() {
    check(
        "{% x %} ${#a[@]} {{ with secret \"kv/data/a\" }}{ {{- .Data.data.b }} }{{ end }}",
        "{% raw %}{% x %} ${#a[@]} {% endraw %}{% raw %}{{% endraw %}{{ data.b }} }",
    );
    check(
        "{{ with secret \"kv/data/a\" }}{\"a\":{{ .Data.data.a }},{{ .Data.data.b }}}{{ end }}",
        "{\"a\":{{ data.a }},{{ data.b }}}",
    );
}

#[test]
fn untranslated_parts_are_named_with_their_line() {
    for (template, line, said) in [
        ("a\n{{ with secret \"pki/issue/x\" \"common_name=a\" }}{{ end }}", 2, "`secret` with parameters"),
        (
            "{{ with secret \"kv/data/a\" }}\n\n{{ env \"HOME\" }}{{ end }}",
            3,
            "the function `env` is not translated",
        ),
        ("{{ .Data.data.a }}", 1, "with secret"),
        ("{{ with secret \"kv/data/a\" }}{{ .Data.data.a }}", 1, "no {{ end }}"),
        ("{{ end }}", 1, "without a block"),
        ("{{ with secret \"kv/data/a\" }}{{ else }}{{ end }}", 1, "only translated after `if`"),
        ("{{ with secret \"kv/data/a\" }}{{ .LeaseID }}{{ end }}", 1, ".LeaseID"),
        ("{{ with secret \"kv/data/a\" }}{{ .Data.metadata.created_time }}{{ end }}", 1, "only the version"),
        (
            "{{ with secret \"kv/data/a\" }}{{ range .Data.data.list }}{{ . }}{{ end }}{{ end }}",
            1,
            "expected {{ range",
        ),
        (
            "{{ with secret \"kv/data/renamed\" }}{{ range $k, $v := .Data.data }}{{ end }}{{ end }}",
            1,
            "other names in the map",
        ),
        ("{{ $x := secret \"a\" }}", 1, "variables (`:=`)"),
        ("{{ template \"x\" }}", 1, "`template` has no equivalent"),
        ("{{ with secret \"kv/data/a\" }}{{ .Data.data.a | b | }}{{ end }}", 1, ""),
        ("a {{ b", 1, "{{ without }}"),
        ("{{ with secret \"kv/data/a\" }}{{ ( .Data.data.a }}{{ end }}", 1, "bracket is not closed"),
        (
            "{{ with secret \"kv/data/a\" }}{{ range $k, $v := .Data.data }}{{ $v.x }}{{ end }}{{ end }}",
            1,
            "fields of the variable",
        ),
    ] {
        refuse(template, line, said);
    }
}

/// Any text in an annotation gives a result and no panic.
#[test]
fn no_cut_or_turned_text_panics() {
    let text = "é{{- with secret \"kv/é\" -}} {{ if eq (index .Data.data \"a\") `x` }}{{ $é | toJSON }}{{ end }}{{/* é */}}{{- end }}";
    for (at, _) in text.char_indices() {
        let _ = translate(&text[..at], &Renamed);
        let _ = translate(&format!("{}{}", &text[at..], &text[..at]), &Renamed);
    }
    let deep = format!("{{{{ {} }}}}", "(".repeat(10_000));
    refuse(&deep, 1, "too deep");
}
