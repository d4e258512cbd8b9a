//! The provider or the driver is stopped while a volume is mounted: the pod waits, and never starts
//! with an empty directory.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    DRIVER_DAEMONSET, NAMESPACE, PROVIDER_DAEMONSET, class, failures::GOOD_FILE, mount_errors, pod,
    provider_pods, running, wait_for_daemonset, wait_for_files,
};
use crate::{
    failure::has_started,
    kubectl::{hold, wait_for},
    world::World,
};

/// The duration of a read that is to be interrupted, in milliseconds.
const SLOW: u64 = 10_000;

/// The provider is killed before ScaiVault has answered.
pub(crate) fn provider_killed(world: &World<'_>) -> Result<String> {
    interrupted(world, "provider-killed", || kill(world, super::PROVIDER_SELECTOR, PROVIDER_DAEMONSET))
}

/// The driver is killed before ScaiVault has answered.
pub(crate) fn driver_killed(world: &World<'_>) -> Result<String> {
    interrupted(world, "driver-killed", || {
        kill(world, "--selector=app=secrets-store-csi-driver", DRIVER_DAEMONSET)
    })
}

fn interrupted(world: &World<'_>, name: &str, kill: impl FnOnce() -> Result<()>) -> Result<String> {
    let admin = &world.vault.admin;
    create(world, name)?;
    let reads = admin.requests("read")?;
    admin.add_fault(&json!({"route": "read", "effect": {"delay": {"milliseconds": SLOW}}}))?;
    world.kubectl.create(World::CSI, &pod(world, name, name))?;
    wait_for("the provider reads the secret", Duration::from_mins(1), || {
        Ok((admin.requests("read")? > reads).then_some(()))
    })?;
    kill()?;
    admin.clear_faults()?;
    starts_with_files(world, name)?;
    Ok("the pod started with its files".to_owned())
}

/// Waits until the pod starts by itself, with its files, and deletes it.
fn starts_with_files(world: &World<'_>, name: &str) -> Result<()> {
    wait_for("the pod starts by itself", Duration::from_mins(4), || {
        Ok(has_started(&running(name).object(world)?).then_some(()))
    })?;
    wait_for_files(world, name, GOOD_FILE)?;
    world.kubectl.delete(World::CSI, &["pod", name])
}

/// Deletes the pods without a grace period, and waits for their replacements.
fn kill(world: &World<'_>, selector: &str, daemonset: &str) -> Result<()> {
    world.kubectl.text(&[
        "delete",
        "pod",
        NAMESPACE,
        selector,
        "--grace-period=0",
        "--force",
        "--wait=false",
    ])?;
    wait_for_daemonset(world, daemonset)
}

/// No provider runs on the node for longer than the two minutes of a kubelet call.
pub(crate) fn no_provider(world: &World<'_>) -> Result<String> {
    const NAME: &str = "no-provider";
    create(world, NAME)?;
    select_nodes(world, &json!({"no-such-label": "true"}))?;
    wait_for("no provider runs", Duration::from_mins(1), || {
        Ok(provider_pods(world)?.is_empty().then_some(()))
    })?;
    world.kubectl.create(World::CSI, &pod(world, NAME, NAME))?;
    let waited = hold(Duration::from_secs(200), || {
        if has_started(&running(NAME).object(world)?) {
            let log = running(NAME).log(world)?;
            bail!(
                "the application has started without its files: {log}; events: {}",
                mount_errors(world, NAME)?
            );
        }
        Ok(())
    });
    let errors = mount_errors(world, NAME)?;
    select_nodes(world, &Value::Null)?;
    wait_for_daemonset(world, PROVIDER_DAEMONSET)?;
    waited?;
    starts_with_files(world, NAME)?;
    let last = errors.lines().last().context("no event says why the pod waits")?;
    Ok(format!("the pod waited for 200 s ({last}), and started with its files"))
}

fn select_nodes(world: &World<'_>, label: &Value) -> Result<()> {
    let selector = label.as_object().map_or_else(|| json!({"no-such-label": null}), |label| json!(label));
    let patch = json!({"spec": {"template": {"spec": {"nodeSelector": selector}}}}).to_string();
    let daemonset = format!("daemonset/{PROVIDER_DAEMONSET}");
    world.kubectl.text(&["patch", &daemonset, NAMESPACE, "--patch", &patch]).map(drop)
}

/// Creates a class with its own secret, so that no answer comes from the cache.
fn create(world: &World<'_>, name: &str) -> Result<()> {
    let path = format!("environments/production/billing/outages/{name}");
    world.vault.admin.rotate(&path, &json!({"password": "example"}))?;
    let objects = json!([{"path": path, "file": GOOD_FILE}]).to_string();
    world.kubectl.create(World::CSI, &class(world, name, &objects))
}
