//! Variables in paths: `${POD_NAME}`, `${namespace}`. Each value is a name of Kubernetes, which has no slash: a filled path
//! has the levels that were written.

use scaivault_contract::{Excerpt, TextPart, text_parts};
use scaivault_csi_class::VARIABLES;
use scaivault_inject::annotations::nearest;

use crate::attributes::Pod;

/// The most bytes of a filled text: a file has at most 16 secrets, whose paths have 512 characters.
const FILLED_MAX_BYTES: usize = 16 * 1024;

/// The text with its variables filled.
pub(crate) fn fill(text: &str, pod: &Pod) -> Result<String, String> {
    let mut filled = String::new();
    for part in text_parts(text).map_err(|fault| format!("{}: {fault}", Excerpt::new(text)))? {
        filled.push_str(match part {
            TextPart::Literal(literal) => literal,
            TextPart::Variable("POD_NAME" | "pod") => pod.name.as_str(),
            TextPart::Variable("POD_NAMESPACE" | "namespace") => pod.namespace.as_str(),
            TextPart::Variable("POD_UID") => pod.uid.as_str(),
            TextPart::Variable("SERVICE_ACCOUNT" | "service-account") => pod.service_account.as_str(),
            TextPart::Variable(other) => {
                let near = nearest(other, VARIABLES)
                    .map_or(String::new(), |near| format!("; did you mean ${{{near}}}?"));
                let allowed = VARIABLES.map(|name| format!("${{{name}}}")).join(", ");
                return Err(format!("{} is not a variable{near}; allowed: {allowed}", Excerpt::new(other)));
            }
        });
        if filled.len() > FILLED_MAX_BYTES {
            return Err(format!(
                "{} with its variables has more than {FILLED_MAX_BYTES} bytes",
                Excerpt::new(text)
            ));
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::tests::pod;

    #[test]
    fn fills_the_names_of_the_pod() {
        let fill = |text: &str| fill(text, &pod()).unwrap();
        assert_eq!(fill("pods/${POD_NAME}/db#password"), "pods/web-0/db#password");
        assert_eq!(fill("${namespace}/${service-account}/${POD_UID}"), "billing/web/u-1");
        assert_eq!(fill("a/b"), "a/b");
    }

    #[test]
    fn an_unknown_variable_gets_the_nearest_name() {
        let said = fill("a/${POD_NAMES}", &pod()).unwrap_err();
        assert!(said.contains("did you mean ${POD_NAME}?"), "{said}");
        for text in ["a/$POD", "a/${pod", "a/${po${pod}}"] {
            assert!(fill(text, &pod()).is_err(), "{text}");
        }
        assert!(fill(&"${pod}".repeat(5000), &pod()).unwrap_err().contains("more than"));
    }
}
