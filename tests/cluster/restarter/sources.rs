//! Where versions come from: ScaiVault, CSI volumes, and Argo Rollouts as a kind of their own controller.

use std::sync::Arc;

use kube::{
    api::{Patch, PatchParams},
    core::CustomResourceExt as _,
};
use scaivault_devserver::{DevServer, Issuer, Seed, Settings};
use scaivault_restarter::RotationRollout;
use serde_json::{Value, json};

use crate::support::{
    api, create, eventually, policies,
    restarter::{Cluster, MARKER, Restarter, manifest},
};

const SEED: &str = r#"
policies:
  restarter: [{path_pattern: "environments/**", permissions: [list]}]
identities:
  - {id: "sa:restarter", service_accounts: [scaivault-system/restarter], policies: [restarter]}
secrets:
  environments/production/web/db: {data: {password: first}}
  environments/production/web/other: {data: {password: first}}
"#;
const PATH: &str = "environments/production/web/db";

/// A Deployment whose pods the injector would give this secret.
#[expect(clippy::needless_pass_by_value, reason = "callers write JSON in place")]
fn injected(name: &str, path: &str, annotations: Value) -> Value {
    let mut deployment = manifest("Deployment", name, "none", json!({}));
    let mut all = json!({"scaivault.scailabs.ai/inject-secret-db": path});
    all.as_object_mut().unwrap().extend(annotations.as_object().unwrap().clone());
    deployment["spec"]["template"]["metadata"]["annotations"] = all;
    deployment["spec"]["template"]["spec"]["containers"][0]["env"] = json!([]);
    deployment
}

#[tokio::test]
async fn a_rotation_in_scaivault_restarts_what_reads_at_start() {
    let issuer = Arc::new(Issuer::generate().unwrap());
    let vault = DevServer::start(Settings::for_tests(Seed::new(SEED).unwrap(), &issuer)).await.unwrap();
    let token =
        issuer.mint("scaivault-system", "restarter", "scaivault", jiff::Timestamp::now(), 3600).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let token_file = directory.path().join("token");
    std::fs::write(&token_file, token).unwrap();

    let cluster = Cluster::new("restarter-scaivault").await;
    let deployments = api(&cluster.client, "apps/v1", "Deployment", &cluster.namespace);
    let sidecar = json!({"scaivault.scailabs.ai/pattern": "sidecar"});
    for manifest in [
        injected("init", PATH, json!({})),
        injected("sidecar", PATH, sidecar),
        injected("other", "environments/production/web/other", json!({})),
    ] {
        create(&deployments, manifest).await.unwrap();
    }
    let flags = [format!("--url={}", vault.url()), format!("--token-file={}", token_file.display())];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &flags).await;
    let before = cluster.until_known("Deployment", "init").await;
    cluster.until_known("Deployment", "other").await;
    eventually("a subscription", async || (vault.handle().subscriptions() > 0).then_some(())).await;

    // Another second, so that the new version is later than the pods.
    let path = PATH.parse().unwrap();
    let data = json!({"password": "never-in-a-log"}).as_object().cloned().unwrap();
    let version = |record: &Value| record["accepted"][0]["version"].as_str().unwrap().to_owned();
    vault.handle().rotate(&path, data);
    let record = cluster.until_restarted("Deployment", "init", 1).await;
    assert!(version(&record).starts_with("2@") && version(&before).starts_with("1@"), "{before} {record}");
    let template = &cluster.get("Deployment", "init").await["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"][MARKER], format!("scaivault:{PATH}={}", version(&record)));
    for name in ["sidecar", "other"] {
        let template = &cluster.get("Deployment", name).await["spec"]["template"];
        assert!(template["metadata"]["annotations"][MARKER].is_null(), "{name}: {template}");
    }

    // ScaiVault goes away: what is known stays, and nothing is restarted.
    drop(vault);
    eventually("a failed call", async || {
        (restarter.metric("vault_events_connected").await == 0.0).then_some(())
    })
    .await;
    assert_eq!(cluster.replica_sets("init").await, 2);
    assert!(!restarter.log().contains("never-in-a-log"), "no value is read");
    restarter.terminate().await;
    cluster.end().await;
}

/// A CRD of another product with any content.
fn definition(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    let mut definition = serde_json::to_value(RotationRollout::crd()).unwrap();
    definition["metadata"]["name"] = format!("{plural}.{group}").into();
    definition["spec"] = json!({
        "group": group, "scope": "Namespaced",
        "names": {"kind": kind, "plural": plural, "singular": kind.to_ascii_lowercase(), "listKind": format!("{kind}List")},
        "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
    });
    definition
}

const CSI: &str = "secrets-store.csi.x-k8s.io/v1";
const ARGO: &str = "argoproj.io/v1alpha1";

