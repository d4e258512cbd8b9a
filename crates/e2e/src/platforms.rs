//! Clusters that assign user ids, and namespaces with a quota.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    app::{pod, serving, status, two_secrets_and},
    injection::{self, APP},
    kubectl::wait_for,
    running::AppPod,
    world::World,
};

/// A uid as `OpenShift` assigns it to a namespace.
const ASSIGNED_UID: u32 = 1_000_650_000;
const QUOTA: &str = "scaivault-e2e";

/// Pods after `OpenShift`'s admission: `runAsNonRoot`, and a uid of the namespace for the
/// application.
pub(super) fn assigned_users(world: &World<'_>) -> Result<String> {
    let cases = [
        // The agent uses the uid that all containers share.
        ("assigned-init", json!({"pattern": "init"})),
        ("assigned-sidecar", json!({"pattern": "sidecar"})),
        // The agent's uid is left to the platform, here to the image.
        ("unset-init", json!({"pattern": "init", "run-as-user": "unset"})),
        ("unset-sidecar", json!({"pattern": "sidecar", "run-as-user": "unset"})),
    ];
    for (name, annotations) in &cases {
        let mut pod = pod(name, &serving(world, &two_secrets_and(annotations)));
        pod["spec"]["securityContext"] =
            json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        pod["spec"]["containers"][0]["securityContext"]["runAsUser"] = json!(ASSIGNED_UID);
        world.kubectl.create(World::APPS, &pod)?;
    }
    for (name, _) in &cases {
        let pod = AppPod::app(*name);
        pod.wait_until_ready(world)?;
        pod.said(world, "start db.json: ")?;
        let object = pod.object(world)?;
        let agent =
            ["scaivault-init", "scaivault-sidecar"].into_iter().find_map(|name| status(&object, name));
        if agent.is_none_or(|agent| agent["restartCount"] != 0) {
            bail!("the agent of {name} did not start at once: {object}");
        }
    }
    world.kubectl.delete(World::APPS, &["pod", cases[0].0, cases[1].0, cases[2].0, cases[3].0])?;
    Ok("pods with runAsNonRoot and without a known uid start in both patterns".to_owned())
}

/// A quota rejects pods with a container without limits.
pub(super) fn quota(world: &World<'_>) -> Result<String> {
    let hard = json!({
        "limits.cpu": "4", "limits.memory": "4Gi", "requests.cpu": "4", "requests.memory": "4Gi",
        "limits.ephemeral-storage": "4Gi", "requests.ephemeral-storage": "4Gi",
    });
    let quota = json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": QUOTA},
        "spec": {"hard": hard},
    });
    world.kubectl.create(World::WORKLOADS, &quota)?;
    wait_for("the quota is counted", Duration::from_mins(1), || {
        let args = ["get", "resourcequota", QUOTA, "--namespace", World::WORKLOADS, "--output=json"];
        Ok(world.kubectl.json(&args)?["status"]["used"].as_object().map(drop))
    })?;
    let annotations = json!({"inject-secret-db.json": "environments/production/billing/database"});
    let amounts = json!({"cpu": "100m", "memory": "64Mi", "ephemeral-storage": "64Mi"});
    let mut limited = injection::pod(&annotations);
    limited["metadata"]["name"] = json!("limited");
    limited["spec"]["containers"][0]["resources"] = json!({"limits": amounts, "requests": amounts});
    let mut unlimited = injection::pod(&annotations);
    unlimited["metadata"]["name"] = json!("unlimited");
    // The quota is enforced.
    let Err(refused) = world.kubectl.create(World::WORKLOADS, &unlimited) else {
        bail!("a pod without limits was created in spite of the quota");
    };
    if !format!("{refused:#}").contains("must specify limits.cpu") {
        return Err(refused.context("another reason than the quota"));
    }
    for resource in ["cpu", "memory"] {
        let mut burstable = limited.clone();
        burstable["metadata"]["name"] = json!(format!("burstable-{resource}"));
        burstable["spec"]["containers"][0]["resources"]["requests"][resource] = json!("32m");
        if resource == "memory" {
            burstable["spec"]["containers"][0]["resources"]["requests"][resource] = json!("32Mi");
        }
        world.kubectl.create(World::WORKLOADS, &burstable)?;
    }
    world.kubectl.create(World::WORKLOADS, &limited)?;
    let created: Value =
        world.kubectl.json(&["get", "pod", "limited", "--namespace", World::WORKLOADS, "--output=json"])?;
    injection::injected(&created).map_err(|missing| anyhow::anyhow!("the pod {missing}"))?;
    world.kubectl.delete(World::WORKLOADS, &["pod", "limited", "burstable-cpu", "burstable-memory"])?;
    world.kubectl.delete(World::WORKLOADS, &["resourcequota", QUOTA])?;
    Ok(format!("a pod whose container {APP} has limits is admitted, one without is not"))
}
