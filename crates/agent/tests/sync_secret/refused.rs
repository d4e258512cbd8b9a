//! Secrets that are not modified.

use scaivault_devserver::Route;
use serde_json::json;

use crate::cluster::{Cluster, NAME};

const SECRETS: &str = "app/stripe#key -> STRIPE_KEY";

fn foreign() -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME},
        "data": {"STRIPE_KEY": "b2xk", "OTHER": "b2xk"},
    })
}

#[tokio::test]
async fn a_foreign_secret_is_not_changed_until_it_is_labelled() {
    let cluster = Cluster::new().await;
    cluster.apply(&foreign());
    let before = cluster.secret().unwrap();
    let label = format!("label secret {NAME} scaivault.scailabs.ai/managed-by=sync-secret");
    let refused = cluster.sync(SECRETS, &[]).await;
    let said = format!("kubectl -n {} {label}", cluster.namespace);
    refused.check(5, &["was not made by sync-secret (its field managers: kubectl)", &said]);
    assert_eq!(cluster.secret().unwrap().resource_version(), before.resource_version());
    assert_eq!(cluster.pod.vault.requests(Route::Read), 0, "no secret is read for it");

    cluster.kubectl(&label, None).unwrap();
    cluster.sync(SECRETS, &[]).await.check(0, &["secret written"]);
    let adopted = cluster.secret().unwrap();
    assert_eq!((adopted.value("STRIPE_KEY"), adopted.value("OTHER")), ("c2stc3dvcmRmaXNo", "b2xk"));
    cluster.sync(SECRETS, &[]).await.check(0, &["secret unchanged"]);
}

#[tokio::test]
async fn another_type_is_refused_with_both_types() {
    let cluster = Cluster::new().await;
    cluster.sync(SECRETS, &[]).await.check(0, &[]);
    let before = cluster.secret().unwrap();
    let basic = "app/database#username -> username";
    let refused = cluster.sync(basic, &[("SYNC_SECRET_TYPE", "kubernetes.io/basic-auth")]).await;
    let said =
        ["it has the type Opaque", "SYNC_SECRET_TYPE is kubernetes.io/basic-auth", "delete secret billing"];
    refused.check(5, &said);
    assert_eq!(cluster.secret().unwrap().resource_version(), before.resource_version());
}

#[tokio::test]
async fn a_value_that_must_be_json_is_checked() {
    let cluster = Cluster::new().await;
    let variables = [("SYNC_SECRET_TYPE", "kubernetes.io/dockerconfigjson")];
    let refused = cluster.sync("app/stripe#key -> .dockerconfigjson", &variables).await;
    refused.check(5, &["the value of its key .dockerconfigjson is not JSON"]);
    assert!(cluster.secret().is_none());
}

#[tokio::test]
async fn a_secret_that_is_being_deleted_is_waited_for() {
    let cluster = Cluster::new().await;
    cluster.sync(SECRETS, &[]).await.check(0, &[]);
    let patch = format!("patch secret {NAME} --type=merge --patch-file=/dev/stdin");
    let held = json!({"metadata": {"finalizers": ["example.com/held"]}});
    cluster.kubectl(&patch, Some(&held)).unwrap();
    cluster.kubectl(&format!("delete secret {NAME} --wait=false"), None).unwrap();
    let waited = cluster.sync(SECRETS, &[("FETCH_TIMEOUT", "5s")]).await;
    waited.check(1, &["trying again", "it is being deleted; wait until it is gone"]);
    cluster.kubectl(&patch, Some(&json!({"metadata": {"finalizers": null}}))).unwrap();
    cluster.sync(SECRETS, &[]).await.check(0, &["\"is_new\":true"]);
}

#[tokio::test]
async fn nothing_is_written_if_a_secret_of_scaivault_is_missing() {
    let cluster = Cluster::new().await;
    let both = format!("{SECRETS}\napp/absent#key -> X\nother/secret -> Y");
    cluster.sync(&both, &[]).await.check(4, &["app/absent", "other/secret"]);
    assert!(cluster.secret().is_none());
    cluster.sync(SECRETS, &[]).await.check(0, &[]);
    let before = cluster.secret().unwrap();
    let open = cluster.sync(&both, &[("FAIL_OPEN", "true")]).await;
    open.check(0, &["keeping the Secret unchanged, because FAIL_OPEN is true", "app/absent", "other/secret"]);
    assert_eq!(cluster.secret().unwrap().resource_version(), before.resource_version());
}
