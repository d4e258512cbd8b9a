//! The permissions of the restart controller's service account from the chart's manifests.

use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use scaivault_testkit::control_plane::{self, ControlPlane};
use serde_json::{Value, json};

use crate::support::{
    self, api, create, eventually,
    restarter::{ARGO, Cluster, rollout},
    run,
    workload::workload,
};

const MARKER: &str = scaivault_restarter::MARKER;
/// The prefix of the messages of the chart's `ValidatingAdmissionPolicy`.
const REFUSAL: &str = "the restart controller must not change";

/// Clients of the administrator and of the service account, with a namespace.
async fn restarter() -> (Client, Client, String) {
    let plane = support::control_plane().await;
    let namespace = plane.namespace("rights").await.unwrap();
    let (client, _) = install(plane, &namespace).await;
    (plane.client().await.unwrap(), client, namespace)
}

/// Installs the chart's permissions in a namespace. Returns a client of the service account, and the
/// account's name.
async fn install(plane: &ControlPlane, namespace: &str) -> (Client, String) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/scaivault-injector");
    let mut helm = plane.helm().unwrap();
    helm.args(["template", "rights", chart, "--namespace", namespace]);
    helm.args(["--set", &format!("fullnameOverride={namespace},restarter.enabled=true")]);
    helm.args(["--show-only", "templates/restarter-rbac.yaml"]);
    let file = plane.path().join(format!("{namespace}.yaml"));
    std::fs::write(&file, run(&mut helm)).unwrap();
    run(plane.kubectl().unwrap().args(["apply", "--server-side", "--filename"]).arg(&file));
    let account = format!("{namespace}-restarter");
    let kubeconfig = plane.kubeconfig_for_service_account(namespace, &account).await.unwrap();
    (control_plane::client(&kubeconfig).await.unwrap(), account)
}

async fn patch(workloads: &Api<DynamicObject>, change: Value) -> kube::Result<DynamicObject> {
    workloads.patch("web", &PatchParams::default(), &Patch::Merge(change)).await
}

fn restart(version: &str) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {MARKER: version}}}}})
}

#[tokio::test]
async fn the_restarter_changes_nothing_but_its_annotation() {
    let (admin, restarter, namespace) = restarter().await;
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let all = api(&admin, "apps/v1", kind, &namespace);
        create(&all, workload(kind, "web", &json!({"team": "billing"}))).await.unwrap();
        let workloads = api(&restarter, "apps/v1", kind, &namespace);
        let first = all.get("web").await.unwrap();
        // The policy is in force some time after its creation.
        // Each attempt is a different change, because the first ones may be admitted.
        let mut seconds = 0;
        eventually("a change to be refused", async || {
            seconds += 1;
            let change = json!({"spec": {"minReadySeconds": seconds}});
            let error = patch(&workloads, change).await.err()?.to_string();
            error.contains(REFUSAL).then_some(())
        })
        .await;
        for change in [
            json!({"spec": {"minReadySeconds": 599}}),
            json!({"spec": {"template": {"spec": {"serviceAccountName": "admin"}}}}),
            json!({"spec": {"template": {"spec": {"hostNetwork": true}}}}),
            json!({"spec": {"template": {"metadata": {"annotations": {"team": "payments"}}}}}),
            json!({"spec": {"template": {"metadata": {"annotations": {"team": null}}}}}),
            json!({"spec": {"template": {"metadata": {"labels": {"team": "payments"}}}}}),
            json!({"spec": {"template": {"metadata": {"finalizers": ["example.com/stuck"]}}}}),
            json!({"metadata": {"annotations": {"team": "payments"}}}),
            json!({"metadata": {"labels": {"team": "payments"}}}),
            json!({"metadata": {"finalizers": ["example.com/stuck"]}}),
        ] {
            let error = patch(&workloads, change.clone()).await.expect_err(&change.to_string()).to_string();
            assert!(error.contains(REFUSAL), "{kind} {change}: {error}");
        }
        let after = patch(&workloads, restart("secret:db=@1")).await.unwrap();
        assert_eq!(after.data["spec"]["template"]["metadata"]["annotations"][MARKER], "secret:db=@1");
        // The administrator is not limited.
        patch(&all, json!({"metadata": {"labels": {"team": "payments"}}})).await.unwrap();
        assert_ne!(all.get("web").await.unwrap().metadata.generation, first.metadata.generation);
    }
}

#[tokio::test]
async fn the_restarter_may_only_restart_argo_rollouts() {
    let cluster = Cluster::new("restarter-rights-argo").await;
    cluster.with_argo().await;
    let (restarter, account) = install(cluster.plane, &cluster.namespace).await;
    let all = api(&cluster.client, ARGO, "Rollout", &cluster.namespace);
    create(&all, rollout("web", "db")).await.unwrap();
    let rollouts = api(&restarter, ARGO, "Rollout", &cluster.namespace);
    let mut replicas = 1;
    eventually("a change to be refused", async || {
        replicas += 1;
        let error = patch(&rollouts, json!({"spec": {"replicas": replicas}})).await.err()?.to_string();
        error.contains(REFUSAL).then_some(())
    })
    .await;
    for change in [
        json!({"spec": {"replicas": 599}}),
        json!({"spec": {"paused": true}}),
        json!({"spec": {"workloadRef": {"kind": "Deployment", "name": "other"}}}),
        json!({"spec": {"template": {"spec": {"serviceAccountName": "admin"}}}}),
        json!({"spec": {"template": {"metadata": {"annotations": {"team": "payments"}}}}}),
        json!({"metadata": {"annotations": {"team": "payments"}}}),
        json!({"metadata": {"labels": {"team": "payments"}}}),
    ] {
        let error = patch(&rollouts, change.clone()).await.expect_err(&change.to_string()).to_string();
        assert!(error.contains(REFUSAL), "{change}: {error}");
    }
    let asked = "2026-11-27T00:00:00Z";
    let restart =
        json!({"metadata": {"annotations": {MARKER: "secret:db=@1"}}, "spec": {"restartAt": asked}});
    let after = patch(&rollouts, restart).await.unwrap();
    assert_eq!(after.data["spec"]["restartAt"], asked);
    // The permissions are for the whole cluster.
    for kind in
        ["validatingadmissionpolicybinding", "validatingadmissionpolicy", "clusterrolebinding", "clusterrole"]
    {
        run(cluster.plane.kubectl().unwrap().args(["delete", kind, &account, "--ignore-not-found"]));
    }
    cluster.end().await;
}

#[tokio::test]
async fn the_restarter_reads_no_secrets_by_default() {
    let (_, restarter, namespace) = restarter().await;
    let secrets = api(&restarter, "v1", "Secret", &namespace);
    eventually("the rights of the role", async || {
        api(&restarter, "v1", "Pod", &namespace).list(&ListParams::default()).await.ok()
    })
    .await;
    for error in [
        secrets.list(&ListParams::default()).await.unwrap_err(),
        secrets.get("any").await.unwrap_err(),
        secrets.list_metadata(&ListParams::default()).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("forbidden"), "{error}");
    }
    let pods = api(&restarter, "v1", "Pod", &namespace);
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "image": "app"}]}});
    assert!(create(&pods, pod).await.unwrap_err().to_string().contains("forbidden"));
}
