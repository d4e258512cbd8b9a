//! Simulated nodes.

use kube::{
    Client,
    api::{Api, DynamicObject, ListParams, PostParams},
};
use serde_json::json;

use super::{ControlPlaneError, core_v1, object};

/// The life cycle of nodes and pods in kwok.
pub(super) const STAGES: &str = include_str!("stages.yaml");

/// Creates nodes called `node-0` and so on, whose kubelet has the API server's version.
pub(super) async fn create(client: &Client, number: usize) -> Result<(), ControlPlaneError> {
    let version =
        client.apiserver_version().await.map_err(ControlPlaneError::api("read the server's version"))?;
    let nodes: Api<DynamicObject> = Api::all_with(client.clone(), &core_v1("Node"));
    for index in 0..number {
        let name = format!("node-{index}");
        let node = object(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
            "status": {"nodeInfo": {
                "kubeletVersion": version.git_version,
                "operatingSystem": "linux", "architecture": "amd64",
                "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
                "machineID": "", "osImage": "", "systemUUID": "",
            }},
        }));
        let created = nodes.create(&PostParams::default(), &node).await;
        created.map_err(ControlPlaneError::api("make a node"))?;
    }
    Ok(())
}

/// Whether pods can be scheduled on every node.
pub(super) async fn are_ready(client: &Client) -> bool {
    let nodes: Api<DynamicObject> = Api::all_with(client.clone(), &core_v1("Node"));
    let Ok(nodes) = nodes.list(&ListParams::default()).await else { return false };
    nodes.iter().all(|node| {
        let conditions = node.data["status"]["conditions"].as_array();
        let is_ready = conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        // The node controller removes them when the node is ready.
        let taints = node.data["spec"]["taints"].as_array();
        is_ready && taints.is_none_or(Vec::is_empty)
    })
}
