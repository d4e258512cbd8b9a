//! Installs the chart with helm.

use std::path::Path;

use kube::api::{DeleteParams, Patch, PatchParams};
use scaivault_testkit::{balancer::Balancer, control_plane::ControlPlane};
use serde_json::{Value, json};

use super::{api, cluster_api, create, run};

/// The name of all the chart's objects.
pub(crate) const FULLNAME: &str = "scaivault-injector";

/// Installs or upgrades the chart in a namespace with these values, as a user does.
///
/// The rules of both configurations apply to the whole cluster: a test that installs the chart
/// restricts them by its values, or uses its own control plane.
pub(crate) fn install(plane: &ControlPlane, namespace: &str, values: &Value) {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts").join(FULLNAME);
    let file = plane.path().join(format!("{namespace}-values.json"));
    std::fs::write(&file, values.to_string()).unwrap();
    let mut helm = plane.helm().unwrap();
    // The `CustomResourceDefinition` of policies is shared by the cluster and belongs to the first
    // release.
    helm.args(["upgrade", "--install", FULLNAME, "--set", "policies.installCrd=false"]).arg(&chart);
    helm.args(["--namespace", namespace, "--create-namespace", "--values"]).arg(&file);
    run(&mut helm);
}

/// Makes the API server connect to a balancer instead of the pods behind the Service `name`.
/// Addresses of ordinary Services are not routed here, so the Service is changed to refer to
/// `localhost`, and the webhook configurations of that name to the balancer's port.
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
        // Lists of webhooks are merged by name; the other fields next to the port are preserved.
        let patch = Patch::Strategic(json!({"webhooks": ports.collect::<Vec<_>>()}));
        configurations.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }
}

/// Removes the release of [`install`].
pub(crate) fn uninstall(plane: &ControlPlane, namespace: &str) {
    run(plane.helm().unwrap().args(["uninstall", FULLNAME, "--namespace", namespace, "--wait"]));
}
