use proptest::prelude::*;

use super::*;

mod refused;

/// The three mapping texts of ScaiVault's Kubernetes page, as a YAML parser returns them.
const PUBLISHED_SECRETS: &str = "environments/production/billing/database -> /run/secrets/db.json\n\
                                 environments/production/billing/stripe   -> /run/secrets/stripe.json\n";
const PUBLISHED_DYNAMIC: &str = "engine=postgres-prod role=readonly ttl=2h -> /run/secrets/db.json\n";

fn lines<T: fmt::Display>(entries: &[T]) -> Vec<String> {
    entries.iter().map(T::to_string).collect()
}

#[test]
fn reads_the_published_manifests() {
    let secrets = parse_secrets(PUBLISHED_SECRETS).unwrap();
    assert_eq!(
        lines(&secrets),
        [
            "environments/production/billing/database -> /run/secrets/db.json",
            "environments/production/billing/stripe -> /run/secrets/stripe.json",
        ]
    );
    assert_eq!(secrets[0].options, FileOptions::default());

    let dynamic = parse_dynamic(PUBLISHED_DYNAMIC).unwrap();
    assert_eq!(dynamic[0].dynamic.role.to_string(), "readonly");
    assert_eq!(lines(&dynamic), [PUBLISHED_DYNAMIC.trim_end()]);
}

#[test]
fn reads_everything_the_grammar_has() {
    let text = "\n  \t\r\n\ta/b#k@3\t->\t\"/run/we ird\"   mode=0o400 \ttemplate=\"{{ data.x }}\\n\\u0000\" \r\n\
                a -> /a format=env\n\
                b -> \"/b\" format=\"yaml\" mode=\"440\"";
    let secrets = parse_secrets(text).unwrap();
    assert_eq!(secrets[0].file.as_str(), "/run/we ird");
    assert_eq!(secrets[0].source, SecretSource::Single("a/b#k@3".parse().unwrap()));
    assert_eq!(secrets[0].options.mode, Some(FileMode::OWNER_ONLY));
    assert_eq!(secrets[0].options.template.as_deref(), Some("{{ data.x }}\n\0"));
    assert_eq!(
        lines(&secrets),
        [
            "a/b#k@3 -> \"/run/we ird\" mode=0400 template=\"{{ data.x }}\\n\\u0000\"",
            "a -> /a format=env",
            "b -> /b format=yaml mode=0440",
        ]
    );

    let text = "db=a/b,\tapi=c#k@2  -> /f optional=true template=x\nx=a#k y=b#l -> /g format=dotenv\n\
                a#k -> /h optional=\"false\" encoding=base64";
    let secrets = parse_secrets(text).unwrap();
    assert_eq!((secrets[0].options.optional, secrets[2].options.optional), (true, false));
    assert_eq!(secrets[2].options.encoding, Some(Encoding::Base64));
    assert_eq!(
        lines(&secrets),
        [
            "db=a/b api=c#k@2 -> /f optional=true template=x",
            "x=a#k y=b#l -> /g format=dotenv",
            "a#k -> /h encoding=base64",
        ]
    );

    let variables = parse_variables("  a#k -> DB_KEY\n\nb#k@2   ->   _x  ").unwrap();
    assert_eq!(lines(&variables), ["a#k -> DB_KEY", "b#k@2 -> _x"]);
}

#[test]
fn nothing_is_no_mapping() {
    for text in ["", "\n", " \t\n\r\n\n"] {
        assert_eq!(parse_secrets(text), Ok(vec![]));
        assert_eq!(parse_dynamic(text), Ok(vec![]));
        assert_eq!(parse_variables(text), Ok(vec![]));
    }
}

