//! The chart, installed by the real helm.

use std::path::Path;

use kube::api::{DeleteParams, Patch, PatchParams};
use scaivault_testkit::{balancer::Balancer, control_plane::ControlPlane};
use serde_json::{Value, json};

use super::{api, cluster_api, create, run};

/// The name of everything that the chart makes.
pub(crate) const FULLNAME: &str = "scaivault-injector";

/// Installs or upgrades the chart in a namespace with these values, as a user does.
///
/// The rules of both configurations hold in the whole cluster: a test that installs the chart restricts them by its values, or has a
/// control plane of its own.
pub(crate) fn install(plane: &ControlPlane, namespace: &str, values: &Value) {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts").join(FULLNAME);
    let file = plane.path().join(format!("{namespace}-values.json"));
    std::fs::write(&file, values.to_string()).unwrap();
    let mut helm = plane.helm().unwrap();
    // The definition of policies is one for the cluster, and belongs to the release that installed it first.
    helm.args(["upgrade", "--install", FULLNAME, "--set", "policies.installCrd=false"]).arg(&chart);
    helm.args(["--namespace", namespace, "--create-namespace", "--values"]).arg(&file);
    run(&mut helm);
}

/// Makes the API server reach a balancer where it would reach the pods behind the Service `name`: nothing routes to the address of
/// an ordinary Service here, so it becomes one that names `localhost`, and the webhooks' configurations of that name, the balancer's port.
pub(crate) async fn route(plane: &ControlPlane, namespace: &str, name: &str, balancer: &Balancer) {
    let client = plane.client().await.unwrap();
    let services = api(&client, "v1", "Service", namespace);
    services.delete(name, &DeleteParams::default()).await.unwrap();
    let localhost =
        json!({"metadata": {"name": name}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    create(&services, localhost).await.unwrap();
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let configurations = cluster_api(&client, "admissionregistration.k8s.io/v1", kind);
        let Some(configuration) = configurations.get_opt(name).await.unwrap() else { continue };
        let webhooks = configuration.data["webhooks"].as_array().unwrap().iter();
        let ports = webhooks.map(|webhook| {
            json!({"name": webhook["name"], "clientConfig": {"service": {"port": balancer.address().port()}}})
        });
        // Lists of webhooks are merged by their names; what stands beside the port stays.
        let patch = Patch::Strategic(json!({"webhooks": ports.collect::<Vec<_>>()}));
        configurations.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }
}

/// Takes away what [`install`] made.
pub(crate) fn uninstall(plane: &ControlPlane, namespace: &str) {
    run(plane.helm().unwrap().args(["uninstall", FULLNAME, "--namespace", namespace, "--wait"]));
}