#[tokio::test]
async fn csi_volumes_restart_once_all_pods_agree() {
    let cluster = Cluster::new("restarter-csi").await;
    for (kind, plural) in [
        ("SecretProviderClass", "secretproviderclasses"),
        ("SecretProviderClassPodStatus", "secretproviderclasspodstatuses"),
    ] {
        policies::apply(cluster.plane, &definition("secrets-store.csi.x-k8s.io", "v1", kind, plural));
    }
    let classes = api(&cluster.client, CSI, "SecretProviderClass", &cluster.namespace);
    let class = json!({"apiVersion": CSI, "kind": "SecretProviderClass", "metadata": {"name": "files"},
                       "spec": {"provider": "scaivault"}});
    eventually("the kind to be served", async || create(&classes, class.clone()).await.ok()).await;
    let mut deployment = manifest("Deployment", "web", "none", json!({}));
    deployment["spec"]["replicas"] = 2.into();
    deployment["spec"]["template"]["spec"]["containers"][0]["env"] = json!([]);
    deployment["spec"]["template"]["spec"]["volumes"] = json!([{"name": "files", "csi": {
        "driver": "secrets-store.csi.k8s.io", "readOnly": true, "volumeAttributes": {"secretProviderClass": "files"}}}]);
    create(&api(&cluster.client, "apps/v1", "Deployment", &cluster.namespace), deployment).await.unwrap();
    let pods = eventually("two pods", async || {
        let pods = crate::support::workload::pods(&cluster.client, &cluster.namespace, "web").await;
        (pods.len() == 2).then_some(pods)
    })
    .await;
    let statuses = api(&cluster.client, CSI, "SecretProviderClassPodStatus", &cluster.namespace);
    let write = async |pod: &Value, version: &str| {
        let (pod, namespace) = (pod["metadata"]["name"].as_str().unwrap(), &cluster.namespace);
        let name = format!("{pod}-{namespace}-files");
        let status = json!({
            "apiVersion": CSI, "kind": "SecretProviderClassPodStatus", "metadata": {"name": name},
            "status": {"podName": pod, "secretProviderClassName": "files", "mounted": true,
                       "objects": [{"id": "db", "version": version}]},
        });
        let params = PatchParams::apply("driver").force();
        eventually("the status", async || statuses.patch(&name, &params, &Patch::Apply(&status)).await.ok())
            .await;
    };
    for pod in &pods {
        write(pod, "1").await;
    }
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &[]).await;
    cluster.until_known("Deployment", "web").await;
    write(&pods[0], "2").await;
    cluster.until_record("Deployment", "web", |record| record["reason"] == "PodsDisagree").await;
    assert_eq!(cluster.replica_sets("web").await, 1);
    write(&pods[1], "2").await;
    eventually("the restart", async || (cluster.replica_sets("web").await == 2).then_some(())).await;
    restarter.terminate().await;
    cluster.end().await;
}

#[tokio::test]
async fn an_argo_rollout_is_restarted_without_a_new_template() {
    let cluster = Cluster::new("restarter-argo").await;
    policies::apply(cluster.plane, &definition("argoproj.io", "v1alpha1", "Rollout", "rollouts"));
    cluster.secret("db", json!({"scaivault.scailabs.ai/restart": "auto"})).await;
    let rollouts = api(&cluster.client, ARGO, "Rollout", &cluster.namespace);
    let mut rollout = manifest("Deployment", "web", "db", json!({}));
    (rollout["apiVersion"], rollout["kind"]) = (ARGO.into(), "Rollout".into());
    rollout["status"] = json!({"phase": "Healthy", "replicas": 1});
    let template = rollout["spec"]["template"].clone();
    eventually("the kind to be served", async || create(&rollouts, rollout.clone()).await.ok()).await;
    // A ReplicaSet as Argo's controller makes it, and its pod.
    let mut set = manifest("Deployment", "web", "db", json!({}));
    (set["kind"], set["metadata"]["name"]) = ("ReplicaSet".into(), "web-5d".into());
    set["spec"].as_object_mut().unwrap().remove("revisionHistoryLimit");
    set["spec"]["template"]["metadata"]["labels"]["rollouts-pod-template-hash"] = "5d".into();
    create(&api(&cluster.client, "apps/v1", "ReplicaSet", &cluster.namespace), set).await.unwrap();
    eventually("its pod", async || {
        let pods = crate::support::workload::pods(&cluster.client, &cluster.namespace, "web").await;
        (pods.len() == 1).then_some(())
    })
    .await;
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &[]).await;
    cluster.until_known("Rollout", "web").await;
    cluster.rotate("db").await;
    let after = eventually("restartAt", async || {
        let rollout = rollouts.get("web").await.unwrap();
        rollout.data["spec"]["restartAt"].is_string().then_some(rollout)
    })
    .await;
    assert_eq!(after.data["spec"]["template"], template);
    assert!(after.metadata.annotations.unwrap().contains_key(MARKER));
    restarter.terminate().await;
    cluster.end().await;
}
