use super::*;

fn parse(text: &str) -> SecretSource {
    text.parse().unwrap()
}

#[test]
fn one_secret_and_several_read_back() {
    assert_eq!(parse("a/b#c@3"), SecretSource::Single("a/b#c@3".parse().unwrap()));
    for (text, expected) in [
        ("db=a/b", "db=a/b"),
        ("db=a/b@2 api=c#k", "db=a/b@2 api=c#k"),
        (" db=a/b,\n  api=c,\r\n\tx_1=a/b , ", "db=a/b api=c x_1=a/b"),
    ] {
        let source = parse(text);
        assert_eq!(source.to_string(), expected);
        assert_eq!(parse(expected), source);
    }
    let paths: Vec<_> = parse("db=a/b api=c").secrets().map(|secret| secret.path.to_string()).collect();
    assert_eq!(paths, ["a/b", "c"]);
}

#[test]
fn every_mistake_of_a_list_is_reported() {
    for (text, expected) in [
        ("", &["\"\" is not a secret path"] as &[&str]),
        ("a b", &["\"a b\" has no alias; a file of several secrets needs one for each"]),
        ("a B", &["\"a B\" is not a secret path: "]),
        ("db=a c", &["\"c\" has no alias"]),
        ("db=a db=c", &["the alias db is used twice"]),
        ("1=A", &["\"1\" is not an alias of a secret; allowed: 1 to 64", "\"A\" is not a secret path"]),
        ("role=a d-b=c", &["\"role\" is not an alias", "\"d-b\" is not an alias"]),
        (
            "db = a",
            &["\"db\" has no alias", "\"\" is not an alias", "\"\" is not a secret path", "\"a\" has no"],
        ),
    ] {
        let errors = text.parse::<SecretSource>().unwrap_err();
        let said: Vec<_> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), expected.len(), "{text:?}: {said:#?}");
        assert!(said.iter().zip(expected).all(|(said, expected)| said.starts_with(expected)), "{said:#?}");
    }
    let many = (0..=SOURCES_LIMIT).map(|n| format!("a{n}=p")).collect::<Vec<_>>().join(" ");
    assert_eq!(
        many.parse::<SecretSource>().unwrap_err().to_string(),
        "17 secrets are named for one file; allowed: 16"
    );
}

/// Kubernetes' limit for all annotations of an object in bytes, and so for one list.
const ANNOTATION_BYTES: usize = 256 * 1024;

fn errors(text: &str) -> Vec<String> {
    let errors = text.parse::<SecretSource>().unwrap_err();
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn entries_beyond_the_limit_are_counted_not_parsed() {
    let names = ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| (a, b)));
    let names = names.flat_map(|(a, b)| ('a'..='z').map(move |c| format!("{a}{b}{c}x=b")));
    let many: Vec<_> = names.collect();
    let mut text = many.join(",");
    for bad in ["!", "1=b", "aaax=c", "x=A"] {
        text = format!("{text},{bad}");
    }
    let count = many.len() + 4;
    assert_eq!(errors(&text), [format!("{count} secrets are named for one file; allowed: 16")]);
    let mut paths = "a/b ".repeat(ANNOTATION_BYTES / 4);
    paths.push('!');
    assert_eq!(errors(&paths).len(), 1);
    assert!(errors(&paths)[0].contains("has no alias"), "{paths:.40}");
}

#[test]
fn errors_of_one_list_are_capped() {
    for entry in ["!,", "!=!,", "=,", "a=b,"] {
        let text = format!("a=b,{}", entry.repeat(ANNOTATION_BYTES / entry.len()));
        let all = text.parse::<SecretSource>().unwrap_err();
        let count = ANNOTATION_BYTES / entry.len() + 1;
        assert!(errors(&text)[0].starts_with(&format!("{count} secrets")), "{all}");
        assert_eq!(errors(&text).len(), 9, "{all}");
        assert!(all.to_string().len() < 4096, "{}", all.to_string().len());
        assert!(errors(&text)[8].ends_with("more errors in this list are not shown"), "{all}");
    }
    let eight = "!,".repeat(7) + "!=b";
    assert_eq!(errors(&eight).len(), 8);
    let nine = errors(&(eight + " ! !"));
    assert_eq!(nine[8], "2 more errors in this list are not shown");
}
