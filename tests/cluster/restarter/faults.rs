//! The controller is killed, replaced, disconnected, and runs with several replicas.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::pace::{check_waves, rollouts};
use crate::support::{
    api, create, eventually,
    kubectl::Kubectl,
    restarter::{ARGO, Cluster, MARKER, Restarter, manifest, rollout, size},
};

const AUTO: &str = "scaivault.scailabs.ai/restart";

/// The controller is killed at any moment of a rotation: each version restarts each workload exactly once,
/// and the first recorded versions restart none.
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
            // At different moments: before versions are read, during the debounce, after a patch, and during
            // a wave.
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
                // A busy machine may miss the moment.
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
async fn a_new_leader_causes_no_restart() {
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
    // Stopped: it releases the lease.
    second.terminate().await;
    eventually("the third leader", async || (leads(&third).await > 0.0).then_some(())).await;
    cluster.rotate("db").await;
    cluster.until_restarted("Deployment", "web", 3).await;
    assert_eq!(cluster.replica_sets("web").await, 4);
    third.terminate().await;
    cluster.end().await;
}

/// A leader ends while restarts wait, and the next one during a wave.
#[tokio::test]
async fn a_new_leader_finishes_waiting_and_running_restarts() {
    let cluster = Cluster::new("restarter-leaders").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    let names: Vec<String> = (0..4).map(|number| format!("web-{number}")).collect();
    for name in &names {
        // A rollout takes a while.
        let mut deployment = manifest("Deployment", name, "db", json!({}));
        deployment["spec"]["minReadySeconds"] = 5.into();
        create(&api(&cluster.client, "apps/v1", "Deployment", &cluster.namespace), deployment).await.unwrap();
    }
    let kubeconfig = cluster.plane.kubeconfig_path();
    let namespace = format!("--namespace={}", cluster.namespace);
    let flags = [&*namespace, "--lease=restarter", "--debounce=10s", "--max-wait=1m", "--wave=3"];
    let first = Restarter::start(&kubeconfig, &flags).await;
    for name in &names {
        cluster.until_known("Deployment", name).await;
    }
    let second = Restarter::start(&kubeconfig, &flags).await;
    cluster.rotate("db").await;
    let count =
        async |phase: &str| cluster.records().await.iter().filter(|record| record["phase"] == phase).count();
    eventually("restarts that wait", async || (count("Waiting").await == names.len()).then_some(())).await;
    assert_eq!(cluster.replica_sets_of_all().await, names.len());
    drop(first);
    second.until_has("leader", true).await;
    let third = Restarter::start(&kubeconfig, &flags).await;
    eventually("the canary", async || (count("Restarting").await == 1).then_some(())).await;
    assert_eq!(cluster.replica_sets_of_all().await, names.len() + 1);
    drop(second);
    third.until_has("leader", true).await;
    for name in &names {
        cluster.until_restarted("Deployment", name, 1).await;
        assert_eq!(cluster.replica_sets(name).await, 2, "{name}");
    }
    check_waves(&rollouts(&cluster).await, 3);
    third.terminate().await;
    cluster.end().await;
}

