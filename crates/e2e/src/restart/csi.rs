//! CSI volumes with files only: the application does not read them again.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::{Workload, check_files, path, rotate, value};
use crate::{
    app::{SCRIPT, template},
    csi,
    world::World,
};

const NAME: &str = "files";
/// The kubelet publishes a volume again after 60 to 90 s, each pod at another time, and the
/// provider's cached secret is at most 10 s old.
const ROTATION: Duration = Duration::from_mins(5);

/// Once the driver has written the new version for all pods, they are replaced once.
pub(crate) fn files(world: &World<'_>) -> Result<String> {
    if !world.kubectl.exists(&["csidriver", csi::DRIVER])? {
        return Ok("left out: there is no Secrets Store CSI driver, which --part csi installs".to_owned());
    }
    let (workload, path) = (Workload::deployment(NAME), path(NAME));
    rotate(world, &path, 1)?;
    let objects = json!([{"path": path, "file": "db.json"}]).to_string();
    world.kubectl.create(World::RESTARTS, &csi::class(world, NAME, &objects))?;
    let mut template = template(world, &json!({}), SCRIPT);
    csi::add_volume(&mut template, NAME);
    world.kubectl.create(World::RESTARTS, &workload.manifest(2, &json!({}), template))?;
    workload.wait_until_known(world, 1)?;
    let before = workload.uids(world)?;
    let started = Instant::now();
    rotate(world, &path, 2)?;
    let pods = workload.wait_until_replaced_within(ROTATION, world, &before)?;
    let took = started.elapsed().as_secs_f64();
    check_files(world, &pods, 2)?;
    for pod in &pods {
        if !pod.said(world, "start db.json: ")?.contains(&value(2)) {
            bail!("the application of {} started with the old file", pod.name);
        }
    }
    workload.wait_until_current(world, 1)?;
    workload.check_templates(world, 2)?;
    Ok(format!("{} pods replaced once, {took:.0} s after the rotation", pods.len()))
}
