//! Texts that the grammar rejects, and their errors.

use super::*;

#[track_caller]
fn check<T: fmt::Debug>(parse: fn(&str) -> Result<Vec<T>, MappingErrors>, text: &str, expected: &[&str]) {
    let errors = parse(text).unwrap_err();
    let said: Vec<_> = errors.iter().map(MappingError::to_string).collect();
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{text:?} says\n{said}\nnot\n{expected}");
    }
}

#[track_caller]
fn check_secret(text: &str, expected: &str) {
    check(parse_secrets, text, &[&format!("line 1: {expected}")]);
}

#[test]
fn comments() {
    let comment = "a mapping starts with a secret path; comments are not part of the grammar";
    check_secret("# a -> /a", comment);
    check(parse_secrets, "a -> /a\n  # b\nb -> /b", &[&format!("line 2: {comment}")]);
    check_secret("a -> /a # why", "\"\" is not an option");
}

#[test]
fn the_docker_compose_grammar() {
    let fix = "is written as for Docker Compose, which has another grammar; \
                for a file write path -> /run/secrets/DB_PASSWORD in SECRETS, \
                for a variable path#field -> DB_PASSWORD in SECRET_ENV";
    check_secret("DB_PASSWORD=environments/dev/db", &format!("\"DB_PASSWORD=environments/dev/db\" {fix}"));
    check_secret("DB_PASSWORD = a/b#k", &format!("\"DB_PASSWORD = a/b#k\" {fix}"));
    check(parse_variables, "DB_PASSWORD=a", &[&format!("line 1: \"DB_PASSWORD=a\" {fix}")]);
}

#[test]
fn arrows() {
    check_secret("a /a", "the line that starts with \"a\" has no ->; write what is read, then ->");
    check_secret("a => /a", "the line that starts with \"a\" has no ->");
    check_secret("a", "the line that starts with \"a\" has no ->");
    check_secret("a template=\"x -> /y\"", "the line that starts with \"a\" has no ->");
    check_secret("-> /a", "the secret before the -> is missing; write it");
    check_secret("a ->", "the target after the -> that follows \"a\" is missing; write it");
    for text in ["a-> /a", "a ->/a", "a->/a"] {
        check_secret(text, "a space is missing next to the -> that follows \"a");
    }
    check_secret("a -> /a -> /b", "\"-\" is not an option");
    check(parse_dynamic, "engine=e role=r", &["line 1: the line that starts with \"engine=e\" has no ->"]);
}

#[test]
fn invalid_sources() {
    check_secret("A/b -> /a", "\"A/b\" is not a secret path: paths are lower case");
    check_secret("a b -> /a", "\"a b\" has no alias; a file of several secrets needs one for each");
    check_secret("a\u{a0} -> /a", "\"a\\u{a0}\" is not a secret path: it has the character '\\u{a0}'");
    check_secret(
        "engine=e role=r -> /a",
        "\"engine=e role=r\" is a dynamic secret; move the line to DYNAMIC",
    );
    check(
        parse_dynamic,
        "a/b -> /a",
        &["line 1: \"a/b\" is not of the form engine=E, role=R or ttl=D; allowed: engine=E role=R"],
    );
    check(
        parse_variables,
        "a -> A",
        &["line 1: \"a\" is a whole secret, but a variable takes one field; write path#field"],
    );
    check(parse_variables, "a#k -> /a", &["line 1: \"/a\" is not the name of a variable"]);
    check(parse_variables, "a#k -> A B", &["line 1: \"A B\" is not the name of a variable"]);
}

#[test]
fn files() {
    check_secret("a -> db.json", "\"db.json\" is not a file to write: it does not start with a slash");
    check_secret("a -> /a/../b", "\"/a/../b\" is not a file to write: no segment may start with ..");
    check_secret("a -> \"/a\\nb\"", "\"/a\\nb\" is not a file to write: it has a control character");
    check_secret(
        "a -> /ä",
        "the file \"/ä\" may only have A-Z a-z 0-9 _ . / - without quotes; write it as a JSON string",
    );
    check_secret(
        "a -> /we ird",
        "\"ird\" is not an option; allowed: format=, mode=, encoding=, optional= and template= (a file with a space",
    );
    check_secret("a -> '/we ird'", "the file \"'/we\" may only have A-Z");
    check_secret("a -> \"/a", "the file is not a JSON string: it starts and ends with \"");
    check_secret("a -> \"/a\"b", "the file \"/a\" continues after its closing quote; put a space there");
}

#[test]
fn control_characters() {
    let said = "it has the control character";
    for c in ['\0', '\u{b}', '\u{1b}', '\r', '\u{7f}', '\u{85}'] {
        check_secret(&format!("a -> /a{c}"), &format!("{said} {c:?}"));
        check_secret(&format!("a -> /a template=\"x{c}x\""), &format!("{said} {c:?}"));
    }
    check_secret("a -> /a template=\"x\tx\"", "template is not a JSON string");
    // A line break ends a line even inside quotes.
    check(
        parse_secrets,
        "a -> /a template=\"x\nb -> /b\"",
        &["line 1: template is not a JSON string", "line 2: the file \"/b\\\"\" may only have A-Z"],
    );
}

