//! Deployments of each pattern start, and their applications read their files.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    app::{self, deployment, ready, serving, two_secrets_and},
    injection::APP,
    running::AppPod,
    vault::seed,
    world::World,
};

/// Fetched once.
pub(super) const INIT: &str = "init";
/// Updated by events, with a signal.
pub(super) const SIDECAR: &str = "sidecar";
/// Updated by polling, with the start delayed by a probe.
pub(super) const PROBE: &str = "probe";
/// With a database user for each pod.
pub(super) const DYNAMIC: &str = "dynamic";

/// The first minor version of Kubernetes with `fileKeyRef` enabled by default.
const FILE_KEY_REF: u64 = 35;

/// Each pattern, with its annotations in addition to the two secrets.
fn patterns() -> [(&'static str, Value); 4] {
    let sidecar = json!({
        "pattern": "sidecar",
        "refresh-on-event": "true",
        "reload-signal": "SIGHUP",
        "reload-target": "sh",
    });
    let dynamic = json!({
        "inject-dynamic-user.json": seed::DYNAMIC,
        "refresh-on-event": "true",
        // Shares the process namespace, so that another step can kill the agent.
        "reload-signal": "SIGHUP",
        "reload-target": "sh",
        "fetch-timeout": "5s",
    });
    [
        (INIT, json!({"pattern": "init"})),
        (SIDECAR, sidecar),
        (PROBE, json!({"pattern": "sidecar", "start-gate": "probe", "refresh-interval": "2s"})),
        (DYNAMIC, dynamic),
    ]
}

/// Starts one Deployment of each pattern at once.
pub(super) fn start(world: &World<'_>) -> Result<String> {
    let patterns = patterns();
    for (pattern, annotations) in &patterns {
        let deployment = deployment(pattern, serving(world, &two_secrets_and(annotations)));
        world.kubectl.create(World::APPS, &deployment)?;
    }
    let patterns = patterns.map(|(pattern, _)| pattern);
    let mut linked = "";
    for pattern in patterns {
        let pod = ready(world, pattern)?;
        reads_its_files(world, &pod).with_context(|| format!("the pod of {pattern}"))?;
        if pod.said(world, "/var/run: ")?.contains("run") {
            linked = ", and /var/run links to /run";
        }
    }
    let user = ready(world, DYNAMIC)?.lease(world)?;
    if !world.vault.admin.leases()?.iter().any(|lease| lease.username == user && !lease.is_revoked) {
        bail!("the user {user} in the file is not one of ScaiVault's");
    }
    Ok(format!("{} read their files{linked}", patterns.join(", ")))
}

fn reads_its_files(world: &World<'_>, pod: &AppPod) -> Result<()> {
    let database: Value = serde_json::from_str(&pod.said(world, "start db.json: ")?)?;
    if database != seed::database(1) {
        bail!("db.json has other data");
    }
    if pod.said(world, "start stripe.key: ")? != seed::STRIPE_KEY {
        bail!("stripe.key has another value");
    }
    if pod.restarts(world, APP)? != 0 {
        bail!("the application was started before its files were there");
    }
    Ok(())
}

/// Whether the cluster supports `fileKeyRef`.
pub(super) fn has_variables_of_files(world: &World<'_>) -> Result<bool> {
    let minor = world.kubectl.json(&["version", "--output=json"])?;
    let minor = minor.pointer("/serverVersion/minor").and_then(Value::as_str).and_then(|minor| {
        // Some providers report `35+`.
        minor.trim_end_matches('+').parse::<u64>().ok()
    });
    Ok(minor.is_none_or(|minor| minor >= FILE_KEY_REF))
}

/// A variable by `fileKeyRef` with both patterns; an older cluster rejects it.
pub(super) fn variables(world: &World<'_>) -> Result<String> {
    let variable = json!({"inject-env-DB_PASSWORD": format!("{}#password", seed::DATABASE)});
    let sidecar = json!({"pattern": "sidecar"});
    if !has_variables_of_files(world)? {
        return Ok(format!("not tried: fileKeyRef needs Kubernetes 1.{FILE_KEY_REF}"));
    }
    for (name, more) in [("variable-init", json!({})), ("variable-sidecar", sidecar)] {
        let mut annotations = two_secrets_and(&more);
        app::merge(&mut annotations, &variable);
        world.kubectl.create(World::APPS, &deployment(name, serving(world, &annotations)))?;
    }
    for name in ["variable-init", "variable-sidecar"] {
        let value = ready(world, name)?.said(world, "variable: ")?;
        if value != seed::password(1) {
            bail!("the variable of {name} is {value:?}");
        }
        world.kubectl.delete(World::APPS, &["deployment", name])?;
    }
    Ok("init and sidecar set the variable".to_owned())
}
