//! Variables in paths, engines and roles: those of policies, and the downward API's names for some of them.

use scaivault_contract::Excerpt;
use scaivault_csi_class::in_words_of_policies;
use scaivault_inject::{VariablePlace, VolumeVariables};

use crate::attributes::Pod;

/// The maximum size of a text after its variables are filled in: a file has at most 16 secrets, whose paths
/// have 512 characters.
const FILLED_MAX_BYTES: usize = 16 * 1024;

/// Whether a variable of the text needs labels or annotations of the pod.
pub(crate) fn need_pod(text: &str) -> bool {
    ["${label:", "${annotation:"].iter().any(|variable| text.contains(variable))
}

/// The text with its variables filled in, or an error with the fix.
pub(crate) fn fill(
    text: &str,
    place: VariablePlace,
    pod: &Pod,
    variables: &VolumeVariables<'_>,
) -> Result<String, String> {
    let renamed = in_words_of_policies(text, pod.uid.as_str())?;
    let filled = variables.fill(&renamed, place)?;
    if filled.len() > FILLED_MAX_BYTES {
        return Err(format!(
            "{} with its variables has more than {FILLED_MAX_BYTES} bytes",
            Excerpt::new(text)
        ));
    }
    Ok(filled.into_owned())
}

#[cfg(test)]
mod tests {
    use scaivault_contract::PodValues;
    use scaivault_inject::{Namespace, PodView, PolicySet, VolumeContext};

    use super::*;
    use crate::attributes::tests::pod;

    fn filled(text: &str) -> Result<String, String> {
        let view =
            PodView::parse(r#"{"metadata":{"labels":{"app":"web"}},"spec":{"serviceAccountName":"web"}}"#);
        let view = view.unwrap();
        let namespace = Namespace { name: "billing".to_owned(), ..Namespace::default() };
        let names = PodValues { pod: Some(pod().name), node: Some("node-a".parse().unwrap()) };
        let context = VolumeContext {
            pod: &view,
            namespace: &namespace,
            names: &names,
            policies: PolicySet::empty(),
            now: 0,
        };
        let review = context.review(|variables| {
            Ok::<_, String>((fill(text, VariablePlace::Secrets, &pod(), variables)?, Vec::new()))
        });
        review.answer.map_err(|refusal| match refusal {
            scaivault_inject::VolumeRefusal::Unreadable(fault) => fault,
            scaivault_inject::VolumeRefusal::Policies(all) => all.join("; "),
        })
    }

    #[test]
    fn both_languages_name_the_same() {
        for (text, expected) in [
            ("pods/${POD_NAME}/db#password", "pods/web-0/db#password"),
            ("${POD_NAMESPACE}/${SERVICE_ACCOUNT}/${POD_UID}", "billing/web/u-1"),
            ("${namespace}/${service-account}/${pod}", "billing/web/web-0"),
            ("${node}/${NODE_NAME}/${label:app}", "node-a/node-a/web"),
            ("a/b", "a/b"),
        ] {
            assert_eq!(filled(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn an_unknown_variable_gets_the_nearest_name() {
        for (text, expected) in [
            ("a/${POD_NAMES}", "did you mean ${POD_NAME}?"),
            ("a/${POD_UIDS}", "did you mean ${POD_UID}?"),
            ("a/${namspace}", "did you mean ${namespace}?"),
            ("a/${swordfish}", "\"swordfish\" is not a variable; allowed: ${NODE_NAME}, "),
            ("a/${labels:app}", "${labels:app}\" is not a variable"),
            ("a/$POD", "a $ only starts a variable"),
            ("a/${pod", "has no }"),
            ("a/${po${pod}}", "cannot contain another"),
            ("a/b#${pod}", "cannot be used in a field"),
            ("a/${label:absent}", "the pod has no label absent"),
        ] {
            let said = filled(text).unwrap_err();
            assert!(said.contains(expected), "{text}: {said}");
        }
        assert!(filled(&"${POD_UID}".repeat(9000)).unwrap_err().contains("more than"));
    }

    #[test]
    fn labels_and_annotations_need_the_pod() {
        assert!(need_pod("a/${label:app}") && need_pod("a/${annotation:b}") && !need_pod("a/${pod}"));
    }
}
