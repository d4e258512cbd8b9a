//! Pods written by hand according to ScaiVault's Kubernetes page run with the product's images,
//! without injection. Apart from image names and `ScaiVault`'s address, only its CA is added.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    app::{CA, SCRIPT, line},
    injection::APP,
    kubectl::wait_for,
    running::AppPod,
    vault::seed,
    world::World,
};

const INIT: &str = "page-init";
const SIDECAR: &str = "page-sidecar";
/// The files are polled every 2 s, on a busy machine.
const ARRIVAL: Duration = Duration::from_secs(30);
const CA_FILE: &str = "/var/run/scaivault/ca/ca.crt";

/// An init container and a sidecar as on the page, including dynamic credentials.
pub(super) fn by_hand(world: &World<'_>) -> Result<String> {
    let before = seed::database(2);
    for pod in [init(world), sidecar(world)] {
        world.kubectl.create(World::WORKLOADS, &pod)?;
    }
    let [init, sidecar] =
        [INIT, SIDECAR].map(|name| AppPod { namespace: World::WORKLOADS, name: name.to_owned() });
    for pod in [&init, &sidecar] {
        pod.wait_until_ready(world)?;
        if data(&pod.said(world, "start db.json: ")?)? != before {
            bail!("{} has other data", pod.name);
        }
    }
    let user = sidecar.lease(world)?;
    let after = seed::database(3);
    world.vault.admin.rotate(seed::DATABASE, &after)?;
    wait_for("the application has the new file, and a signal", ARRIVAL, || {
        let log = sidecar.log(world)?;
        Ok(line(&log, "hup db.json: ").map(data).transpose()?.filter(|data| *data == after))
    })?;
    let started = Instant::now();
    world.kubectl.delete(World::WORKLOADS, &["pod", INIT, SIDECAR])?;
    if world.vault.admin.leases()?.iter().any(|lease| lease.username == user && !lease.is_revoked) {
        bail!("the pod is gone, and its lease is valid");
    }
    let took = started.elapsed().as_secs_f64();
    Ok(format!("init and sidecar run, rotate and signal; gone and revoked {took:.1} s after the deletion"))
}

fn init(world: &World<'_>) -> Value {
    let mut pod = pod(world, INIT);
    pod["spec"]["initContainers"] = json!([{
        "name": "fetch-secrets",
        "image": world.args.init_image.to_string(),
        "env": [
            {"name": "SCAIVAULT_URL", "value": world.vault.url()},
            {"name": "SCAIVAULT_TOKEN_FILE", "value": "/var/run/secrets/scaivault/token"},
            {"name": "SECRETS", "value": mappings()},
            {"name": "SCAIVAULT_CA_FILE", "value": CA_FILE},
        ],
        "volumeMounts": agent_mounts(),
    }]);
    pod
}

/// Not a native sidecar: it starts after the application, and is terminated at the same time.
fn sidecar(world: &World<'_>) -> Value {
    let mut pod = pod(world, SIDECAR);
    let agent = json!({
        "name": "scaivault-sidecar",
        "image": world.args.sidecar_image.to_string(),
        "env": [
            {"name": "SCAIVAULT_URL", "value": world.vault.url()},
            {"name": "WATCH_PATHS", "value": mappings()},
            {"name": "REFRESH_INTERVAL", "value": "2s"},
            {"name": "RELOAD_SIGNAL", "value": "SIGHUP"},
            {"name": "RELOAD_TARGET", "value": "sh"},
            {"name": "DYNAMIC", "value": format!("{} -> /run/secrets/user.json\n", seed::DYNAMIC)},
            {"name": "SCAIVAULT_CA_FILE", "value": CA_FILE},
        ],
        "volumeMounts": agent_mounts(),
    });
    if let Some(containers) = pod["spec"]["containers"].as_array_mut() {
        containers.push(agent);
    }
    pod["spec"]["shareProcessNamespace"] = json!(true);
    pod
}

/// The common parts: the application and the volumes.
fn pod(world: &World<'_>, name: &str) -> Value {
    // Without a native sidecar the application has to wait for the files itself.
    let script = format!("until test -e /run/secrets/db.json; do sleep 1; done\n{SCRIPT}");
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "containers": [{
                "name": APP,
                "image": world.args.app_image.to_string(),
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/sh", "-c", script],
                "volumeMounts": [{"name": "secrets", "mountPath": "/run/secrets", "readOnly": true}],
            }],
            "volumes": [
                {"name": "secrets", "emptyDir": {"medium": "Memory"}},
                {"name": "sv-token", "projected": {"sources": [{"serviceAccountToken": {
                    "audience": "scaivault",
                    "expirationSeconds": 3600,
                    "path": "token",
                }}]}},
                {"name": "ca", "configMap": {"name": CA}},
            ],
        },
    })
}

fn mappings() -> String {
    format!("{} -> /run/secrets/db.json\n{} -> /run/secrets/stripe.json\n", seed::DATABASE, seed::STRIPE)
}

fn agent_mounts() -> Value {
    json!([
        {"name": "secrets", "mountPath": "/run/secrets"},
        {"name": "sv-token", "mountPath": "/var/run/secrets/scaivault", "readOnly": true},
        {"name": "ca", "mountPath": "/var/run/scaivault/ca", "readOnly": true},
    ])
}

fn data(text: &str) -> Result<Value> {
    Ok(serde_json::from_str(text)?)
}
