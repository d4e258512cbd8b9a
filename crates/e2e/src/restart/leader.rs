//! The leading pod of the controller is deleted during a rotation.

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;

use super::{RESTART, Workload, check_files, install::CONTROLLER, path, rotate, usual};
use crate::{kubectl::wait_for, world::World};

const SECRET: &str = "led";
const WORKLOADS: usize = 4;

/// Deletes it once like a drained node and once without a grace period: each version restarts each workload
/// once.
pub(crate) fn changes(world: &World<'_>) -> Result<String> {
    let path = path(SECRET);
    rotate(world, &path, 1)?;
    let workloads: Vec<_> =
        (0..WORKLOADS).map(|number| Workload::deployment(format!("led-{number}"))).collect();
    for workload in &workloads {
        world.kubectl.create(World::RESTARTS, &workload.manifest(1, &json!({}), usual(world, &path)))?;
    }
    for workload in &workloads {
        workload.wait_until_known(world, 1)?;
    }
    let mut times = Vec::new();
    for (version, flags) in [(2, &["--wait=false"][..]), (3, &["--grace-period=0", "--force"])] {
        let restarts = version - 1;
        let started = Instant::now();
        rotate(world, &path, version)?;
        wait_for("the first restart has begun", RESTART, || {
            for workload in &workloads {
                if workload.record(world)?["phase"] == "Restarting" {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })?;
        let leader = leader(world)?.context("no pod leads")?;
        let args = ["delete", "pod", &leader, "--namespace", World::SYSTEM];
        let deleted = Instant::now();
        world.kubectl.run(&[&args[..], flags].concat())?;
        wait_for("another pod leads", RESTART, || Ok(self::leader(world)?.filter(|other| *other != leader)))?;
        let changed = deleted.elapsed().as_secs_f64();
        for workload in &workloads {
            workload.wait_until_current(world, restarts as usize)?;
            check_files(world, &super::running(&workload.pods(world)?), version)?;
            workload.check_templates(world, version as usize)?;
        }
        times.push(format!("{changed:.1} s, all {:.1} s", started.elapsed().as_secs_f64()));
    }
    Ok(format!(
        "another leader after {}; one restart for each version",
        times.join("; without notice after ")
    ))
}

/// The pod that holds the Lease; `None` if it was released.
fn leader(world: &World<'_>) -> Result<Option<String>> {
    let args = ["get", "lease", CONTROLLER, "--namespace", World::SYSTEM, "--output=json"];
    let lease = world.kubectl.json(&args)?;
    let holder = lease["spec"]["holderIdentity"].as_str().and_then(|holder| holder.rsplit_once('_'));
    Ok(holder.map(|(pod, _)| pod.to_owned()))
}
