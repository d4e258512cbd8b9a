//! Templates of files.

use scaivault_contract::{
    TEMPLATE_MAX_TOKENS, TemplateError, TemplateNames, check_template, template_environment,
};

/// Checks a text as the template of a file from one secret, from a lease and from several secrets.
/// An accepted template compiles in the agent's environment; a rejected one has a reason that
/// quotes little of it.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for names in [TemplateNames::Secret, TemplateNames::Lease, TemplateNames::Secrets(vec!["db", "tls"])] {
        match check_template(text, &names) {
            Ok(checked) => {
                assert!(checked.tokens <= TEMPLATE_MAX_TOKENS);
                for warning in checked.warnings {
                    assert!(warning.to_string().len() < 400, "a warning is short");
                }
                let environment = template_environment();
                assert!(environment.template_from_str(text).is_ok(), "an accepted template compiles");
            }
            Err(TemplateError::Names(unknown)) => assert!(!unknown.is_empty()),
            Err(error) => assert!((1..400).contains(&error.to_string().len()), "{error}"),
        }
    }
}
