//! The content of the written Secret.

use serde_json::json;

use crate::cluster::{Cluster, NAME};

/// `sk-swordfish` and `new` in base64.
const STRIPE: &str = "c2stc3dvcmRmaXNo";
const NEW: &str = "bmV3";

#[tokio::test]
async fn the_secret_follows_scaivault_and_is_written_only_on_change() {
    let cluster = Cluster::new().await;
    let secrets = "app/stripe#key -> STRIPE_KEY\napp/database -> db.json";
    let variables = [
        ("SYNC_SECRET_LABELS", "app=billing\nexample.com/team = shop"),
        ("SYNC_SECRET_ANNOTATIONS", "example.com/note=a = b"),
    ];
    cluster.sync(secrets, &variables).await.check(0, &["secret written", "STRIPE_KEY", "db.json"]);
    let first = cluster.secret().unwrap();
    assert_eq!((first.keys(), first.value("STRIPE_KEY")), (vec!["STRIPE_KEY", "db.json"], STRIPE));
    assert_eq!(first.0["type"], "Opaque");
    assert_eq!(first.label("app"), "billing");
    assert_eq!(first.label("example.com/team"), "shop");
    assert_eq!(first.label("scaivault.scailabs.ai/managed-by"), "sync-secret");
    assert_eq!(first.0["metadata"]["annotations"]["example.com/note"], "a = b");

    cluster.sync(secrets, &variables).await.check(0, &["secret unchanged"]);
    assert_eq!(cluster.secret().unwrap().resource_version(), first.resource_version());

    // A different label is a write, but does not change the content version.
    cluster.sync(secrets, &variables[1..]).await.check(0, &["secret written"]);
    let relabelled = cluster.secret().unwrap();
    assert!(relabelled.label("app").is_null());
    assert_eq!(relabelled.content_version(), first.content_version());

    cluster.write("stripe", &json!({"key": "new"}));
    cluster.sync(secrets, &variables[1..]).await.check(0, &["\"written\":\"[\\\"STRIPE_KEY\\\"]\""]);
    let changed = cluster.secret().unwrap();
    assert_eq!(changed.value("STRIPE_KEY"), NEW);
    assert_ne!(changed.content_version(), first.content_version());

    cluster.sync("app/stripe#key -> STRIPE_KEY", &[]).await.check(0, &["removed", "db.json"]);
    assert_eq!(cluster.secret().unwrap().keys(), ["STRIPE_KEY"]);
}

#[tokio::test]
async fn keys_of_others_stay_and_a_changed_value_is_restored() {
    let cluster = Cluster::new().await;
    cluster.sync("app/stripe#key -> STRIPE_KEY", &[]).await.check(0, &[]);
    let patch = format!("patch secret {NAME} --type=merge --patch-file=/dev/stdin");
    let edit = json!({"data": {"STRIPE_KEY": NEW, "OTHER": NEW}, "metadata": {"labels": {"other": "x"}}});
    cluster.kubectl(&patch, Some(&edit)).unwrap();

    cluster.sync("app/stripe#key -> STRIPE_KEY", &[]).await.check(0, &["secret written"]);
    let restored = cluster.secret().unwrap();
    assert_eq!((restored.value("STRIPE_KEY"), restored.value("OTHER")), (STRIPE, NEW));
    assert_eq!(restored.label("other"), "x");
    cluster.sync("app/stripe#key -> STRIPE_KEY", &[]).await.check(0, &["secret unchanged"]);
}

#[tokio::test]
async fn the_api_server_accepts_every_type() {
    for (secret_type, secrets) in [
        ("kubernetes.io/basic-auth", "app/database#username -> username\napp/database#password -> password"),
        ("kubernetes.io/ssh-auth", "app/stripe#key -> ssh-privatekey"),
        ("kubernetes.io/tls", "app/stripe#key -> tls.crt\napp/stripe#key -> tls.key"),
        ("kubernetes.io/dockerconfigjson", "app/database -> .dockerconfigjson"),
        ("kubernetes.io/dockercfg", "app/database -> .dockercfg"),
        ("example.com/own", "app/database -> db.json format=env\napp/absent -> x optional=true"),
    ] {
        let cluster = Cluster::new().await;
        let variables = [("SYNC_SECRET_TYPE", secret_type)];
        cluster.sync(secrets, &variables).await.check(0, &["secret written"]);
        assert_eq!(cluster.secret().unwrap().0["type"], secret_type);
        cluster.sync(secrets, &variables).await.check(0, &["secret unchanged"]);
    }
}

#[tokio::test]
async fn a_mebibyte_is_written_and_one_byte_more_is_not() {
    let cluster = Cluster::new().await;
    let half = "x".repeat(512 * 1024);
    cluster.write("large", &json!({"key": half}));
    let two = "app/large#key -> a\napp/large#key -> b";
    cluster.sync(two, &[]).await.check(0, &["secret written"]);
    let before = cluster.secret().unwrap();
    cluster.sync(two, &[]).await.check(0, &["secret unchanged"]);
    cluster.write("large", &json!({"key": half, "more": "x"}));
    let more = format!("{two}\napp/large#more -> c");
    cluster.sync(&more, &[]).await.check(5, &["1048577 bytes together, and Kubernetes allows 1048576"]);
    assert_eq!(cluster.secret().unwrap().resource_version(), before.resource_version());
}

#[tokio::test]
async fn an_immutable_secret_changes_its_labels_alone() {
    let cluster = Cluster::new().await;
    let immutable = ("SYNC_SECRET_IMMUTABLE", "true");
    cluster.sync("app/stripe#key -> KEY", &[immutable]).await.check(0, &["secret written"]);
    assert_eq!(cluster.secret().unwrap().0["immutable"], true);
    cluster.sync("app/stripe#key -> KEY", &[immutable]).await.check(0, &["secret unchanged"]);
    let labels = ("SYNC_SECRET_LABELS", "app=billing");
    cluster.sync("app/stripe#key -> KEY", &[labels]).await.check(0, &["secret written"]);
    let before = cluster.secret().unwrap();
    assert_eq!((&before.0["immutable"], before.label("app")), (&json!(true), &json!("billing")));

    cluster.write("stripe", &json!({"key": "new"}));
    let refused = cluster.sync("app/stripe#key -> KEY", &[labels]).await;
    refused.check(5, &["it is immutable", "set SYNC_SECRET_NAME to a new name, such as billing-2"]);
    assert_eq!(cluster.secret().unwrap().resource_version(), before.resource_version());
}
