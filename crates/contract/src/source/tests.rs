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
        ("db=a db=c", &["the alias db stands twice"]),
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