/// A `GitOps` tool that applies the manifest repeatedly neither undoes a restart nor causes another one.
#[tokio::test]
async fn an_applier_of_the_whole_manifest_does_not_fight() {
    let applications = size("RESTARTER_APPLICATIONS", 20);
    let cluster = Cluster::new("restarter-applier").await;
    cluster.with_argo().await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    cluster.rollout("argo", "db").await;
    let applied: Vec<_> = [("Deployment", "server-side"), ("StatefulSet", "set"), ("DaemonSet", "daemons")]
        .map(|(kind, name)| ("apps/v1", kind, name, manifest(kind, name, "db", json!({}))))
        .into_iter()
        .chain([(ARGO, "Rollout", "argo", rollout("argo", "db"))])
        .collect();
    let client_side = manifest("Deployment", "client-side", "db", json!({}));
    let kubectl = Kubectl { plane: cluster.plane, namespace: &cluster.namespace };
    let apply = async || {
        let params = PatchParams::apply("argocd-controller").force();
        for (api_version, kind, name, manifest) in &applied {
            let objects = api(&cluster.client, api_version, kind, &cluster.namespace);
            objects.patch(name, &params, &Patch::Apply(manifest)).await.unwrap();
        }
        kubectl.apply(&client_side).ok();
    };
    apply().await;
    let restarter =
        Restarter::start(&cluster.plane.kubeconfig_path(), &["--namespace-concurrency=9", "--canaries=9"])
            .await;
    let mut names: Vec<_> = applied.iter().map(|(_, kind, name, _)| (*kind, *name)).collect();
    names.push(("Deployment", "client-side"));
    for (kind, name) in &names {
        cluster.until_known(kind, name).await;
    }
    cluster.rotate("db").await;
    let asked = cluster.play_argo("argo").await;
    for (kind, name) in &names {
        eventually("the restart while the applier runs", async || {
            apply().await;
            let record = cluster.record(kind, name).await;
            (record["phase"] == "Current" && record["restarts"][0].is_string()).then_some(())
        })
        .await;
    }
    for _ in 0..applications {
        apply().await;
    }
    for name in ["server-side", "client-side"] {
        let template = &cluster.get("Deployment", name).await["spec"]["template"];
        assert!(template["metadata"]["annotations"][MARKER].is_string(), "{template}");
        assert_eq!(cluster.replica_sets(name).await, 2, "{name}");
    }
    for (kind, name) in [("StatefulSet", "set"), ("DaemonSet", "daemons")] {
        let template = &cluster.get(kind, name).await["spec"]["template"];
        assert!(template["metadata"]["annotations"][MARKER].is_string(), "{template}");
        assert_eq!(cluster.revisions(name).await, 2, "{name}");
    }
    let argo = api(&cluster.client, ARGO, "Rollout", &cluster.namespace).get("argo").await.unwrap();
    assert_eq!(argo.data["spec"]["restartAt"], *asked);
    assert!(argo.metadata.annotations.unwrap().contains_key(MARKER));
    for (kind, name) in &names {
        assert_eq!(
            cluster.record(kind, name).await["restarts"].as_array().unwrap().len(),
            1,
            "{kind} {name}"
        );
    }
    restarter.terminate().await;
    cluster.end().await;
}

#[tokio::test]
async fn rotations_during_an_api_outage_are_not_lost() {
    // Each in another second.
    let rotations = size("RESTARTER_AWAY", 2);
    let cluster = Cluster::new("restarter-away").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    cluster.workload("Deployment", "web", "db", json!({})).await;
    let (way, _directory, path) = cluster.way().await;
    let restarter = Restarter::start(&path, &[]).await;
    cluster.until_known("Deployment", "web").await;
    way.cut();
    eventually("a watch that fails", async || {
        let name = "watch_down_since_timestamp_seconds{resource=\"secrets\"}";
        (restarter.metric(name).await > 0.0).then_some(())
    })
    .await;
    for _ in 0..rotations {
        cluster.rotate("db").await;
    }
    assert_eq!(cluster.replica_sets("web").await, 1);
    way.restore();
    cluster.until_restarted("Deployment", "web", 1).await;
    assert_eq!(cluster.replica_sets("web").await, 2);
    restarter.terminate().await;
    cluster.end().await;
}

/// The leader cannot reach the API server for longer than its Lease. Another replica takes over, and the
/// first one does nothing after its return.
#[tokio::test]
async fn a_leader_that_is_cut_off_loses_its_lease() {
    let cluster = Cluster::new("restarter-cut-off").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    cluster.workload("Deployment", "web", "db", json!({})).await;
    let (way, _directory, path) = cluster.way().await;
    let namespace = format!("--namespace={}", cluster.namespace);
    let flags = [namespace.as_str(), "--lease=restarter"];
    let first = Restarter::start(&path, &flags).await;
    first.until_has("leader", true).await;
    cluster.until_known("Deployment", "web").await;
    let second = Restarter::start(&cluster.plane.kubeconfig_path(), &flags).await;
    way.cut();
    // It stops before the other replica begins.
    first.until_has("leader", false).await;
    second.until_has("leader", true).await;
    cluster.rotate("db").await;
    cluster.until_restarted("Deployment", "web", 1).await;
    way.restore();
    eventually("the first one to see the cluster again", async || {
        let page = first.get("/metrics").await;
        (!page.contains("watch_down_since_timestamp_seconds{")).then_some(())
    })
    .await;
    cluster.rotate("db").await;
    cluster.until_restarted("Deployment", "web", 2).await;
    assert!(!first.has("leader").await);
    second.terminate().await;
    first.until_has("leader", true).await;
    cluster.rotate("db").await;
    cluster.until_restarted("Deployment", "web", 3).await;
    assert_eq!(cluster.replica_sets("web").await, 4);
    first.terminate().await;
    cluster.end().await;
}
