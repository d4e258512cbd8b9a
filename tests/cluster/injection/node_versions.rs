//! The available features depend on the oldest version of the API server and the nodes.

use kube::api::{Patch, PatchParams};
use scaivault_testkit::{
    control_plane::{ControlPlane, Options},
    inspect,
};
use serde_json::{Value, json};

use super::{
    patterns::injector_annotations,
    team::{VARIABLES_SINCE, bare, minor_version, template},
};
use crate::support::{
    api, chain, cluster_api, create, eventually,
    injector::{Injector, tls_directory},
    install, object,
};

/// The log message when a different version was detected.
const FOUND: &str = "using the oldest Kubernetes version of API server and kubelets";

/// Uses its own control plane, because nodes are shared by all tests. The injector has the
/// permissions of the chart's service account.
#[tokio::test]
async fn the_oldest_node_decides_whether_variables_can_be_injected() {
    let plane =
        ControlPlane::start(&Options::default()).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let client = plane.client().await.unwrap();
    let namespace = plane.namespace("scaivault-system").await.unwrap();
    let (tls, authority) = tls_directory(&["localhost"]);
    let balancer = scaivault_testkit::balancer::Balancer::start().await.unwrap();
    let values = json!({
        "webhook": {"url": format!("https://localhost:{}", balancer.address().port())},
        "certificates": {"mode": "files", "files": {"caBundle": authority}},
    });
    install::install(&plane, &namespace, &values);
    let kubeconfig = plane.kubeconfig_for_service_account(&namespace, install::FULLNAME).await.unwrap();
    let flags = [
        "--cluster".into(),
        format!("--namespace={namespace}"),
        format!("--tls-dir={}", tls.path().display()),
    ];
    let start = async || {
        let injector = Injector::start(Some(&kubeconfig), &flags).await;
        balancer.set_backends([injector.address]);
        injector
    };

    let nodes = cluster_api(&client, "v1", "Node");
    let node = json!({"metadata": {"name": "node"}});
    create(&nodes, node).await.unwrap();
    let set_version = async |version: &str| {
        let information = json!({"kubeletVersion": version, "operatingSystem": "linux", "architecture": "amd64",
            "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
            "machineID": "", "osImage": "", "systemUUID": ""});
        let patch = Patch::Merge(json!({"status": {"nodeInfo": information}}));
        nodes.patch_status("node", &PatchParams::default(), &patch).await.unwrap();
    };
    let team = plane.namespace("team").await.unwrap();
    let pods = api(&client, "v1", "Pod", &team);
    let dry_run = kube::api::PostParams { dry_run: true, ..Default::default() };
    let asks = |key: &str, value: &str| {
        object(bare("app", &template("app", &injector_annotations(&[(key, value)]))))
    };
    let file = asks("inject-secret-db", "billing/db");
    let variable = asks("inject-env-KEY", "billing/stripe#secret_key");

    let minor = minor_version(&client).await;
    set_version(&format!("v1.{minor}.0")).await;
    let injector = start().await;
    eventually("an injected pod", async || {
        let pod = pods.create(&dry_run, &file).await.ok()?;
        inspect::injector_annotation(&serde_json::to_value(pod).unwrap(), "status").map(drop)
    })
    .await;
    // Once it is ready, it has detected the version.
    assert_eq!(found(&injector).await["kube_version"], format!("1.{minor}"));
    let made = pods.create(&dry_run, &variable).await;
    assert_eq!(made.is_ok(), minor >= VARIABLES_SINCE, "{made:?}");
    if let Ok(pod) = made {
        let pod = serde_json::to_value(pod).unwrap();
        assert_eq!(inspect::env_names(inspect::app_container(&pod, "app").unwrap()), ["KEY"]);
    }
    drop(injector);

    set_version("v1.31.9-eks-1a2b3c").await;
    let injector = start().await;
    assert_eq!(found(&injector).await["kube_version"], "1.31");
    let refused = pods.create(&dry_run, &variable).await.unwrap_err().to_string();
    assert!(refused.contains("inject-env-KEY") && refused.contains("1.31"), "{refused}");
    pods.create(&dry_run, &file).await.unwrap();
}

async fn found(injector: &Injector) -> Value {
    eventually("the version in the log", async || injector.event(FOUND)).await
}
