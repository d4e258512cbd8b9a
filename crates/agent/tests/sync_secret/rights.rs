//! The permissions that the service account needs, and the errors without them.

use std::fs;

use serde_json::json;

use crate::cluster::{Cluster, NAME, VERBS};

const SECRETS: &str = "app/stripe#key -> STRIPE_KEY";

#[tokio::test]
async fn each_missing_verb_is_named_with_the_rule_to_write() {
    let cluster = Cluster::without_rights().await;
    for (granted, verb) in [(0, "get"), (1, "patch"), (2, "create")] {
        if granted > 0 {
            cluster.grant(&VERBS[..granted]);
        }
        let rule = format!("resources: [secrets], resourceNames: [{NAME}], verbs: [get, patch, create]");
        let account = format!("system:serviceaccount:{}:default", cluster.namespace);
        let refused = cluster.sync(SECRETS, &[]).await;
        refused.check(3, &[&format!("cannot {verb} resource"), &account, &rule, "RoleBinding"]);
        assert!(cluster.secret().is_none(), "{verb}");
    }
    // All three verbs on one name are sufficient, including creation.
    cluster.grant(&VERBS);
    cluster.sync(SECRETS, &[]).await.check(0, &["\"is_new\":true"]);
    // Without `create` it can be updated.
    cluster.grant(&VERBS[..2]);
    cluster.write("stripe", &json!({"key": "new"}));
    cluster.sync(SECRETS, &[]).await.check(0, &["\"is_new\":false"]);
    let other = cluster.sync(SECRETS, &[("SYNC_SECRET_NAME", "other")]).await;
    other.check(3, &["cannot get resource", "resourceNames: [other]"]);
}

#[tokio::test]
async fn a_token_that_is_no_token_is_named() {
    let cluster = Cluster::new().await;
    let file = cluster.pod.path("api/token");
    for text in ["not-a-token", "two\nlines"] {
        fs::write(&file, text).unwrap();
        let refused = cluster.sync(SECRETS, &[]).await;
        refused.check(2, &["the API server does not accept the token", file.to_str().unwrap()]);
    }
    // The token for ScaiVault has another audience.
    fs::copy(cluster.pod.path("token"), &file).unwrap();
    cluster.sync(SECRETS, &[]).await.check(2, &["status 401"]);
}

#[tokio::test]
async fn a_quota_is_reported_with_the_api_servers_message() {
    let cluster = Cluster::new().await;
    cluster.apply(&json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"secrets": "0"}},
    }));
    let refused = cluster.sync(SECRETS, &[]).await;
    refused.check(5, &["the API server refuses it", "exceeded quota: none", "status 403"]);
}
