//! Counts the restarts of all previous steps.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{LEFT_ALONE, VALUE, Workload, install::CONTROLLER, records, restarts_of};
use crate::{kubectl::hold, world::World};

/// Each workload has one more template than restarts, no further restart happens, and no log contains a
/// value.
pub(crate) fn once_for_each_version(world: &World<'_>) -> Result<String> {
    let before = generations(world)?;
    hold(LEFT_ALONE, || {
        ensure!(generations(world)? == before, "a workload was restarted although nothing was rotated");
        Ok(())
    })?;
    let (mut workloads, mut restarts) = (0, 0);
    for record in records(world)? {
        let (spec, status) = (&record["spec"], &record["status"]);
        let kind = ["Deployment", "StatefulSet", "DaemonSet"].into_iter().find(|kind| spec["kind"] == *kind);
        let workload = Workload {
            kind: kind.with_context(|| format!("a RotationRollout of the kind {}", spec["kind"]))?,
            name: spec["name"].as_str().unwrap_or_default().to_owned(),
        };
        if status["phase"] != "Current" {
            bail!("{} is {}: {}", workload.reference(), status["phase"], status["message"]);
        }
        workload.check_templates(world, restarts_of(status) + 1)?;
        workloads += 1;
        restarts += restarts_of(status);
    }
    let selector = format!("--selector=app.kubernetes.io/name={CONTROLLER}");
    let log = world.kubectl.text(&["logs", &selector, "--namespace", World::SYSTEM, "--tail=-1"])?;
    if log.contains(VALUE) {
        bail!("the log of the controller has a value of a secret");
    }
    Ok(format!(
        "{workloads} workloads, {restarts} restarts, as many templates; nothing more in {} s",
        LEFT_ALONE.as_secs()
    ))
}

fn generations(world: &World<'_>) -> Result<Vec<Value>> {
    let workloads =
        world.kubectl.items(&["deployments,statefulsets,daemonsets", "--namespace", World::RESTARTS])?;
    Ok(workloads.iter().map(|workload| workload["metadata"]["generation"].clone()).collect())
}
