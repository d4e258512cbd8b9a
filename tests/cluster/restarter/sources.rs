//! The sources of versions: ScaiVault, CSI volumes, and Argo Rollouts with their own controller.

use std::{sync::Arc, time::Duration};

use kube::api::{Patch, PatchParams};
use scaivault_devserver::{DevServer, Issuer, Route, Seed, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    api, create, eventually, policies,
    restarter::{ARGO, Cluster, MARKER, Restarter, Way, definition, manifest, size},
};

const AUTO: &str = "scaivault.scailabs.ai/restart";

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

/// A `ScaiVault` with a connection that a test can cut, and the controller's flags for it.
struct Vault {
    server: DevServer,
    way: Way,
    flags: Vec<String>,
    _directory: TempDir,
}

impl Vault {
    async fn start(seed: &str) -> Self {
        let issuer = Arc::new(Issuer::generate().unwrap());
        let server = DevServer::start(Settings::for_tests(Seed::new(seed).unwrap(), &issuer)).await.unwrap();
        let now = jiff::Timestamp::now();
        let token = issuer.mint("scaivault-system", "restarter", "scaivault", now, 3600).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let token_file = directory.path().join("token");
        std::fs::write(&token_file, token).unwrap();
        let way = Way::to(server.address()).await;
        let flags =
            vec![format!("--url=http://{}", way.address()), format!("--token-file={}", token_file.display())];
        Self { server, way, flags, _directory: directory }
    }

    async fn restarter(&self, cluster: &Cluster, flags: &[&str]) -> Restarter {
        let all: Vec<&str> = self.flags.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        Restarter::start(&cluster.plane.kubeconfig_path(), &all).await
    }

    fn rotate(&self, path: &str) -> u64 {
        let data = json!({"password": "never-in-a-log"}).as_object().cloned().unwrap();
        self.server.handle().rotate(&path.parse().unwrap(), data)
    }

    async fn until_subscribed(&self) {
        let handle = self.server.handle();
        eventually("a subscription", async || (handle.subscriptions() > 0).then_some(())).await;
    }
}

