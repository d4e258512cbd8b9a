use proptest::prelude::*;

use super::*;
use crate::{DynamicRef, SecretRef, SecretSource, parse_dynamic, parse_secrets, parse_variables};

fn values(pod: &str, node: &str) -> PodValues {
    let name = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    PodValues { pod: name(pod), node: name(node) }
}

fn path(text: &str) -> Deferred<SecretPath> {
    text.parse().unwrap()
}

#[test]
fn a_path_is_filled_with_pod_and_node() {
    let filled = |text| path(text).fill(&values("web-0", "n1")).unwrap().to_string();
    assert_eq!(filled("pods/${pod}/db"), "pods/web-0/db");
    assert_eq!(filled("a-${node}_${pod}"), "a-n1_web-0");
    assert_eq!(filled("no/variable"), "no/variable");
    assert_eq!(
        path("a/${node}/${pod}").variables().collect::<Vec<_>>(),
        [PodVariable::Node, PodVariable::Pod]
    );
    assert_eq!(path("a/b").variables().count(), 0);
}

#[test]
fn values_of_variables_must_be_known_and_fit() {
    let error = path("pods/${pod}/${node}").fill(&values("web-0", "")).unwrap_err().to_string();
    assert_eq!(
        error,
        "it contains ${node}, but the environment variable SCAIVAULT_NODE is not set; set it from the field spec.nodeName"
    );
    // A node's name may contain dots, and a path may not.
    let error = path("nodes/${node}").fill(&values("", "ip-10-0-0-1.eu")).unwrap_err().to_string();
    assert!(error.starts_with("\"nodes/${node}\" does not become a path or a name here: "), "{error}");
    assert!(
        error.contains("\"nodes/ip-10-0-0-1.eu\" is not a secret path: it has the character '.'"),
        "{error}"
    );
    let long = path("${pod}/${pod}/${pod}").fill(&values(&"a".repeat(253), "")).unwrap_err();
    assert!(long.to_string().contains("it has 761 characters"), "{long}");
}

#[test]
fn a_name_is_a_name_of_kubernetes() {
    for name in ["a", "web-0", "ip-10.eu.internal", &"a".repeat(253)] {
        assert_eq!(name.parse::<ObjectName>().unwrap().as_str(), name);
    }
    for name in ["", "a/b", "A", "a_b", "../b", "a\n", "é", "${pod}", "*", &"a".repeat(254)] {
        assert!(name.parse::<ObjectName>().is_err(), "{name:?}");
    }
}

#[test]
fn a_dollar_starts_a_variable_or_is_refused() {
    for (text, said) in [
        ("a/$pod", "a $ only starts a variable"),
        ("a/$(SCAIVAULT_POD)", "a $ only starts a variable"),
        ("a/$$", "a $ only starts a variable"),
        ("a/${pod", "a variable starts with ${ and has no }"),
        ("a/${${pod}}", "a variable cannot contain another one"),
        ("a/${{pod}}", "a variable cannot contain another one"),
        ("a/${namespace}", "\"namespace\" is neither"),
        ("a/${Pod}", "\"Pod\" is neither"),
        ("a/${ pod }", "\" pod \" is neither"),
        ("a/${}", "\"\" is neither"),
    ] {
        let error = text.parse::<Deferred<SecretPath>>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{text:?} is not a secret path: ")), "{error}");
        assert!(error.contains(said), "{error}");
        let error = text.replace('/', "-").parse::<Deferred<RoleName>>().unwrap_err().to_string();
        assert!(error.contains("is not a name: ") && error.contains(said), "{error}");
    }
}

#[test]
fn the_rest_of_the_text_follows_its_own_rules() {
    for text in ["/${pod}", "a//${pod}", "${pod}/", "A/${pod}", "a/../${pod}", "a%2f${pod}"] {
        let error = text.parse::<Deferred<SecretPath>>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{text:?} is not a secret path")), "{error}");
    }
    let deep = format!("{}${{pod}}", "a/".repeat(10));
    assert!(deep.parse::<Deferred<SecretPath>>().is_err());
    assert!("${pod}/x".parse::<Deferred<RoleName>>().is_err());
}