#[test]
fn the_format_depends_on_the_source() {
    let format = |text: &str| parse_secrets(text).unwrap()[0].format();
    assert_eq!(format("a -> /a"), Some(Format::Json));
    assert_eq!(format("a#k -> /a"), Some(Format::Raw));
    assert_eq!(format("a#k -> /a format=json"), Some(Format::Json));
    assert_eq!(format("a#k -> /a template=x"), None);
    assert_eq!(format("x=a#k -> /a"), Some(Format::Json));

    let format = |text: &str| parse_dynamic(text).unwrap()[0].format();
    assert_eq!(format("engine=e role=r -> /a"), Some(Format::Json));
    assert_eq!(format("engine=e role=r -> /a format=env"), Some(Format::Env));
}

#[test]
fn an_arrow_inside_a_template_is_text() {
    let secrets = parse_secrets("a -> /a template=\"b -> /b\"").unwrap();
    assert_eq!(secrets[0].options.template.as_deref(), Some("b -> /b"));
}

#[test]
fn the_limit_leaves_room_in_one_variable() {
    let line = |padding: usize| format!("a -> /a template=\"{}\"", "x".repeat(padding));
    let overhead = line(0).len();
    assert!(parse_secrets(&line(MAPPINGS_LIMIT - overhead)).is_ok());
    let errors = parse_secrets(&line(MAPPINGS_LIMIT - overhead + 1)).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "line 1: the mappings have 98305 bytes; allowed: 98304, so shorten the templates or map fewer secrets"
    );
}

#[test]
fn an_error_never_shows_a_template() {
    for start in [
        "a -> /f template=",
        "a -> /f mode=9 template=",
        "A -> /f format=raw template=",
        "a -> f tmplate=",
        "a -> /f template =",
        "a /f template=",
        "a template=",
        "-> /f template=",
        "a ->/f template=",
    ] {
        for template in [
            "\"HUNTER2 -> x\"",
            "\"HUNTER2",
            "\"HUNTER2\"x",
            "\"\\xHUNTER2\"",
            "'HUNTER2'",
            "{{HUNTER2}}",
            "{{ HUNTER2 }} -> HUNTER2",
            "=HUNTER2",
        ] {
            let line = format!("{start}{template}");
            if let Err(errors) = parse_secrets(&line) {
                assert!(!errors.to_string().contains("HUNTER2"), "{line:?}: {errors}");
            }
        }
    }
}

/// Text with everything that could break a line, a quote or the kubelet's expansion.
fn hostile_text() -> impl Strategy<Value = String> {
    "(\n|\r|\t|\0|\u{85}|\u{2028}|\u{1b}|\u{7f}| -> /x|\\\\|\\$\\(X\\)|\\$|\"|#|=|ä|😀|\\PC|.){0,20}"
}

fn segment() -> impl Strategy<Value = String> {
    let text = "[a-zA-Z0-9_. \"\\\\$ä😀>#=\u{2028}-]{1,12}";
    text.prop_filter("a segment of a file", |text| {
        text != "." && text != "kubernetes.io" && !text.starts_with("..")
    })
}

fn target_file() -> impl Strategy<Value = TargetFile> {
    prop::collection::vec(segment(), 1..4)
        .prop_map(|segments| format!("/{}", segments.join("/")).parse().unwrap())
}

fn file_options() -> impl Strategy<Value = FileOptions> {
    let format = prop::option::of(prop::sample::select(Format::ALL.to_vec()));
    let mode = prop::option::of(prop::sample::select(vec!["0400", "0444", "0640", "0666"]));
    (format, mode, any::<bool>(), prop::option::of(hostile_text())).prop_map(
        |(format, mode, optional, template)| FileOptions {
            format: format.filter(|_| template.is_none()),
            mode: mode.map(|mode| mode.parse().unwrap()),
            encoding: (format == Some(Format::Raw) && template.is_none()).then_some(Encoding::Base64),
            optional,
            template,
        },
    )
}

