//! Names and labels stay within Kubernetes' length limits for the longest input names.

use std::collections::BTreeMap;

use serde_json::Value;

use super::helm::template_as;

/// The maximum length of a release name in Helm.
pub(super) const RELEASE: &str = "a-release-name-that-is-as-long-as-helm-lets-it-be-abc";
/// The maximum length of a label value.
pub(super) const LABEL: &str = "a-name-that-is-as-long-as-a-label-of-kubernetes-may-be-12345678";

/// All objects of a release with this name, with all features enabled and in the mode with the most
/// objects. The `CustomResourceDefinition` of policies is shared by the cluster.
fn objects(release: &str, set: &str) -> Vec<Value> {
    let all = "certificates.mode=cert-manager,networkPolicy.enabled=true,autoscaling.enabled=true,safetyNet.enabled=true,\
        serviceMonitor.enabled=true,prometheusRule.enabled=true,dashboard.enabled=true,policies.installCrd=false";
    template_as(release, &["--set", all, "--set", set]).unwrap().objects()
}

/// Every label and selector in a document.
pub(super) fn labels(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(fields) => {
            let own =
                ["labels", "matchLabels", "selector"].iter().filter_map(|key| fields.get(*key)?.as_object());
            let own =
                own.flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
            own.chain(fields.values().flat_map(labels)).collect()
        }
        Value::Array(items) => items.iter().flat_map(labels).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn is_label(value: &str) -> bool {
    let is_end = |end: Option<char>| end.is_none_or(|end| end.is_ascii_alphanumeric());
    let is_inner = |inner: char| inner.is_ascii_alphanumeric() || "-_.".contains(inner);
    value.len() <= 63
        && is_end(value.chars().next())
        && is_end(value.chars().next_back())
        && value.chars().all(is_inner)
}

pub(super) fn is_name(name: &str) -> bool {
    is_label(name) && !name.chars().any(|inner| inner.is_ascii_uppercase() || "_.".contains(inner))
}

#[test]
fn names_and_labels_always_have_a_valid_length() {
    let long = LABEL.get(..48).unwrap().trim_end_matches('-');
    for set in ["", &format!("nameOverride={LABEL}"), &format!("fullnameOverride={long}"), "nameOverride=b"] {
        let objects = objects(RELEASE, set);
        assert!(objects.len() > 20, "{set}");
        for object in &objects {
            let name = object["metadata"]["name"].as_str().unwrap();
            assert!(is_name(name), "{set}: {}: {name:?}", object["kind"]);
            for (key, value) in labels(object) {
                assert!(is_label(&value), "{set}: {} {name}: {key}: {value:?}", object["kind"]);
            }
        }
    }
}

/// Releases in the same cluster share the namespace of names of webhook configurations and roles.
#[test]
fn long_names_that_begin_alike_stay_different() {
    let names = |release: &str| -> BTreeMap<String, Vec<String>> {
        let mut names = BTreeMap::<_, Vec<_>>::new();
        for object in objects(release, "") {
            let [kind, name] =
                [&object["kind"], &object["metadata"]["name"]].map(|word| word.as_str().unwrap());
            names.entry(kind.to_owned()).or_default().push(name.to_owned());
        }
        names
    };
    let (one, other) = (names(RELEASE), names(&RELEASE.replace("abc", "abd")));
    for (kind, names) in one {
        assert!(names.iter().all(|name| !other[&kind].contains(name)), "{kind}: {names:?}");
        let count = names.len();
        let distinct: std::collections::BTreeSet<_> = names.into_iter().collect();
        assert_eq!(distinct.len(), count, "{kind}");
    }
}

#[test]
fn the_tests_pod_is_not_behind_the_service() {
    for set in ["", &format!("nameOverride={LABEL}")] {
        let objects = objects(RELEASE, set);
        let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
        let selector = of_kind("Service")["spec"]["selector"].as_object().unwrap();
        let pod = &of_kind("Pod")["metadata"]["labels"];
        assert!(selector.iter().any(|(key, value)| pod[key] != *value), "{selector:?}, {pod}");
        let pods = &of_kind("Deployment")["spec"]["template"]["metadata"]["labels"];
        assert!(selector.iter().all(|(key, value)| pods[key] == *value), "{selector:?}, {pods}");
    }
}
