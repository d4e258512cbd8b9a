//! A Deployment, a `StatefulSet` and a `DaemonSet` of the pattern `init`.

use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::json;

use super::{MARKER, Workload, check_files, path, rotate, usual};
use crate::{app::wait_for_rollout, world::World};

/// The name of the Deployment and of its secret.
pub(super) const DEPLOYMENT: &str = "web";

/// The workloads. Each has its own secret of the same name.
pub(super) fn workloads() -> [Workload; 3] {
    [
        Workload::deployment(DEPLOYMENT),
        Workload { kind: "StatefulSet", name: "queue".to_owned() },
        Workload { kind: "DaemonSet", name: "collector".to_owned() },
    ]
}

/// Creates secrets and workloads.
pub(super) fn create(world: &World<'_>) -> Result<()> {
    for workload in workloads() {
        let path = path(&workload.name);
        rotate(world, &path, 1)?;
        let manifest = workload.manifest(2, &json!({}), usual(world, &path));
        world.kubectl.create(World::RESTARTS, &manifest)?;
    }
    for workload in workloads() {
        wait_for_rollout(world, World::RESTARTS, &workload.reference())?;
    }
    Ok(())
}

/// A rotation replaces the pods of each workload once, and the new pods have the new value.
pub(crate) fn replaced_once(world: &World<'_>) -> Result<String> {
    let mut times = Vec::new();
    for workload in workloads() {
        let before = workload.uids(world)?;
        let path = path(&workload.name);
        let started = Instant::now();
        rotate(world, &path, 3)?;
        let pods = workload.wait_until_replaced(world, &before)?;
        let took = started.elapsed().as_secs_f64();
        check_files(world, &pods, 3)?;
        let record = workload.wait_until_current(world, 1)?;
        workload.check_templates(world, 2)?;
        let template = &workload.object(world)?["spec"]["template"]["metadata"]["annotations"];
        let expected =
            format!("scaivault:{path}={}", record["accepted"][0]["version"].as_str().unwrap_or("?"));
        if template[MARKER] != *expected || !expected.contains("=3@") {
            bail!(
                "the template of {} has the marker {}, not {expected}",
                workload.reference(),
                template[MARKER]
            );
        }
        times.push(format!("{} {} pods {took:.1} s", workload.kind, pods.len()));
    }
    Ok(format!("from the rotation to the last pod: {}", times.join(", ")))
}