#[test]
fn only_the_source_of_a_mapping_has_variables() {
    let text = "pods/${pod}/db#k@2 -> /run/secrets/db\n\
                a=x/${node} b=y/z -> /run/secrets/c template=\"${pod} {{ secrets.a }}\"";
    let mappings = parse_secrets(text).unwrap();
    assert_eq!(mappings[0].to_string(), "pods/${pod}/db#k@2 -> /run/secrets/db");
    assert_eq!(mappings[0].variables().collect::<Vec<_>>(), [PodVariable::Pod]);
    assert_eq!(mappings[1].variables().collect::<Vec<_>>(), [PodVariable::Node]);
    let [first, second] = <[_; 2]>::try_from(mappings).unwrap();
    let source: SecretSource = first.source.fill(&values("web-0", "n1")).unwrap();
    assert_eq!(source.to_string(), "pods/web-0/db#k@2");
    assert_eq!(second.source.fill(&values("web-0", "n1")).unwrap().to_string(), "a=x/n1 b=y/z");
    assert_eq!(second.options.template.as_deref(), Some("${pod} {{ secrets.a }}"));

    let dynamic = parse_dynamic("engine=pg role=app-${pod} ttl=1h -> /d").unwrap().remove(0);
    assert_eq!(dynamic.variables().collect::<Vec<_>>(), [PodVariable::Pod]);
    let filled: DynamicRef = dynamic.dynamic.fill(&values("web-0", "")).unwrap();
    assert_eq!(filled.to_string(), "engine=pg role=app-web-0 ttl=1h");

    let variable = parse_variables("pods/${pod}#k -> KEY").unwrap().remove(0);
    let filled: SecretRef = variable.secret.fill(&values("web-0", "")).unwrap();
    assert_eq!(filled.to_string(), "pods/web-0#k");

    for text in [
        "a/b#${pod} -> /f",
        "a/b@${pod} -> /f",
        "${pod}=a/b -> /f",
        "a/b -> /run/${pod}",
        "a/b -> /f mode=${pod}",
    ] {
        assert!(parse_secrets(text).is_err(), "{text}");
    }
    assert!(parse_dynamic("engine=e role=r ttl=${pod} -> /f").is_err());
    assert!(parse_variables("a/b#c -> ${pod}").is_err());
}

#[test]
fn the_error_of_a_mapping_names_the_variable() {
    for (text, said) in [
        ("a/${namespace}/b -> /f", "the agent fills ${pod} and ${node}, and \"namespace\" is neither"),
        ("a/${label:app.kubernetes.io/name} -> /f", "\"label:app.kubernetes.io/name\" is neither"),
        ("a/${${pod}} -> /f", "a variable cannot contain another one"),
        ("a/$pod -> /f", "a $ only starts a variable"),
    ] {
        let error = parse_secrets(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    // A template without quotes must not be quoted in the error.
    let error = parse_secrets("a/b /f template={{ hunter2 -> x").unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

/// The path rules of agents from before the variables: they reject a text with a variable.
#[test]
fn an_older_agent_refuses_a_mapping_with_a_variable() {
    for text in ["pods/${pod}/db", "${node}"] {
        assert!(text.parse::<SecretPath>().is_err(), "{text}");
        assert!(text.parse::<RoleName>().is_err(), "{text}");
    }
}

proptest! {
    /// Filling changes neither the number of levels nor any other part of the text.
    #[test]
    fn filling_keeps_the_levels(text in "([a-z]|/|\\$\\{pod\\}|\\$\\{node\\}){1,20}", pod in "[a-z0-9.-]{1,12}") {
        if let Ok(deferred) = text.parse::<Deferred<SecretPath>>() {
            prop_assert_eq!(deferred.to_string(), &*text);
            if let Ok(filled) = deferred.fill(&values(&pod, "n-1")) {
                let expected = text.replace("${pod}", &pod).replace("${node}", "n-1");
                prop_assert_eq!(filled.as_str().split('/').count(), text.split('/').count());
                prop_assert_eq!(filled.as_str(), expected);
            }
        }
    }

    #[test]
    fn text_without_variables_is_unchanged(text in "\\PC{0,20}") {
        if !text.contains('$') {
            prop_assert_eq!(text.parse::<Deferred<SecretPath>>(), text.parse().map(Deferred::Fixed));
        }
    }
}
