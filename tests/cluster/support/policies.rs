//! Defines and applies policies in a control plane.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use kube::api::ListParams;
use scaivault_testkit::control_plane::ControlPlane;
use serde_json::Value;

use super::{cluster_api, eventually};

/// Applies the `CustomResourceDefinition`. Every test that needs policies may call it.
pub(crate) async fn define(plane: &ControlPlane) {
    apply(plane, scaivault_policy::definition());
    let client = plane.client().await.unwrap();
    let policies = cluster_api(&client, scaivault_policy::VERSION, scaivault_policy::KIND);
    eventually("policies to be served", async || policies.list(&ListParams::default()).await.ok().map(drop))
        .await;
}

/// Applies a cluster-scoped object.
pub(crate) fn apply(plane: &ControlPlane, object: &Value) {
    let mut kubectl: Command = plane.kubectl().unwrap();
    kubectl.args(["apply", "--server-side", "--force-conflicts", "--filename=-"]);
    let mut child = kubectl.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{object}");
}
