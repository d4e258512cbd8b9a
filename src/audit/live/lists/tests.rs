use serde_json::{from_value, json};

use super::*;

#[test]
fn lists_have_the_addresses_of_the_api() {
    let deployments = standard("apps/v1", "Deployment", "deployments");
    assert_eq!(deployments.path(None), "/apis/apps/v1/deployments");
    assert_eq!(deployments.path(Some("a")), "/apis/apps/v1/namespaces/a/deployments");
    assert_eq!(deployments.resource(), "deployments.apps");
    let namespaces = standard("v1", "Namespace", "namespaces").cluster_scoped();
    assert_eq!(namespaces.path(Some("a")), "/api/v1/namespaces");
    assert_eq!(namespaces.resource(), "namespaces");
}

/// With RBAC, listing a kind that is not installed fails like any forbidden list, so it must not be
/// requested.
#[test]
fn only_kinds_that_the_cluster_has_are_listed() {
    let groups: Vec<APIGroup> = from_value(json!([
        {"name": "apps", "versions": []},
        {"name": "external-secrets.io", "versions": [{"groupVersion": "external-secrets.io/v1beta1", "version": "v1beta1"}],
            "preferredVersion": {"groupVersion": "external-secrets.io/v1", "version": "v1"}},
    ]))
    .unwrap();
    let found = discovered(&groups);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["external-secrets.io/v1"]);
    let resources: Vec<APIResource> = from_value(json!([
        {"name": "externalsecrets/status", "kind": "ExternalSecret", "namespaced": true, "singularName": "", "verbs": []},
        {"name": "externalsecrets", "kind": "ExternalSecret", "namespaced": true, "singularName": "", "verbs": []},
        {"name": "pushsecrets", "kind": "PushSecret", "namespaced": true, "singularName": "", "verbs": []},
    ]))
    .unwrap();
    let (version, kinds) = found.first_key_value().unwrap();
    let lists = of_resources(version, &resources, kinds);
    let paths: Vec<_> = lists.iter().map(|list| list.path(Some("n"))).collect();
    assert_eq!(paths, ["/apis/external-secrets.io/v1/namespaces/n/externalsecrets"]);
}