#[test]
fn options() {
    check_secret(
        "a -> /a format=toml",
        "\"toml\" is not a format; allowed: json, raw, env, dotenv, yaml or properties",
    );
    check_secret("a -> /a mode=0755", "\"0755\" is not a file mode: a secret's file is not executable");
    check_secret("a -> /a owner=root", "\"owner\" is not an option; allowed: format=, mode=, encoding=");
    check_secret("a -> /a Format=raw", "\"Format\" is not an option");
    check_secret("a -> /a mode=0400 mode=0400", "mode= is given twice; keep one");
    check_secret("a -> /a template=x template=y", "template= is given twice; keep one");
    check_secret(
        "a -> /a format= raw",
        "format has no value; write format=value without a space around the =",
    );
    check_secret("a -> /a format", "format has no value");
    check_secret("a -> /a format =raw", "format has no value");
    check_secret("a -> /a mode=\"0400\"format=raw", "mode \"0400\" continues after its closing quote");
    check_secret("a -> /a format='raw'", "format \"'raw'\" may only have A-Z");
    check_secret("a -> /a template={{ data.x }}", "template may only have A-Z");
    check_secret("a -> /a template=\"{{ data.x }}", "template is not a JSON string");
    check_secret("a -> /a template=\"\\x\"", "template is not a JSON string");
    check_secret("a -> /a template=\"x\"y", "template continues after its closing quote");
    check_secret("a -> /a optional=yes", "optional= has the value \"yes\"; allowed: true or false");
    check_secret("a#k -> /a encoding=hex", "\"hex\" is not an encoding; allowed: base64");
    let said = "line 1: optional=true is for secrets: dynamic credentials are generated";
    check(parse_dynamic, "engine=e role=r -> /a optional=true", &[said]);
    for text in ["a", "a#k format=json", "a#k template=x", "x=a#k"] {
        let (source, options) = text.split_once(' ').unwrap_or((text, ""));
        check_secret(&format!("{source} -> /a {options} encoding=base64"), "encoding= decodes one field");
    }
    for text in ["a -> /a format=raw template=x", "a -> /a template=x mode=0400 format=raw"] {
        check_secret(text, "format= and template= exclude each other");
    }
}

#[test]
fn formats_of_several_secrets() {
    check_secret("x=a#k y=b -> /a format=raw", "format=raw writes one field, and several secrets are named");
    for format in ["env", "dotenv", "properties"] {
        check_secret(
            &format!("x=a#k y=b -> /a format={format}"),
            &format!("format={format} writes one line for each alias, and y names a whole secret"),
        );
    }
    check(parse_secrets, "x=A y=b -> /a", &["line 1: \"A\" is not a secret path: paths are lower case"]);
    check(parse_variables, "x=a#k -> A", &["line 1: \"x=a\" is not a secret path"]);
}

#[test]
fn the_same_file_or_variable_twice() {
    check(
        parse_secrets,
        "a -> /a\n\nb -> \"/a\"\nc -> /a",
        &[
            "line 3: the file \"/a\" is also written by line 1",
            "line 4: the file \"/a\" is also written by line 1",
        ],
    );
    check(
        parse_secrets,
        "a -> /a/b\nb -> /a-b\nc -> /a",
        &["line 1: the file \"/a/b\" is inside \"/a\", which line 3 writes as a file; rename one"],
    );
    check(
        parse_dynamic,
        "engine=e role=r -> /a\nengine=e role=r -> /a",
        &["line 2: the file \"/a\" is also written by line 1; give each its own"],
    );
    check(
        parse_variables,
        "a#k -> A\nb#k -> B\nb#l -> A",
        &["line 3: the variable \"A\" is also set by line 1; give each its own"],
    );
}

#[test]
fn every_mistake_is_reported() {
    let text = "A -> b mode=9 format=x\n\na -> /a\n# c\na -> /a\n# d";
    check(
        parse_secrets,
        text,
        &[
            "line 1: \"A\" is not a secret path",
            "line 1: \"b\" is not a file to write",
            "line 1: \"9\" is not a file mode",
            "line 1: \"x\" is not a format",
            "line 4: a mapping starts with a secret path",
            "line 5: the file \"/a\" is also written by line 3",
            "line 6: a mapping starts with a secret path",
        ],
    );
    let said = parse_secrets(text).unwrap_err().to_string();
    assert!(said.starts_with("7 mistakes (1) line 1: \"A\" is not"), "{said}");
    assert!(said.contains(" (6) line 5: the file"), "{said}");

    let said = parse_secrets(&"#\n".repeat(20)).unwrap_err().to_string();
    assert!(
        said.starts_with("20 mistakes") && said.contains(" (16) line 16") && said.ends_with(" and 4 more"),
        "{said}"
    );
}

/// All 96 KiB of the text may be on one line.
#[test]
fn errors_of_one_line_are_capped() {
    let errors = |text: &str| parse_secrets(text).unwrap_err();
    let list = errors(&format!("a=b {}-> /a", "!=! ".repeat(20_000)));
    assert_eq!(list.iter().count(), 9, "{list}");
    assert!(list.to_string().contains("20001 secrets are named for one file"), "{list}");
    assert!(list.to_string().ends_with("23 more errors in this list are not shown"), "{list}");
    let options = errors(&format!("a -> /a {}", "mode=0400 mode=0444 format=env ".repeat(3_000)));
    assert_eq!(options.iter().count(), 2, "{options}");
}
