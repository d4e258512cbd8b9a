//! Every supported release of Kubernetes knows all rendered objects and fields.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::{Value, json};

use super::{
    helm::{asset, file, left_out, root, template},
    schema::Api,
};

/// The groups of custom resources with their rendered kinds, which are not in Kubernetes' own
/// `OpenAPI` documents.
const CUSTOM: [(&str, &[&str]); 2] = [
    ("cert-manager.io/v1", &["Certificate", "Issuer"]),
    ("monitoring.coreos.com/v1", &["PodMonitor", "PrometheusRule", "ServiceMonitor"]),
];

fn is_custom(object: &Value) -> bool {
    CUSTOM.iter().any(|(version, kinds)| {
        object["apiVersion"] == *version && kinds.iter().any(|kind| object["kind"] == *kind)
    })
}

/// The oldest minor version of Kubernetes 1 that the chart supports.
fn oldest() -> u16 {
    let chart: Value = serde_saphyr::from_str(&file("Chart.yaml")).unwrap();
    let version = chart["kubeVersion"].as_str().unwrap();
    let minor = version.strip_prefix(">=1.").and_then(|rest| rest.split('.').next());
    minor.unwrap_or_else(|| panic!("{version} names no oldest release")).parse().unwrap()
}

/// The `OpenAPI` documents in the assets of all releases from the oldest on, with their minor
/// versions.
pub(super) fn documents() -> Vec<(u16, PathBuf)> {
    let document = |minor| Some((minor, asset(&format!("kubernetes-openapi-1.{minor}.json"))?));
    let documents: Vec<_> = (oldest()..).map_while(document).collect();
    if documents.is_empty() {
        left_out("kubernetes-openapi-1.….json", "the chart was not held against the releases of Kubernetes");
    }
    documents
}

/// The names of the golden cases.
fn cases() -> Vec<String> {
    let cases = fs::read_dir(root().join("tests/chart/cases")).unwrap();
    cases.map(|case| case.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_release_can_validate_its_manifests() {
    let mut skipped = BTreeSet::new();
    let mut wrong = Vec::new();
    for (minor, document) in documents() {
        let api = Api::new(&fs::read_to_string(document).unwrap());
        let version = format!("1.{minor}.0");
        for case in cases() {
            let values = format!("tests/chart/cases/{case}/values.yaml");
            let manifests = template(&["--values", &values, "--kube-version", &version]).unwrap();
            let (custom, own): (Vec<_>, Vec<_>) = manifests.objects().into_iter().partition(is_custom);
            assert!(own.len() > 3, "{case}");
            skipped.extend(custom.iter().map(|object| object["kind"].as_str().unwrap().to_owned()));
            let problems = own.iter().flat_map(|object| api.problems(object));
            wrong.extend(problems.map(|problem| format!("{version}, {case}: {problem}")));
        }
        let used: BTreeSet<_> =
            CUSTOM.iter().flat_map(|(_, kinds)| *kinds).map(|&kind| kind.to_owned()).collect();
        assert_eq!(skipped, used, "skipped fields are rendered");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Pod-level resources are a field since 1.32, so the releases differ.
#[test]
fn an_older_release_rejects_newer_fields() {
    for (minor, document) in documents() {
        let api = Api::new(&fs::read_to_string(document).unwrap());
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {
            "containers": [{"name": "a"}],
            "resources": {"limits": {"memory": "1Mi"}},
        }});
        let expected: &[&str] = if minor < 32 { &["Pod.spec.resources: no such field"] } else { &[] };
        assert_eq!(api.problems(&pod), expected, "1.{minor}");
    }
}