fn secret_mapping() -> impl Strategy<Value = SecretMapping> {
    let secret = "[a-z0-9_-]{1,9}(/[a-z0-9_-]{1,9}){0,3}(#[A-Za-z0-9_.-]{1,9})?(@[1-9][0-9]{0,3})?";
    let secrets = prop::collection::vec(secret, 0..4).prop_map(|secrets| {
        let named = secrets.iter().enumerate().map(|(n, secret)| format!("s{n}={secret}"));
        named.collect::<Vec<_>>().join(" ")
    });
    let source = (secret, secrets).prop_map(|(one, several)| if several.is_empty() { one } else { several });
    let mapping = (source, target_file(), file_options()).prop_map(|(source, file, options)| SecretMapping {
        source: source.parse().unwrap(),
        file,
        options,
    });
    mapping.prop_filter("options that agree", |mapping| mapping.faults().is_empty())
}

fn dynamic_mapping() -> impl Strategy<Value = DynamicMapping> {
    let dynamic = "engine=[A-Za-z0-9_-]{1,9} role=[A-Za-z0-9_-]{1,9}( ttl=[1-9]h)?";
    (dynamic, target_file(), file_options()).prop_map(|(dynamic, file, options)| DynamicMapping {
        dynamic: dynamic.parse().unwrap(),
        file,
        options: FileOptions { optional: false, ..options },
    })
}

/// Whether this agent, YAML, editors and terminals all read the text as one line.
fn is_one_line(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

proptest! {
    #[test]
    fn a_secret_reads_back_from_one_line(mapping in secret_mapping()) {
        let line = mapping.to_string();
        prop_assert!(is_one_line(&line), "{line:?}");
        prop_assert_eq!(parse_secrets(&line), Ok(vec![mapping]));
    }

    #[test]
    fn a_dynamic_secret_reads_back_from_one_line(mapping in dynamic_mapping()) {
        let line = mapping.to_string();
        prop_assert!(is_one_line(&line), "{line:?}");
        prop_assert_eq!(parse_dynamic(&line), Ok(vec![mapping]));
    }

    #[test]
    fn a_variable_reads_back(text in "[a-z]{1,9}#[A-Za-z0-9_.-]{1,9}(@[1-9])? -> [A-Za-z_][A-Za-z0-9_]{0,9}") {
        let mappings = parse_variables(&text).unwrap();
        prop_assert_eq!(lines(&mappings), [text]);
    }

    #[test]
    fn many_lines_read_back_through_the_kubelet(mappings in prop::collection::vec(secret_mapping(), 0..6)) {
        let files: Vec<_> = mappings.iter().map(|mapping| mapping.file.as_str()).collect();
        prop_assume!(file::clashes(&files).is_empty());
        let written = crate::escape_env_value(&lines(&mappings).join("\n")).into_owned();
        prop_assert_eq!(parse_secrets(&crate::expand_env_value(&written)), Ok(mappings));
    }

    #[test]
    fn no_text_is_more_than_an_error(text in "(a|/|#|@|1|->| |\t|\n|\"|\\\\|=|format|mode|encoding|base64|optional|true|template|raw|0400|\\PC){0,30}") {
        if let Ok(mappings) = parse_secrets(&text) {
            prop_assert_eq!(parse_secrets(&lines(&mappings).join("\n")), Ok(mappings));
        }
        if let Err(errors) = parse_secrets(&text) {
            prop_assert!(is_one_line(&errors.to_string()));
        }
        let _ = (parse_dynamic(&text), parse_variables(&text));
    }
}

#[test]
fn keys_of_a_secret_have_the_options_of_files() {
    let text = "a/b#c@3 -> STRIPE_KEY\nx=a y=b#c -> .dockerconfigjson format=json optional=true";
    assert_eq!(lines(&parse_secret_keys(text).unwrap()), text.lines().collect::<Vec<_>>());
    let errors = parse_secret_keys("a -> a/b\na -> k mode=0400\na -> k\na -> k").unwrap_err();
    let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert!(said[0].starts_with("line 1: \"a/b\" is not a key of a Secret"), "{said:?}");
    assert!(said[1].starts_with("line 2: mode= is for files"), "{said:?}");
    assert_eq!(said[2], "line 4: the key \"k\" is also set by line 3; give each its own");
}
