//! Releases of many restarts by one command.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    eventually,
    restarter::{Cluster, Restarter},
    run,
};

const MODE: &str = "scaivault.scailabs.ai/restart";

#[tokio::test]
async fn one_command_releases_all_restarts_that_wait_for_it() {
    let cluster = Cluster::new("restarter-release").await;
    let kubectl = crate::support::kubectl::Kubectl { plane: cluster.plane, namespace: &cluster.namespace };
    let names = |secret: &str| (0..3).map(|number| format!("{secret}-{number}")).collect::<Vec<_>>();
    for secret in ["db", "tls"] {
        cluster.secret(secret, json!({MODE: "auto"})).await;
        for name in names(secret) {
            cluster.workload("Deployment", &name, secret, json!({MODE: "manual"})).await;
        }
    }
    cluster.workload("Deployment", "paused", "db", json!({MODE: "manual"})).await;
    kubectl.run("rollout pause deployment/paused").ok();
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &["--namespace-concurrency=1"]).await;
    for name in [names("db"), names("tls"), vec!["paused".to_owned()]].concat() {
        cluster.until_known("Deployment", &name).await;
    }
    let release = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"));
        command.args(["restart", "--all", "--namespace", &cluster.namespace]).args(flags);
        command.env("KUBECONFIG", cluster.plane.kubeconfig_path());
        command
    };
    let refused = release(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("has the reason NotReleased or Stopped"), "{said}");
    cluster.rotate("db").await;
    cluster.rotate("tls").await;
    for name in [names("db"), names("tls")].concat() {
        cluster.until_record("Deployment", &name, |record| record["reason"] == "NotReleased").await;
    }
    cluster.until_record("Deployment", "paused", |record| record["reason"] == "Paused").await;

    let said = run(&mut release(&["--secret", "db"]));
    assert!(said.contains("released 3 of 3 restarts"), "{said}");
    assert!(said.contains("left Deployment restarter-release/paused: spec.paused is true"), "{said}");
    let mut most = 0;
    eventually("three restarts", async || {
        let records = cluster.records().await;
        most = most.max(records.iter().filter(|record| record["phase"] == "Restarting").count());
        let is_done = |record: &&Value| record["phase"] == "Current" && record["restarts"][0].is_string();
        (records.iter().filter(is_done).count() == 3).then_some(())
    })
    .await;
    assert!(most <= 2, "{most} at once; twice --namespace-concurrency is allowed");
    for name in names("tls") {
        assert_eq!(cluster.replica_sets(&name).await, 1, "{name} has another secret");
    }
    run(&mut release(&[]));
    for name in names("tls") {
        cluster.until_restarted("Deployment", &name, 1).await;
    }
    assert_eq!(cluster.replica_sets("paused").await, 1);
    restarter.terminate().await;
    cluster.end().await;
}
