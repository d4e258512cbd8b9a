//! Installs the controller, first as a dry run. Both installations restart nothing.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use super::{LEFT_ALONE, RESTART, Workload, kinds, path, records, rotate, uids};
use crate::{
    app::{CA, SCRIPT, create_ca, template},
    kubectl::{hold, wait_for},
    vault::seed,
    world::World,
};

/// The Deployment of the controller, and its Lease.
pub(crate) const CONTROLLER: &str = "scaivault-injector-restarter";
/// The Deployment whose sidecar refreshes its files.
const SIDECAR: &str = "refreshed";
/// The settings that would make the steps longer.
const PACE: [&str; 6] = [
    "restarter.pace.debounce=3s",
    "restarter.pace.jitter=0s",
    "restarter.pace.minimumInterval=0s",
    "restarter.pace.breakerRestarts=100",
    "restarter.pace.observation=15s",
    "restarter.pace.wavePause=2s",
];
const DRY_RUN: Duration = Duration::from_secs(10);

/// The log names the restarts of a rotation, and nothing is written.
pub(crate) fn dry_run(world: &World<'_>) -> Result<String> {
    create_ca(world, World::SYSTEM)?;
    kinds::create(world)?;
    let annotations = json!({"pattern": "sidecar", "inject-secret-db.json": path(kinds::DEPLOYMENT)});
    let sidecar = Workload::deployment(SIDECAR);
    let manifest = sidecar.manifest(1, &json!({}), template(world, &annotations, SCRIPT));
    world.kubectl.create(World::RESTARTS, &manifest)?;

    // A dry run subscribes to no events.
    install(world, &["restarter.dryRun=true", "restarter.scaivault.pollInterval=5s"])?;
    let workloads = kinds::workloads();
    wait_for_log(world, &workloads, "Current")?;
    let before = uids(world, &workloads)?;
    for workload in &workloads {
        rotate(world, &path(&workload.name), 2)?;
    }
    wait_for_log(world, &workloads, "DryRun")?;
    hold(DRY_RUN, || unchanged(world, &workloads, &before))?;
    if !records(world)?.is_empty() {
        bail!("a dry run has made RotationRollouts");
    }
    Ok(format!("the log names {} restarts; no pod was replaced, nothing written", workloads.len()))
}

/// Versions that the controller sees for the first time are only recorded.
pub(crate) fn first_sight(world: &World<'_>) -> Result<String> {
    let workloads = kinds::workloads();
    let before = uids(world, &workloads)?;
    install(world, &[])?;
    for workload in &workloads {
        workload.wait_until_known(world, 1)?;
    }
    hold(LEFT_ALONE, || unchanged(world, &workloads, &before))?;
    for workload in &workloads {
        workload.check_templates(world, 1)?;
        let record = workload.record(world)?;
        if record["reason"] != "FirstSight" {
            bail!("the RotationRollout does not say that pods may be older than their secret: {record}");
        }
    }
    if !Workload::deployment(SIDECAR).record(world)?.is_null() {
        bail!("a workload whose sidecar refreshes its files has a RotationRollout");
    }
    Ok("rotated before the installation: nothing was restarted".to_owned())
}

fn install(world: &World<'_>, values: &[&str]) -> Result<()> {
    let own = [
        "restarter.enabled=true".to_owned(),
        "restarter.nativeSecrets=true".to_owned(),
        format!("restarter.scaivault.url={}", world.vault.url()),
        format!("restarter.scaivault.caConfigMap={CA}"),
        format!("restarter.scaivault.role={}", seed::RESTARTER),
    ];
    let own = own.iter().map(String::as_str);
    let all: Vec<_> = own.chain(PACE).chain(values.iter().copied()).collect();
    world.helm.upgrade(world, &all)
}

/// Waits until the log of a dry run contains this reason for each of the workloads.
fn wait_for_log(world: &World<'_>, workloads: &[Workload], reason: &str) -> Result<()> {
    let deployment = format!("deployment/{CONTROLLER}");
    wait_for(&format!("the log of the dry run says {reason} for each workload"), RESTART, || {
        let log = world.kubectl.text(&["logs", &deployment, "--namespace", World::SYSTEM])?;
        let says = |name: &str| {
            log.lines().any(|line| ["dry run", name, reason].iter().all(|word| line.contains(word)))
        };
        Ok(workloads.iter().all(|workload| says(&workload.name)).then_some(()))
    })
}

fn unchanged(world: &World<'_>, workloads: &[Workload], before: &[Vec<String>]) -> Result<()> {
    if uids(world, workloads)? != before {
        bail!("pods were replaced");
    }
    Ok(())
}
