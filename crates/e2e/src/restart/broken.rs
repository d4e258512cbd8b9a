//! New credentials with which the application does not run: the first wave stops the rest.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::{LEFT_ALONE, Workload, check_files, path, reads_at_start, rotate, uids, value};
use crate::{
    app::SCRIPT,
    kubectl::{hold, wait_for},
    world::World,
};

const SECRET: &str = "shared";
const WORKLOADS: usize = 5;
/// The canary.
const CANARY: usize = 3;
/// The version with which the application exits.
const BROKEN: u32 = 2;

/// One of several workloads crashes with the new version; the next version repairs it.
pub(crate) fn stops(world: &World<'_>) -> Result<String> {
    let path = path(SECRET);
    rotate(world, &path, 1)?;
    let workloads: Vec<_> =
        (0..WORKLOADS).map(|number| Workload::deployment(format!("shared-{number}"))).collect();
    // It is ready at first, like an application that connects to its database after its start.
    let script = format!("grep -q {} /run/secrets/db.json && sleep 2 && exit 1\n{SCRIPT}", value(BROKEN));
    for (number, workload) in workloads.iter().enumerate() {
        let annotations = if number == CANARY { json!({"restart-canary": "true"}) } else { json!({}) };
        let manifest = workload.manifest(1, &annotations, reads_at_start(world, &path, &script));
        world.kubectl.create(World::RESTARTS, &manifest)?;
    }
    for workload in &workloads {
        workload.wait_until_known(world, 1)?;
    }
    let others = workloads.iter().enumerate().filter(|(number, _)| *number != CANARY);
    let others: Vec<_> = others.map(|(_, workload)| workload).collect();
    let before = uids(world, others.iter().copied())?;

    rotate(world, &path, BROKEN)?;
    has_failed(world, &workloads[CANARY])?;
    for other in &others {
        let record = other.wait_for_record(world, "the others wait", |record| {
            record["phase"] == "Waiting" && record["reason"] == "Stopped"
        })?;
        let (message, canary) = (record["message"].as_str().unwrap_or_default(), &workloads[CANARY].name);
        if !message.contains(canary.as_str()) || !message.contains(&path) {
            bail!("the message of {} names neither workload nor secret: {message}", other.reference());
        }
    }
    hold(LEFT_ALONE, || {
        ensure!(uids(world, others.iter().copied())? == before, "the pods of another workload were replaced");
        Ok(())
    })?;
    for other in &others {
        other.check_templates(world, 1)?;
    }

    rotate(world, &path, 3)?;
    for (number, workload) in workloads.iter().enumerate() {
        let restarts = if number == CANARY { 2 } else { 1 };
        workload.wait_until_current(world, restarts)?;
        workload.check_templates(world, restarts + 1)?;
        check_files(world, &super::running(&workload.pods(world)?), 3)?;
    }
    Ok(format!(
        "1 of {WORKLOADS} workloads crashed, no pod of the others was replaced; the next version reached all"
    ))
}

/// Waits until the restart has failed and an event reports it.
fn has_failed(world: &World<'_>, workload: &Workload) -> Result<()> {
    workload.wait_for_record(world, "the restart has failed", |record| {
        let conditions = record["conditions"].as_array().into_iter().flatten();
        let mut conditions = conditions.filter(|condition| condition["type"] == "Succeeded");
        record["phase"] == "Failed" && conditions.any(|condition| condition["status"] == "False")
    })?;
    let selector = format!("--field-selector=type=Warning,involvedObject.name={}", workload.name);
    wait_for("an event of the workload", LEFT_ALONE, || {
        let events = world.kubectl.items(&["events", "--namespace", World::RESTARTS, &selector])?;
        let is_own = |event: &Value| event["reportingComponent"] == "scaivault.scailabs.ai/restarter";
        Ok(events.iter().any(is_own).then_some(()))
    })
}
