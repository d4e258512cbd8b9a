//! A `GitOps` tool that applies the manifest of the repository repeatedly.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::{MARKER, RESTART, Workload, path, restarts_of, rotate, usual};
use crate::{
    kubectl::{hold, wait_for},
    world::World,
};

const SERVER_SIDE: &str = "applied-by-server";
const CLIENT_SIDE: &str = "applied-by-client";
/// How long it continues after the restart.
const AFTERWARDS: Duration = Duration::from_secs(30);

/// The applier neither undoes a restart nor causes another one.
pub(crate) fn leaves_it(world: &World<'_>) -> Result<String> {
    let workloads = [SERVER_SIDE, CLIENT_SIDE].map(Workload::deployment);
    let mut manifests = Vec::new();
    for workload in &workloads {
        let path = path(&workload.name);
        rotate(world, &path, 1)?;
        manifests.push(workload.manifest(2, &json!({}), usual(world, &path)));
    }
    let mut applications = 0;
    let mut apply = || -> Result<()> {
        applications += 1;
        apply(world, &manifests)
    };
    apply()?;
    for workload in &workloads {
        workload.wait_until_known(world, 1)?;
    }
    for workload in &workloads {
        rotate(world, &path(&workload.name), 2)?;
    }
    wait_for("the restarts while the applier runs", RESTART, || {
        apply()?;
        for workload in &workloads {
            let record = workload.record(world)?;
            if record["phase"] != "Current" || restarts_of(&record) != 1 {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    let state = || workloads.iter().map(|workload| state(world, workload)).collect::<Result<Vec<_>>>();
    let restarted = state()?;
    hold(AFTERWARDS, || {
        apply()?;
        ensure!(state()? == restarted, "the applier and the controller fight");
        Ok(())
    })?;
    for workload in &workloads {
        workload.check_templates(world, 2)?;
    }
    Ok(format!("{applications} applications of each manifest, server-side and client-side: one restart each"))
}

/// The generation of a workload, its marker, and its pods.
fn state(world: &World<'_>, workload: &Workload) -> Result<(Value, Value, Vec<String>)> {
    let object = workload.object(world)?;
    let marker = object["spec"]["template"]["metadata"]["annotations"][MARKER].clone();
    if marker.is_null() {
        bail!("the applier has taken the marker of {} away", workload.reference());
    }
    Ok((object["metadata"]["generation"].clone(), marker, workload.uids(world)?))
}

fn apply(world: &World<'_>, manifests: &[Value]) -> Result<()> {
    for (manifest, flags) in manifests
        .iter()
        .zip([&["--server-side", "--field-manager=argocd-controller", "--force-conflicts"][..], &[]])
    {
        let args = [&["apply", "--filename=-"][..], flags].concat();
        world.kubectl.text_of(&args, &manifest.to_string())?;
    }
    Ok(())
}
