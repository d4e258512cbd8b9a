//! The mappings that the injector writes and the agent parses.

use std::fmt::Display;

use scaivault_contract::{
    MappingErrors, escape_env_value, expand_env_value, parse_dynamic, parse_secret_keys, parse_secrets,
    parse_variables,
};

/// Parses the bytes with each of the four grammars. A valid text has the same meaning after it is
/// written and parsed again; an invalid one has reasons.
pub fn mapping(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    round_trip(text, parse_secrets);
    round_trip(text, parse_secret_keys);
    round_trip(text, parse_dynamic);
    round_trip(text, parse_variables);
    assert_eq!(expand_env_value(&escape_env_value(text)), text, "the kubelet restores escaped text");
}

fn round_trip<T>(text: &str, parse: impl Fn(&str) -> Result<Vec<T>, MappingErrors>)
where
    T: Display + PartialEq + std::fmt::Debug,
{
    match parse(text) {
        Ok(entries) => {
            let lines: Vec<_> = entries.iter().map(ToString::to_string).collect();
            assert!(lines.iter().all(|line| !line.contains(char::is_control)), "an entry is one line");
            let again = parse(&lines.join("\n")).expect("written mappings can be parsed");
            assert_eq!(again, entries);
        }
        Err(errors) => assert!(!errors.to_string().is_empty(), "an error has a message"),
    }
}
