use std::collections::BTreeMap;

use proptest::prelude::*;
use scaivault_contract::{DeferredDynamic, DeferredSource};
use serde_json::json;

use super::*;

/// Fills a text for a pod of the service account `invoices` in `billing`, environment `production`.
fn filled_with(
    text: &str,
    place: Place,
    labels: &[(&str, &str)],
    annotations: &serde_json::Value,
) -> Result<String, String> {
    let pod = json!({"metadata": {"annotations": annotations}, "spec": {"serviceAccountName": "invoices"}})
        .to_string();
    let pod = PodView::parse(&pod).unwrap();
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let namespace = Namespace { name: "billing".to_owned(), ..Namespace::default() };
    let values = Values {
        pod: &pod,
        labels: &labels,
        namespace: &namespace,
        environment: Environment::Known("production"),
        names: None,
    };
    let filled = fill(text, place, &values);
    filled
        .map(|filled| filled.text.into_owned())
        .map_err(|fault| format!("{}; to fix: {}", fault.message, fault.fix))
}

fn filled(text: &str, place: Place) -> Result<String, String> {
    filled_with(
        text,
        place,
        &[("app", "web"), ("app.kubernetes.io/name", "shop_2")],
        &json!({"team": "blue"}),
    )
}

#[track_caller]
fn refused(text: &str, place: Place, said: &[&str]) {
    let error = filled(text, place).unwrap_err();
    for word in said {
        assert!(error.contains(word), "{text}: no {word:?} in {error}");
    }
}