fn accepted(record: &Value) -> String {
    record["accepted"][0]["version"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_rotation_restarts_workloads_that_read_at_start() {
    let (vault, cluster) = (Vault::start(SEED).await, Cluster::new("restarter-scaivault").await);
    let deployments = api(&cluster.client, "apps/v1", "Deployment", &cluster.namespace);
    let sidecar = json!({"scaivault.scailabs.ai/pattern": "sidecar"});
    for manifest in [
        injected("init", PATH, json!({})),
        injected("sidecar", PATH, sidecar),
        injected("other", "environments/production/web/other", json!({})),
    ] {
        create(&deployments, manifest).await.unwrap();
    }
    let restarter = vault.restarter(&cluster, &[]).await;
    let before = cluster.until_known("Deployment", "init").await;
    cluster.until_known("Deployment", "other").await;
    vault.until_subscribed().await;
    vault.rotate(PATH);
    let record = cluster.until_restarted("Deployment", "init", 1).await;
    assert!(accepted(&record).starts_with("2@") && accepted(&before).starts_with("1@"), "{before} {record}");
    let template = &cluster.get("Deployment", "init").await["spec"]["template"];
    assert_eq!(
        template["metadata"]["annotations"][MARKER],
        format!("scaivault:{PATH}={}", accepted(&record))
    );
    for name in ["sidecar", "other"] {
        let template = &cluster.get("Deployment", name).await["spec"]["template"];
        assert!(template["metadata"]["annotations"][MARKER].is_null(), "{name}: {template}");
    }
    assert_eq!(cluster.replica_sets("init").await, 2);
    assert!(!restarter.terminate().await.contains("never-in-a-log"), "no value is read");
    cluster.end().await;
}

#[tokio::test]
async fn a_rotation_while_scaivault_is_away_restarts_once() {
    let (vault, cluster) = (Vault::start(SEED).await, Cluster::new("restarter-vault-away").await);
    let deployments = api(&cluster.client, "apps/v1", "Deployment", &cluster.namespace);
    create(&deployments, injected("init", PATH, json!({}))).await.unwrap();
    // Without events, the next round would be too late for this test.
    let restarter = vault.restarter(&cluster, &["--poll-interval=10m"]).await;
    cluster.until_known("Deployment", "init").await;
    restarter.until_has("vault_events_connected", true).await;
    vault.way.cut();
    restarter.until_has("vault_events_connected", false).await;
    // Native Secrets are still followed.
    cluster.secret("db", json!({AUTO: "auto"})).await;
    cluster.workload("Deployment", "native", "db", json!({})).await;
    cluster.until_known("Deployment", "native").await;
    vault.rotate(PATH);
    cluster.rotate("db").await;
    cluster.until_restarted("Deployment", "native", 1).await;
    assert_eq!(cluster.replica_sets("init").await, 1, "the last version is kept");
    vault.way.restore();
    let record = cluster.until_restarted("Deployment", "init", 1).await;
    assert!(accepted(&record).starts_with("2@"), "{record}");
    assert_eq!(cluster.replica_sets("init").await, 2);
    restarter.until_has("vault_events_connected", true).await;
    vault.rotate(PATH);
    cluster.until_restarted("Deployment", "init", 2).await;
    assert_eq!(cluster.replica_sets("init").await, 3);
    restarter.terminate().await;
    cluster.end().await;
}

/// Tags, descriptions and owners change the time of a secret's last change, but not its version.
#[tokio::test]
async fn editing_the_tags_of_a_secret_restarts_nothing() {
    let (vault, cluster) = (Vault::start(SEED).await, Cluster::new("restarter-tags").await);
    let deployments = api(&cluster.client, "apps/v1", "Deployment", &cluster.namespace);
    create(&deployments, injected("init", PATH, json!({}))).await.unwrap();
    let restarter = vault.restarter(&cluster, &["--poll-interval=2s", "--no-events"]).await;
    cluster.until_known("Deployment", "init").await;
    let handle = vault.server.handle();
    // For the first version and for a later one.
    for restarts in 0..2 {
        if restarts > 0 {
            vault.rotate(PATH);
        }
        let before = cluster
            .until_record("Deployment", "init", |record| {
                let count = record["restarts"].as_array().map_or(0, Vec::len);
                record["phase"] == "Current" && count == restarts
            })
            .await;
        handle.advance(Duration::from_mins(5));
        handle.describe(&PATH.parse().unwrap());
        let calls = handle.requests(Route::ReadVersions);
        handle.requested(Route::ReadVersions, calls + 4).await;
        let after = cluster.record("Deployment", "init").await;
        assert_eq!(accepted(&after), accepted(&before));
        assert_eq!(cluster.replica_sets("init").await, 1 + restarts);
    }
    restarter.terminate().await;
    cluster.end().await;
}

/// Events of many rotations in a short time: none is lost, and each workload is restarted once.
#[tokio::test]
async fn a_storm_of_scaivault_events_restarts_each_workload_once() {
    let (rotations, workloads) = (size("RESTARTER_STORM", 200), 10);
    let path = |number: usize| format!("environments/production/web/s{number}");
    let secrets: Vec<_> =
        (0..workloads).map(|number| format!("  {}: {{data: {{a: b}}}}\n", path(number))).collect();
    let vault = Vault::start(&format!("{SEED}{}", secrets.concat())).await;
    let cluster = Cluster::new("restarter-events").await;
    let deployments = api(&cluster.client, "apps/v1", "Deployment", &cluster.namespace);
    for number in 0..workloads {
        create(&deployments, injected(&format!("web-{number}"), &path(number), json!({}))).await.unwrap();
    }
    let flags = ["--poll-interval=10m", "--debounce=10s", "--max-wait=10m"];
    let restarter = vault.restarter(&cluster, &flags).await;
    for number in 0..workloads {
        cluster.until_known("Deployment", &format!("web-{number}")).await;
    }
    restarter.until_has("vault_events_connected", true).await;
    let mut last = vec![0; workloads];
    for rotation in 0..rotations {
        last[rotation % workloads] = vault.rotate(&path(rotation % workloads));
        // The controller receives some events in between.
        assert!(restarter.get("/livez").await.starts_with("HTTP/1.1 200 "));
    }
    for (number, last) in last.into_iter().enumerate() {
        let name = format!("web-{number}");
        let record = cluster.until_restarted("Deployment", &name, 1).await;
        assert!(accepted(&record).starts_with(&format!("{last}@")), "{name}: {last} {record}");
        assert_eq!(cluster.replica_sets(&name).await, 2, "{name}");
    }
    restarter.terminate().await;
    cluster.end().await;
}

const CSI: &str = "secrets-store.csi.x-k8s.io/v1";

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
    cluster.with_argo().await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    cluster.rollout("web", "db").await;
    let rollouts = api(&cluster.client, ARGO, "Rollout", &cluster.namespace);
    let template = rollouts.get("web").await.unwrap().data["spec"]["template"].clone();
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &[]).await;
    cluster.until_known("Rollout", "web").await;
    for restarts in 1..=2 {
        cluster.rotate("db").await;
        cluster.until_record("Rollout", "web", |record| record["phase"] == "Restarting").await;
        let asked = cluster.play_argo("web").await;
        cluster.until_restarted("Rollout", "web", restarts).await;
        let after = rollouts.get("web").await.unwrap();
        assert_eq!(
            (&after.data["spec"]["template"], &after.data["spec"]["restartAt"]),
            (&template, &asked.into())
        );
        assert!(after.metadata.annotations.unwrap().contains_key(MARKER));
    }
    restarter.terminate().await;
    cluster.end().await;
}
