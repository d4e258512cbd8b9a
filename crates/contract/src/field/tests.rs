use proptest::prelude::*;

use super::*;

#[test]
fn field_names_are_keys_of_data() {
    for name in ["a", "secret_key", "tls.crt", "A-1", "_", &"a".repeat(128)] {
        assert_eq!(name.parse::<FieldName>().unwrap().as_str(), name);
    }
    for name in ["", "a b", "a/b", "a@1", "a#b", "é", "a\n", &"a".repeat(129)] {
        assert!(name.parse::<FieldName>().is_err(), "{name:?}");
    }
}

#[test]
fn reads_path_field_and_version() {
    for (text, path, field, version) in [
        ("a/b", "a/b", None, None),
        ("a/b#k", "a/b", Some("k"), None),
        ("a/b@7", "a/b", None, Some(7)),
        ("a/b#tls.crt@4294967295", "a/b", Some("tls.crt"), Some(u32::MAX)),
    ] {
        let secret: SecretRef = text.parse().unwrap();
        assert_eq!(secret.path.as_str(), path, "{text}");
        assert_eq!(secret.field.as_ref().map(FieldName::as_str), field, "{text}");
        assert_eq!(secret.version.map(NonZeroU32::get), version, "{text}");
        assert_eq!(secret.to_string(), text);
    }
}

#[test]
fn errors_name_the_invalid_part() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let said = text.parse::<SecretRef>().unwrap_err().to_string();
        assert!(said.starts_with(expected), "{text:?}: {said}");
    }
    check("", "\"\" is not a secret path: it is empty");
    check("#k", "\"\" is not a secret path: it is empty");
    check("A#k", "\"A\" is not a secret path: paths are lower case");
    check("a#", "\"\" is not the name of a field; allowed: 1 to 128");
    check("a#k#l", "\"k#l\" is not the name of a field");
    check("a@", "\"\" is not a version; allowed: a whole number");
    for version in ["0", "01", "+1", "-1", "1.0", "v1", "4294967296", "1@2", " 1"] {
        check(&format!("a@{version}"), &format!("{version:?} is not a version; allowed: a whole number"));
        check(&format!("a#k@{version}"), &format!("{version:?} is not a version; allowed: a whole number"));
    }
    check("a@1#k", "\"1#k\" is not a version; write the field before it: path[#field][@version]");
}

proptest! {
    #[test]
    fn written_text_can_be_parsed(
        text in "[a-z0-9_-]{1,9}(/[a-z0-9_-]{1,9}){0,9}(#[A-Za-z0-9_.-]{1,9})?(@[1-9][0-9]{0,8})?",
    ) {
        let secret: SecretRef = text.parse().unwrap();
        prop_assert_eq!(secret.to_string(), text);
    }

    #[test]
    fn never_fails_otherwise_than_by_an_error(text in "[a/#@1.]{0,12}|\\PC{0,20}") {
        if let Ok(secret) = text.parse::<SecretRef>() {
            prop_assert_eq!(secret.to_string(), text);
        }
    }
}