#[test]
fn variables_are_filled_in_allowed_places() {
    for (text, place, expected) in [
        ("environments/${environment}/${namespace}/db", Place::Secrets, "environments/production/billing/db"),
        ("a/${service-account}#field@3", Place::Secrets, "a/invoices#field@3"),
        ("x=${label:app} y=a/${annotation:team}#f, z=b", Place::Secrets, "x=web y=a/blue#f, z=b"),
        ("a/${label:app.kubernetes.io/name}-x", Place::Secrets, "a/shop_2-x"),
        ("hosts/${node}/${pod}/${namespace}", Place::Secrets, "hosts/${node}/${pod}/billing"),
        (
            "engine=pg-${environment} role=${namespace} ttl=1h",
            Place::Dynamic,
            "engine=pg-production role=billing ttl=1h",
        ),
        ("sa:${namespace}:${service-account}", Place::Role, "sa:billing:invoices"),
        ("costs $5 and $(x)", Place::Role, "costs $5 and $(x)"),
        ("environments/*/${namespace}/**", Place::PathGlob, "environments/*/billing/**"),
        ("postgres/${namespace}", Place::DynamicGlob, "postgres/billing"),
        ("no/variable", Place::Secrets, "no/variable"),
    ] {
        assert_eq!(filled(text, place).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn an_unknown_variable_is_refused_with_a_hint() {
    for (text, said) in [
        ("a/$namespace", ["a $ only starts a variable", "write for example ${namespace}"]),
        ("a/$$", ["a $ only starts a variable", "remove the $"]),
        ("a/$(NAMESPACE)", ["a $ only starts a variable", "remove the $"]),
        ("a/${namespace", ["has no }", "add the }"]),
        ("a/${${namespace}}", ["cannot contain another one", "name one variable"]),
        ("a/${label:${namespace}}", ["cannot contain another one", "name one variable"]),
        ("a/${nmespace}", ["\"${nmespace}\" is not a variable", "did you mean ${namespace}?"]),
        ("a/${Namespace}", ["\"${Namespace}\" is not a variable", "did you mean ${namespace}?"]),
        ("a/${ namespace }", ["is not a variable", "did you mean ${namespace}?"]),
        ("a/${service_account}", ["is not a variable", "did you mean ${service-account}?"]),
        ("a/${namespace:x}", ["\"${namespace:x}\" is not a variable", "these are ${namespace}, "]),
        ("a/${}", ["\"${}\" is not a variable", "write one of them"]),
        ("a/${label}", ["\"${label}\" names no key", "write ${label:KEY}"]),
        ("a/${label:}", ["\"${label:}\" names no key", "write ${label:KEY}"]),
        ("a/${annotation:a/b/c}", ["names no key", "write ${annotation:KEY}"]),
        ("a/${label:a b}", ["names no key", "write ${label:KEY}"]),
        ("a/${file:/etc/passwd}", ["is not a variable", "write one of them"]),
        ("a/${env:HOME}", ["is not a variable", "to fix"]),
        ("a/${n\u{430}mespace}", ["is not a variable", "did you mean ${namespace}?"]),
    ] {
        refused(text, Place::Secrets, &said);
    }
}

#[test]
fn fields_versions_and_aliases_are_not_filled() {
    for (text, place) in [
        ("a/b#${label:app}", Place::Secrets),
        ("a/b#f@${label:app}", Place::Secrets),
        ("a/b@${label:app}", Place::Secrets),
        ("${label:app}=a/b", Place::Secrets),
        ("x=a/b y${label:app}=c", Place::Secrets),
        ("${label:app}", Place::Dynamic),
        ("engine=e role=r ttl=${label:app}", Place::Dynamic),
        ("${label:app}=e role=r", Place::Dynamic),
        ("engine=e x${label:app} role=r", Place::Dynamic),
    ] {
        refused(text, place, &["a variable cannot be used in", "in paths, dynamic engines and roles only"]);
    }
    refused("sa:${pod}", Place::Role, &["${pod} is only known to the agent"]);
    refused("sa:${node}", Place::RoleGlob, &["${node} is only known to the agent"]);
}

#[test]
fn values_have_the_alphabet_of_their_place() {
    for value in [
        "a/b",
        "a.b",
        "A",
        "",
        "..",
        "*",
        "a?",
        "**",
        "a b",
        "a\n",
        "a%2fb",
        "\u{430}",
        "\u{ff0f}",
        "${namespace}",
        "a#f",
        "a@2",
        "a,b",
        &"x".repeat(64),
    ] {
        for text in ["a/${label:app}/c", "x=${label:app}", "${annotation:team}"] {
            let error =
                filled_with(text, Place::Secrets, &[("app", value)], &json!({"team": value})).unwrap_err();
            assert!(
                error.contains("has the value ") || error.contains("an empty value"),
                "{value:?}: {error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
        let glob = filled_with("a/${label:app}/**", Place::PathGlob, &[("app", value)], &json!({}));
        assert!(glob.is_err(), "{value:?}");
    }
    let role = |value| filled_with("sa:${label:app}", Place::Role, &[("app", value)], &json!({}));
    assert_eq!(role("A.b_c-1").as_deref(), Ok("sa:A.b_c-1"));
    assert!(role("a:b").is_err() && role("*").is_err() && role("a/b").is_err());
    let dynamic =
        |value| filled_with("engine=e role=${label:app}", Place::Dynamic, &[("app", value)], &json!({}));
    assert_eq!(dynamic("Ab_1").as_deref(), Ok("engine=e role=Ab_1"));
    assert!(dynamic("a/b").is_err() && dynamic("a ttl=9d").is_err() && dynamic("a.b").is_err());
}

#[test]
fn a_variable_without_a_value_is_named() {
    refused(
        "a/${label:absent}",
        Place::Secrets,
        &["${label:absent} has no value: the pod has no label absent"],
    );
    refused("a/${annotation:absent}", Place::Secrets, &["the pod has no annotation absent"]);
    refused("${label:a}/${label:b}/${label:a}", Place::Secrets, &["no label a; ${label:b} has no value"]);
    let pod = PodView::default();
    let (namespace, labels) = (Namespace::default(), BTreeMap::<String, String>::new());
    let environment = Environment::Unknown;
    let values = Values { pod: &pod, labels: &labels, namespace: &namespace, environment, names: None };
    let fault = |text| fill(text, Place::Secrets, &values).unwrap_err().message;
    assert_eq!(fault("${namespace}"), "${namespace} has no value: the namespace is not known");
    assert_eq!(
        fault("${environment}"),
        "${environment} has no value: no policy gives the namespace an environment"
    );
    assert_eq!(fill("${service-account}", Place::Secrets, &values).unwrap().text, "default");
}

#[test]
fn annotations_of_all_keys_are_values() {
    let value = |annotations: serde_json::Value, key: &str| {
        filled_with(&format!("a/${{annotation:{key}}}"), Place::Secrets, &[], &annotations)
    };
    assert_eq!(value(json!({"b": "1", "a": "2", "z.io/k": "3"}), "z.io/k").as_deref(), Ok("a/3"));
    assert_eq!(
        value(json!({"scaivault.scailabs.ai/role": "r"}), "scaivault.scailabs.ai/role").as_deref(),
        Ok("a/r")
    );
    assert!(value(json!({"t": "x\u{41}"}), "t").unwrap_err().contains("\"xA\""));
    for other in [json!(1), json!(null), json!(["x"]), json!({"x": "y"}), json!(true)] {
        assert!(value(json!({"t": other}), "t").unwrap_err().contains("the pod has no annotation t"));
    }
    let pod = r#"{"metadata":{"annotations":{"t":"first","u":"x","t":"last"}}}"#;
    assert_eq!(PodView::parse(pod).unwrap().any_annotation("t").as_deref(), Some("last"));
}

#[test]
fn texts_that_two_pods_could_share_are_ambiguous() {
    let check = |text: &str, place| sample(text, place).err().map(|fault| fault.message.into_owned());
    for (text, place) in [
        ("apps/${namespace}-${service-account}/db", Place::Secrets),
        ("apps/${namespace}${label:app}", Place::Secrets),
        ("x=a/b y=${label:a}_${label:b}", Place::Secrets),
        ("${label:a}_${namespace}_${label:b}", Place::Secrets),
        ("engine=e role=${namespace}-${service-account}", Place::Dynamic),
        ("sa:${namespace}-${service-account}", Place::Role),
        ("apps/${namespace}-*/**", Place::PathGlob),
        ("apps/*-${namespace}/**", Place::PathGlob),
        ("apps/${namespace}*", Place::PathGlob),
        ("apps/${label:app}_*", Place::PathGlob),
        ("pg/${namespace}?", Place::DynamicGlob),
        ("pods/${namespace}-${pod}", Place::Secrets),
    ] {
        let said = check(text, place).unwrap_or_else(|| panic!("{text} is accepted"));
        assert!(said.contains("are in one level"), "{text}: {said}");
    }
    for (text, place) in [
        ("apps/${namespace}/${service-account}/db", Place::Secrets),
        ("apps/${namespace}_${service-account}/db", Place::Secrets),
        ("apps/team-${namespace}-x/${pod}", Place::Secrets),
        ("${namespace}_${label:a}", Place::Secrets),
        ("x=a/${namespace} y=b/${namespace}", Place::Secrets),
        ("sa:${namespace}:${service-account}", Place::Role),
        ("apps/${namespace}/*-x/**", Place::PathGlob),
        ("apps/${namespace}_*/**", Place::PathGlob),
        ("apps/*_${namespace}", Place::PathGlob),
        ("*-*/${namespace}", Place::PathGlob),
    ] {
        assert_eq!(check(text, place), None, "{text}");
    }
}

#[test]
fn a_sample_keeps_the_form_of_the_text() {
    let sample =
        |text, place| sample(text, place).map(|sample| (sample.text.into_owned(), sample.has_variables));
    assert_eq!(sample("a/${label:x}/${pod}#f", Place::Secrets).unwrap(), ("a/x/${pod}#f".to_owned(), true));
    assert_eq!(sample("a/b", Place::Secrets).unwrap(), ("a/b".to_owned(), false));
    assert!(sample("a/${foo}", Place::Secrets).is_err());
}

#[test]
fn so_many_variables_are_filled() {
    let text = |count: usize| vec!["${namespace}"; count].join("/");
    assert!(filled(&text(64), Place::Secrets).is_ok());
    refused(&text(65), Place::Secrets, &["65 variables, and at most 64"]);
    // Several errors are still one line of limited length.
    let faults = (0..60).map(|n| format!("${{x{n}}}")).collect::<Vec<_>>().join("/");
    let error = filled(&faults, Place::Secrets).unwrap_err();
    assert!(error.contains("and 56 more") && error.len() < 1500, "{error}");
}

proptest! {
    /// Whatever the values are, the filled text keeps the structure that was written.
    #[test]
    fn filling_changes_no_structure(
        text in "([a-z]|/|#|@|[1-9]|=| |,|\\$\\{namespace\\}|\\$\\{label:app\\}|\\$\\{pod\\}){1,20}",
        value in "([a-z0-9_-]{1,6}|\\PC{0,4}|/|\\.\\.|\\*|#|@|=| |,|\\$\\{pod\\})",
    ) {
        if let Ok(filled) = filled_with(&text, Place::Secrets, &[("app", &value)], &json!({})) {
            prop_assert_eq!(&filled, &text.replace("${namespace}", "billing").replace("${label:app}", &value));
            let levels = |text: &str| text.matches(['/', '#', '@', '=', ' ', ',']).count();
            prop_assert_eq!(levels(&filled), levels(&text));
            let (written, read) = (sample(&text, Place::Secrets), filled.parse::<DeferredSource>());
            if let (Ok(written), Ok(read)) = (written, read) {
                let sample = written.text.parse::<DeferredSource>().unwrap();
                let shape = |source: &DeferredSource| {
                    let shape = |path: String| path.split('/').count();
                    source.secrets().map(|s| (shape(s.path.to_string()), s.field.clone(), s.version)).collect::<Vec<_>>()
                };
                prop_assert_eq!(shape(&read), shape(&sample));
            }
        }
    }

    #[test]
    fn any_text_is_filled_or_refused(text in "(\\$|\\{|\\}|label|:|/|a|engine=|role=| |\\*|\\PC){0,30}") {
        for place in [Place::Secrets, Place::Dynamic, Place::Role, Place::PathGlob, Place::DynamicGlob, Place::RoleGlob] {
            if let Err(error) = filled(&text, place) {
                prop_assert!(!error.contains(char::is_control), "{}", error);
            }
            let _ = sample(&text, place);
        }
        if let Ok(filled) = filled(&text, Place::Dynamic) {
            let _ = filled.parse::<DeferredDynamic>();
        }
    }
}
