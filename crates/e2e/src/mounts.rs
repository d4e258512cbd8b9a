//! Pods with another volume below the mount path, like the tokens of cloud providers.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    app::{merge, pod, serving, two_secrets_and},
    injection::APP,
    running::AppPod,
    vault::seed,
    world::World,
};

/// Where EKS mounts the token of an IAM role.
const TOKEN_DIR: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
/// A single file below the mount path.
const LICENSE: &str = "/run/secrets/license.key";

/// The other webhook adds its mount before the injector, and after it, so that the API server calls
/// the injector again.
pub(super) fn below_the_path(world: &World<'_>) -> Result<String> {
    let patterns = [("init", json!({"pattern": "init"})), ("sidecar", json!({"pattern": "sidecar"}))];
    let mut names = Vec::new();
    for (pattern, annotations) in &patterns {
        let template = serving(world, &two_secrets_and(annotations));
        let before = format!("token-before-{pattern}");
        let mut manifest = pod(&before, &template);
        mount(&mut manifest);
        world.kubectl.create(World::APPS, &manifest)?;

        // The input of the injector's second call: its own result with another webhook's mount.
        let after = format!("token-after-{pattern}");
        let mut answered = world.kubectl.dry_run(World::APPS, &pod(&after, &template))?;
        if !answered["spec"].to_string().contains("scaivault-secrets") {
            bail!("the pod {after} was not injected");
        }
        mount(&mut answered);
        world.kubectl.create(World::APPS, &unstored(&after, &answered))?;
        names.extend([before, after]);
    }
    for name in &names {
        let pod = AppPod::app(name);
        pod.wait_until_ready(world)?;
        reads_both(world, &pod)?;
    }
    let pods: Vec<_> = ["pod"].into_iter().chain(names.iter().map(String::as_str)).collect();
    world.kubectl.delete(World::APPS, &pods)?;
    Ok(format!("{} read their secrets and a token at {TOKEN_DIR}", names.join(", ")))
}

fn mount(pod: &mut Value) {
    let spec = &mut pod["spec"];
    let token = json!({"serviceAccountToken": {"audience": "sts.amazonaws.com", "path": "token"}});
    let name =
        json!({"downwardAPI": {"items": [{"path": "license", "fieldRef": {"fieldPath": "metadata.name"}}]}});
    let volume = json!({"name": "cloud-token", "projected": {"sources": [token, name]}});
    push(&mut spec["volumes"], volume);
    let app =
        spec["containers"].as_array_mut().into_iter().flatten().find(|container| container["name"] == APP);
    if let Some(app) = app {
        let mounts = &mut app["volumeMounts"];
        push(mounts, json!({"name": "cloud-token", "mountPath": TOKEN_DIR, "readOnly": true}));
        push(
            mounts,
            json!({"name": "cloud-token", "mountPath": LICENSE, "subPath": "license", "readOnly": true}),
        );
    }
}

fn push(list: &mut Value, entry: Value) {
    match list.as_array_mut() {
        Some(entries) => entries.push(entry),
        None => *list = json!([entry]),
    }
}

/// A pod for creation, from the API server's answer.
fn unstored(name: &str, answered: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
    merge(
        &mut pod["metadata"],
        &json!({
            "labels": answered["metadata"]["labels"],
            "annotations": answered["metadata"]["annotations"],
        }),
    );
    pod["spec"] = answered["spec"].clone();
    pod
}

fn reads_both(world: &World<'_>, pod: &AppPod) -> Result<()> {
    let database: Value = serde_json::from_str(&pod.file(world, "db.json")?)?;
    if database != seed::database(1) {
        bail!("db.json of {} has other data", pod.name);
    }
    let token = pod.exec(world, &format!("cat {TOKEN_DIR}/token"))?;
    if token.split('.').count() != 3 {
        bail!("{TOKEN_DIR}/token of {} is not a token", pod.name);
    }
    let license = pod.exec(world, &format!("cat {LICENSE}"))?;
    if license != pod.name {
        bail!("{LICENSE} of {} has {license:?}", pod.name);
    }
    let restarts = pod.restarts(world, APP)?;
    if restarts != 0 {
        bail!("the application of {} was started {restarts} times again", pod.name);
    }
    Ok(())
}
