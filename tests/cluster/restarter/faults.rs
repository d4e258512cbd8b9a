//! The controller is killed, replaced, cut off, and not alone.

use kube::{
    api::{Patch, PatchParams},
    config::Kubeconfig,
};
use scaivault_testkit::{balancer::Balancer, control_plane::Directory};
use serde_json::json;

use crate::support::{
    api, eventually,
    kubectl::Kubectl,
    restarter::{Cluster, MARKER, Restarter, manifest, size},
};

const AUTO: &str = "scaivault.scailabs.ai/restart";

/// Killed at any moment of a rotation: each version restarts each workload exactly once, and the first sight none.
#[tokio::test]
async fn a_killed_controller_restarts_once_for_each_version() {
    let (rotations, kills, workloads) = (size("RESTARTER_ROTATIONS", 6), size("RESTARTER_KILLS", 3), 3);
    let cluster = Cluster::new("restarter-killed").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    let names: Vec<String> = (0..workloads).map(|number| format!("web-{number}")).collect();
    for name in &names {
        cluster.workload("Deployment", name, "db", json!({})).await;
    }
    let kubeconfig = cluster.plane.kubeconfig_path();
    let mut restarter = Restarter::start(&kubeconfig, &["--breaker-period=1m"]).await;
    for name in &names {
        cluster.until_known("Deployment", name).await;
    }
    let mut killed = 0;
    for rotation in 0..rotations {
        cluster.rotate("db").await;
        let is_killed = (rotation + 1) * kills / rotations > killed;
        if is_killed {
            killed += 1;
            // At another moment each time: before anything is seen, while it settles, after a patch, and while a wave runs.
            let moment = killed % 4;
            eventually("the moment", async || {
                let sets = cluster.replica_sets_of_all().await;
                let is_any =
                    async |phase: &str| cluster.records().await.iter().any(|record| record["phase"] == phase);
                let is_moment = match moment {
                    0 => true,
                    1 => is_any("Waiting").await,
                    2 => sets > workloads * (rotation + 1),
                    _ => is_any("Restarting").await,
                };
                // A machine with much else to do may miss it.
                (is_moment || sets == workloads * (rotation + 2)).then_some(())
            })
            .await;
            drop(restarter);
            restarter = Restarter::start(&kubeconfig, &["--breaker-period=1m"]).await;
        }
        let expected =
            format!("@{}", cluster.written("db").await.parse::<jiff::Timestamp>().unwrap().as_second());
        for name in &names {
            cluster
                .until_record("Deployment", name, |record| {
                    record["phase"] == "Current" && record["accepted"][0]["version"] == *expected
                })
                .await;
            assert_eq!(cluster.replica_sets(name).await, rotation + 2, "{name} after rotation {rotation}");
        }
    }
    assert_eq!(killed, kills);
    restarter.terminate().await;
    cluster.end().await;
}

#[tokio::test]
async fn a_new_leader_restarts_nothing_by_itself() {
    let cluster = Cluster::new("restarter-leader").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    cluster.workload("Deployment", "web", "db", json!({})).await;
    let kubeconfig = cluster.plane.kubeconfig_path();
    let namespace = format!("--namespace={}", cluster.namespace);
    let flags = [namespace.as_str(), "--lease=restarter"];
    let first = Restarter::start(&kubeconfig, &flags).await;
    cluster.until_known("Deployment", "web").await;
    let second = Restarter::start(&kubeconfig, &flags).await;
    let leads = async |restarter: &Restarter| restarter.metric("leader").await;
    assert_eq!((leads(&first).await, leads(&second).await), (1.0, 0.0));
    cluster.rotate("db").await;
    cluster.until_restarted("Deployment", "web", 1).await;
    // Killed: the lease has to expire.
    drop(first);
    eventually("the second leader", async || (leads(&second).await > 0.0).then_some(())).await;
    let third = Restarter::start(&kubeconfig, &flags).await;
    cluster.rotate("db").await;
    cluster.until_restarted("Deployment", "web", 2).await;
    assert_eq!(cluster.replica_sets("web").await, 3);
    // Stopped: it gives the lease back.
    second.terminate().await;
    eventually("the third leader", async || (leads(&third).await > 0.0).then_some(())).await;
    cluster.rotate("db").await;
    cluster.until_restarted("Deployment", "web", 3).await;
    assert_eq!(cluster.replica_sets("web").await, 4);
    third.terminate().await;
    cluster.end().await;
}

/// A `GitOps` tool that applies the manifest of the repository again and again neither undoes a restart nor causes another one.
#[tokio::test]
async fn an_applier_of_the_whole_manifest_does_not_fight() {
    let applications = size("RESTARTER_APPLICATIONS", 20);
    let cluster = Cluster::new("restarter-applier").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    let deployments = api(&cluster.client, "apps/v1", "Deployment", &cluster.namespace);
    let server_side = manifest("Deployment", "server-side", "db", json!({}));
    let client_side = manifest("Deployment", "client-side", "db", json!({}));
    let kubectl = Kubectl { plane: cluster.plane, namespace: &cluster.namespace };
    let apply = async || {
        let params = PatchParams::apply("argocd-controller").force();
        deployments.patch("server-side", &params, &Patch::Apply(&server_side)).await.unwrap();
        kubectl.apply(&client_side).ok();
    };
    apply().await;
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &[]).await;
    let names = ["server-side", "client-side"];
    for name in names {
        cluster.until_known("Deployment", name).await;
    }
    cluster.rotate("db").await;
    for name in names {
        eventually("the restart while the applier runs", async || {
            apply().await;
            let record = cluster.record("Deployment", name).await;
            (record["phase"] == "Current" && record["restarts"][0].is_string()).then_some(())
        })
        .await;
    }
    for _ in 0..applications {
        apply().await;
    }
    for name in names {
        let template = &cluster.get("Deployment", name).await["spec"]["template"];
        assert!(template["metadata"]["annotations"][MARKER].is_string(), "{template}");
        assert_eq!(cluster.replica_sets(name).await, 2, "{name}");
    }
    restarter.terminate().await;
    cluster.end().await;
}

#[tokio::test]
async fn rotations_while_the_api_server_is_away_are_not_lost() {
    let cluster = Cluster::new("restarter-away").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    cluster.workload("Deployment", "web", "db", json!({})).await;
    // The controller reaches the API server by a way that can be cut.
    let server = cluster.plane.server_url().strip_prefix("https://").unwrap().parse().unwrap();
    let way = Balancer::start().await.unwrap();
    way.set_backends([server]);
    let mut kubeconfig = Kubeconfig::read_from(cluster.plane.kubeconfig_path()).unwrap();
    for named in &mut kubeconfig.clusters {
        named.cluster.as_mut().unwrap().server = Some(format!("https://{}", way.address()));
    }
    let directory = Directory::new("scaivault-restarter-way-").unwrap();
    let path = directory.write("kubeconfig", &serde_json::to_string(&kubeconfig).unwrap()).unwrap();
    let restarter = Restarter::start(&path, &[]).await;
    cluster.until_known("Deployment", "web").await;
    way.cut();
    way.set_backends([]);
    eventually("a watch that fails", async || {
        restarter.get("/metrics").await.contains("watch_down_since_timestamp_seconds{").then_some(())
    })
    .await;
    cluster.rotate("db").await;
    cluster.rotate("db").await;
    assert_eq!(cluster.replica_sets("web").await, 1);
    way.set_backends([server]);
    cluster.until_restarted("Deployment", "web", 1).await;
    assert_eq!(cluster.replica_sets("web").await, 2);
    restarter.terminate().await;
    cluster.end().await;
}
