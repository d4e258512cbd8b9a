//! Each kind of workload, and each way to request restarts.

use serde_json::json;

use crate::support::{
    eventually,
    restarter::{Cluster, MARKER, Restarter},
};

const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

#[tokio::test]
async fn each_kind_restarts_once_for_a_rotated_secret() {
    let cluster = Cluster::new("restarter-kinds").await;
    cluster.secret("db", json!({"scaivault.scailabs.ai/restart": "auto"})).await;
    cluster.secret("other", json!({})).await;
    for kind in KINDS {
        cluster.workload(kind, "web", "db", json!({})).await;
        cluster.workload(kind, "idle", "other", json!({})).await;
    }
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &[]).await;
    for kind in KINDS {
        cluster.until_known(kind, "web").await;
    }
    cluster.rotate("other").await;
    cluster.rotate("db").await;
    for kind in KINDS {
        let record = cluster.until_restarted(kind, "web", 1).await;
        let marker =
            cluster.get(kind, "web").await["spec"]["template"]["metadata"]["annotations"][MARKER].clone();
        let version = record["accepted"][0]["version"].as_str().unwrap();
        assert_eq!(marker, format!("secret:db={version}"), "{record}");
        // The other workload has no opt-in.
        let idle = cluster.get(kind, "idle").await;
        assert!(idle["spec"]["template"]["metadata"]["annotations"][MARKER].is_null(), "{idle}");
    }
    assert_eq!(cluster.replica_sets("web").await, 2);
    for kind in KINDS {
        let name = format!("restarts_total{{kind=\"{kind}\",result=\"done\"}}");
        assert!(restarter.metric(&name).await >= 1.0, "{}", restarter.log());
    }
    let events = crate::support::api(&cluster.client, "events.k8s.io/v1", "Event", &cluster.namespace);
    eventually("an event for the owner", async || {
        let events = events.list(&kube::api::ListParams::default()).await.unwrap();
        events.into_iter().find(|event| {
            event.data["reason"] == "Restarting" && event.data["regarding"]["kind"] == "Deployment"
        })
    })
    .await;
    restarter.terminate().await;
    cluster.end().await;
}
