//! The injector's pods are replaced while pods are created.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::{
    kubectl::wait_for,
    load,
    release::{REPLICAS, pods},
    world::World,
};

const DEPLOYMENT: &str = "deployment/scaivault-injector";

/// Deletes one replica, as draining a node does.
pub(super) fn lose_a_pod(world: &World<'_>) -> Result<String> {
    let tally = load::during(world, World::LOSS_LOAD, || {
        let names = names(world)?;
        let lost = names.first().context("there is no pod to delete")?;
        world.kubectl.run(&["delete", "pod", lost, "--namespace", World::SYSTEM, "--wait=true"])?;
        rolled_out(world)?;
        wait_for("another pod has taken its place", Duration::from_mins(1), || {
            let names = self::names(world)?;
            Ok((names.len() == REPLICAS && !names.contains(lost)).then_some(()))
        })
    })?;
    Ok(tally.to_string())
}

/// Replaces all replicas, one after the other.
pub(super) fn upgrade(world: &World<'_>) -> Result<String> {
    let before = names(world)?;
    let tally = load::during(world, World::UPGRADE_LOAD, || {
        // A value that no previous run has set, so that the pods change.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        world.helm.upgrade(world, &[&format!("podAnnotations.e2e=at-{now}")])?;
        rolled_out(world)?;
        wait_for("the old pods are gone", Duration::from_mins(2), || {
            Ok((!names(world)?.iter().any(|name| before.contains(name))).then_some(()))
        })
    })?;
    Ok(tally.to_string())
}

fn rolled_out(world: &World<'_>) -> Result<()> {
    let args = ["rollout", "status", DEPLOYMENT, "--namespace", World::SYSTEM, "--timeout=3m"];
    world.kubectl.run(&args)
}

fn names(world: &World<'_>) -> Result<Vec<String>> {
    let pods = pods(world)?;
    let names = pods.iter().filter_map(|pod| pod.pointer("/metadata/name")?.as_str());
    Ok(names.map(str::to_owned).collect())
}
