//! Migration from Stakater's Reloader: its annotations, and a Reloader that still runs.

use serde_json::json;

use crate::support::restarter::{Cluster, MARKER, Restarter};

#[tokio::test]
async fn annotations_of_reloader_restart_as_they_did() {
    let cluster = Cluster::new("restarter-reloader").await;
    cluster.secret("db", json!({})).await;
    cluster.secret("matching", json!({"reloader.stakater.com/match": "true"})).await;
    cluster.secret("ignored", json!({"reloader.stakater.com/ignore": "true"})).await;
    for (name, secret, key, value) in [
        ("auto", "db", "reloader.stakater.com/auto", "true"),
        ("named", "matching", "secret.reloader.stakater.com/reload", "x,db"),
        // Patterns select among the Secrets that the template uses.
        ("pattern", "db", "secret.reloader.stakater.com/reload", "x,d[bc]"),
        ("unused", "matching", "secret.reloader.stakater.com/reload", "x,d[bc]"),
        ("search", "matching", "reloader.stakater.com/search", "true"),
        ("no-match", "db", "reloader.stakater.com/search", "true"),
        ("off", "db", "reloader.stakater.com/auto", "false"),
        ("ignored", "ignored", "reloader.stakater.com/auto", "true"),
    ] {
        cluster.workload("Deployment", name, secret, json!({key: value})).await;
    }
    let kubeconfig = cluster.plane.kubeconfig_path();
    // The default mode is off: only workloads with annotations of Reloader are restarted.
    let restarter =
        Restarter::start(&kubeconfig, &["--reloader-annotations", "--mode=off", "--canaries=9"]).await;
    let chosen = ["auto", "named", "pattern", "search"];
    for name in chosen {
        cluster.until_known("Deployment", name).await;
    }
    for secret in ["ignored", "matching", "db"] {
        cluster.rotate(secret).await;
    }
    for name in chosen {
        cluster.until_restarted("Deployment", name, 1).await;
    }
    for name in ["auto", "named", "pattern", "search", "unused", "no-match", "off", "ignored"] {
        let expected = if chosen.contains(&name) { 2 } else { 1 };
        assert_eq!(cluster.replica_sets(name).await, expected, "{name}");
    }
    let template = &cluster.get("Deployment", "named").await["spec"]["template"];
    assert!(
        template["metadata"]["annotations"][MARKER].as_str().unwrap().starts_with("secret:db=@"),
        "{template}"
    );
    restarter.terminate().await;
    cluster.end().await;
}

#[tokio::test]
async fn a_running_reloader_is_reported() {
    let cluster = Cluster::new("restarter-with-reloader").await;
    let kubectl = crate::support::kubectl::Kubectl { plane: cluster.plane, namespace: &cluster.namespace };
    kubectl.run("create deployment web --image=example.com/reloader:1").ok();
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &[]).await;
    assert!(!restarter.has("reloaders").await);
    kubectl.run("create deployment old --image=ghcr.io/stakater/reloader:v1.4.0").ok();
    restarter.until_has("reloaders", true).await;
    restarter.until_logged("Reloader runs in this cluster, too").await;
    kubectl.run("scale deployment/old --replicas=0").ok();
    restarter.until_has("reloaders", false).await;
    kubectl.run("scale deployment/old --replicas=1").ok();
    restarter.until_has("reloaders", true).await;
    kubectl.run("delete deployment/old").ok();
    restarter.until_has("reloaders", false).await;
    restarter.terminate().await;
    cluster.end().await;
}
