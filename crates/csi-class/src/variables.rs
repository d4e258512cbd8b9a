//! The variables in an object's `path`, `engine` and `role`: those of policies, and the downward API's names
//! for some of them.

use std::borrow::Cow;

use scaivault_contract::{Excerpt, TextPart, text_parts};
use scaivault_inject::{VariablePlace, annotations::nearest, sample_volume_text};

use crate::did_you_mean;

/// The names of all variables.
pub const VARIABLES: [&str; 12] = [
    "NODE_NAME",
    "POD_NAME",
    "POD_NAMESPACE",
    "POD_UID",
    "SERVICE_ACCOUNT",
    "annotation:KEY",
    "environment",
    "label:KEY",
    "namespace",
    "node",
    "pod",
    "service-account",
];
/// The downward API's names, each with the equivalent variable of policies.
const ALIASES: [(&str, &str); 4] = [
    ("POD_NAME", "pod"),
    ("POD_NAMESPACE", "namespace"),
    ("SERVICE_ACCOUNT", "service-account"),
    ("NODE_NAME", "node"),
];
/// The pod's uid, for which policies have no variable.
const UID: &str = "POD_UID";
/// A placeholder for the uid if no pod is known yet.
const ANY_UID: &str = "x";

/// The text with only the variables of policies, or an error. A uid contains no characters with a meaning in
/// paths.
pub fn in_words_of_policies(text: &str, uid: &str) -> Result<String, String> {
    // Syntax errors are reported by the caller, which parses the text again.
    let Ok(parts) = text_parts(text) else { return Ok(text.to_owned()) };
    let mut renamed = String::with_capacity(text.len());
    for part in parts {
        match part {
            TextPart::Literal(literal) => renamed.push_str(literal),
            TextPart::Variable(UID) => renamed.push_str(uid),
            TextPart::Variable(name) => {
                let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
                if !VARIABLES.contains(&name) && !name.contains(':') {
                    return Err(unknown(name));
                }
                renamed.push_str("${");
                renamed.push_str(alias.map_or(name, |(_, variable)| variable));
                renamed.push('}');
            }
        }
    }
    Ok(renamed)
}

/// The text for some possible pod, or an error that every pod would get.
pub fn fill_for_any_pod(text: &str, place: VariablePlace) -> Result<String, String> {
    let renamed = in_words_of_policies(text, ANY_UID)?;
    sample_volume_text(&renamed, place).map(Cow::into_owned)
}

fn unknown(name: &str) -> String {
    let written = |name: &str| format!("${{{name}}}");
    let hint = did_you_mean(nearest(name, VARIABLES).map(written).as_deref());
    let allowed = VARIABLES.map(written).join(", ");
    format!("{} is not a variable{hint}; allowed: {allowed}", Excerpt::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_checked_without_a_pod() {
        let filled = |text| fill_for_any_pod(text, VariablePlace::Secrets);
        assert_eq!(filled("pods/${POD_NAME}/${namespace}#a").unwrap(), "pods/x/x#a");
        assert_eq!(filled("${label:app}/${annotation:b/c}/${environment}").unwrap(), "x/x/x");
        assert!(filled("a/${POD_NAMES}").unwrap_err().contains("did you mean ${POD_NAME}?"));
        for text in ["a/$pod", "a/${labels:app}", "a/${label:}", "a/b#${pod}"] {
            assert!(filled(text).is_err(), "{text}");
        }
    }
}
