//! The result of creating annotated workloads.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value, json};

use super::{kubectl::wait_for, world::World};

pub(super) const PREFIX: &str = "scaivault.scailabs.ai/";
/// No such scheduler runs, so the pods are created and stay pending, with any image.
const NO_SCHEDULER: &str = "scaivault-e2e";
/// The name of the application's container.
pub(super) const APP: &str = "app";

/// The pod of an annotated Deployment, created by the cluster's own controllers, is injected.
pub(super) fn deployment(world: &World<'_>) -> Result<String> {
    let template = pod(&json!({"inject-secret-db.json": "environments/production/billing/database"}));
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": APP},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {APP: APP}},
            "template": {"metadata": template["metadata"], "spec": template["spec"]},
        },
    });
    world.kubectl.create(World::WORKLOADS, &deployment)?;
    let selector = format!("{APP}={APP}");
    let created = wait_for("the Deployment has a pod", Duration::from_mins(1), || {
        let pods =
            world.kubectl.items(&["pods", "--namespace", World::WORKLOADS, "--selector", &selector])?;
        Ok(pods.into_iter().next())
    })?;
    injected(&created).map_err(|missing| anyhow!("the pod of the Deployment {missing}"))?;
    Ok("the pod of a Deployment has agent, volumes and mount".to_owned())
}

/// A pod that opts out is not changed.
pub(super) fn opted_out(world: &World<'_>) -> Result<String> {
    let mut pod = pod(&json!({
        "inject": "false",
        "inject-secret-db.json": "environments/production/billing/database",
    }));
    pod["metadata"]["name"] = json!("opted-out");
    world.kubectl.create(World::WORKLOADS, &pod)?;
    let created =
        world.kubectl.json(&["get", "pod", "opted-out", "--namespace", World::WORKLOADS, "--output=json"])?;
    match injected(&created) {
        Err(_) => Ok("a pod with inject: \"false\" is left alone".to_owned()),
        Ok(()) => bail!("a pod with inject: \"false\" was injected"),
    }
}

/// A mistake is rejected with its fix.
pub(super) fn mistake(world: &World<'_>) -> Result<String> {
    let wrong = pod(&json!({
        "inject-secret-db.json": "environments/production/billing/database",
        "pattern": "cron",
    }));
    let Err(error) = world.kubectl.create(World::WORKLOADS, &wrong) else {
        bail!("a pod with a wrong annotation was created");
    };
    let said = format!("{error:#}");
    if !said.contains("[invalid-value]") {
        bail!("a pod with a wrong annotation was refused, but not for it: {said}");
    }
    Ok("a pod with a wrong annotation is refused with the reason".to_owned())
}

/// Annotations whose keys get the injector's prefix.
pub(super) fn prefixed(annotations: &Value) -> Map<String, Value> {
    let annotations = annotations.as_object().into_iter().flatten();
    annotations.map(|(key, value)| (format!("{PREFIX}{key}"), value.clone())).collect()
}

/// A pod with these annotations (keys without prefix) and a generated name.
pub(super) fn pod(annotations: &Value) -> Value {
    let annotations = prefixed(annotations);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "pod-", "labels": {APP: APP}, "annotations": annotations},
        "spec": {
            "schedulerName": NO_SCHEDULER,
            "containers": [{"name": APP, "image": "registry.k8s.io/pause:3.10"}],
        },
    })
}

/// Checks that a pod has the injection of one secret by an init container; the error is what is
/// missing.
pub(super) fn injected(pod: &Value) -> Result<(), String> {
    let named = |list: &str, key: &str, name: &str| {
        let items = pod.pointer(list).and_then(Value::as_array);
        items.and_then(|items| items.iter().find(|item| item[key] == name)).cloned()
    };
    let status = format!("{PREFIX}status");
    if pod["metadata"]["annotations"][&status] != "injected" {
        return Err(format!("has no annotation {status}: injected"));
    }
    named("/spec/initContainers", "name", "scaivault-init").ok_or("has no init container scaivault-init")?;
    let secrets =
        named("/spec/volumes", "name", "scaivault-secrets").ok_or("has no volume scaivault-secrets")?;
    if secrets["emptyDir"]["medium"] != "Memory" {
        return Err("has its secrets not in memory".to_owned());
    }
    named("/spec/volumes", "name", "scaivault-token").ok_or("has no volume scaivault-token")?;
    let app = named("/spec/containers", "name", APP).ok_or("has lost its container")?;
    let mounts = app["volumeMounts"].as_array();
    let mount = mounts.and_then(|mounts| mounts.iter().find(|mount| mount["name"] == "scaivault-secrets"));
    match mount {
        None => Err("does not mount its secrets".to_owned()),
        Some(mount) if mount["readOnly"] != true => Err("can write its secrets".to_owned()),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Value {
        let mut pod = pod(&json!({"inject-secret-a": "b"}));
        pod["metadata"]["annotations"][format!("{PREFIX}status")] = json!("injected");
        pod["spec"]["initContainers"] = json!([{"name": "scaivault-init"}]);
        pod["spec"]["volumes"] = json!([
            {"name": "scaivault-secrets", "emptyDir": {"medium": "Memory"}},
            {"name": "scaivault-token"},
        ]);
        pod["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "other"}, {"name": "scaivault-secrets", "readOnly": true}]);
        pod
    }

    #[test]
    fn a_complete_injection_is_seen() {
        assert_eq!(injected(&complete()), Ok(()));
    }

    #[test]
    fn every_missing_part_is_seen() {
        for (pointer, without, missing) in [
            ("/metadata/annotations", json!({}), "status"),
            ("/spec/initContainers/0/name", json!("mine"), "init container"),
            ("/spec/volumes/0/name", json!("mine"), "volume scaivault-secrets"),
            ("/spec/volumes/0/emptyDir", json!({}), "memory"),
            ("/spec/volumes/1/name", json!("mine"), "volume scaivault-token"),
            ("/spec/containers/0/name", json!("mine"), "lost"),
            ("/spec/containers/0/volumeMounts/1/name", json!("mine"), "mount"),
            ("/spec/containers/0/volumeMounts/1/readOnly", json!(false), "write"),
        ] {
            let mut pod = complete();
            *pod.pointer_mut(pointer).unwrap() = without;
            let error = injected(&pod).unwrap_err();
            assert!(error.contains(missing), "{pointer}: {error}");
        }
    }
}
