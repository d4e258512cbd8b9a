use super::*;

fn path_of_levels(levels: usize) -> String {
    vec!["a"; levels].join("/")
}

#[test]
fn paths_of_scaivault_are_accepted() {
    for text in [
        "a",
        "environments/production/billing/database",
        "shared/api-keys_2/0",
        "-/_",
        &path_of_levels(10),
        &"a".repeat(512),
    ] {
        let path: SecretPath = text.parse().unwrap();
        assert_eq!((path.as_str(), path.as_ref(), path.to_string().as_str()), (text, text, text));
    }
}

#[test]
fn refusals_name_the_reason() {
    use SecretPathFault as Fault;
    for (text, fault) in [
        ("", Fault::Empty),
        ("/", Fault::LeadingSlash),
        ("/a", Fault::LeadingSlash),
        ("a/", Fault::TrailingSlash),
        ("a//b", Fault::DoubleSlash),
        ("a/B", Fault::UpperCase('B')),
        ("a b", Fault::Character(' ')),
        ("a.b", Fault::Character('.')),
        ("../a", Fault::Character('.')),
        ("a%2fb", Fault::Character('%')),
        ("a?b", Fault::Character('?')),
        ("a\\b", Fault::Character('\\')),
        ("a\n", Fault::Character('\n')),
        ("é", Fault::Character('é')),
        (&path_of_levels(11), Fault::TooDeep(11)),
        (&"a".repeat(513), Fault::TooLong(513)),
    ] {
        assert_eq!(text.parse::<SecretPath>().unwrap_err().fault, fault, "{text:?}");
    }
}

#[test]
fn the_error_names_text_rule_and_fix() {
    let error =
        "/environments/production/billing/database-with-a-long-name".parse::<SecretPath>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"/environments/production/billing/databas…\" is not a secret path: remove the slash at \
         its start; \
         allowed: 1 to 10 levels of a-z, 0-9, - and _ with single slashes between, at most 512 characters, \
         such as environments/production/billing/database"
    );
}

#[test]
fn travels_as_text_in_json() {
    let path: SecretPath = serde_json::from_str("\"a/b\"").unwrap();
    assert_eq!(serde_json::to_string(&path).unwrap(), "\"a/b\"");
    let error = serde_json::from_str::<SecretPath>("\"a//b\"").unwrap_err();
    assert!(error.to_string().contains("two slashes in a row"), "{error}");
}
