//! 200 agents with one identity under the published rate limits: the age of files after a rotation.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use scaivault_devserver::Route;

use crate::{
    Result,
    figures::Sample,
    world::{Agent, Limits, Pod, World, pause, until},
};

const AGENTS: usize = 200;
const SECRETS: usize = 2;
const TICK: Duration = Duration::from_millis(5);

/// The configuration of a fleet.
pub(crate) struct Fleet {
    name: &'static str,
    variables: &'static [(&'static str, &'static str)],
    /// When the secrets are rotated, in seconds after the agents' start; later if the agents are
    /// not up to date by then.
    rotations: &'static [u64],
}

/// Without events.
pub(crate) const AT_INTERVALS: Fleet = Fleet {
    name: "at intervals of 45 s",
    variables: &[("REFRESH_INTERVAL", "45s")],
    rotations: &[20, 80, 140, 200, 260],
};

/// With events; ScaiVault allows twenty subscriptions a minute.
pub(crate) const BY_EVENTS: Fleet = Fleet {
    name: "by event, the interval at its default of 5 min",
    variables: &[("REFRESH_ON_EVENT", "true")],
    rotations: &[20, 120, 300, 600, 900],
};

pub(crate) fn measure(agent: &Path, fleet: &Fleet) -> Result<()> {
    let Fleet { name, variables, rotations } = *fleet;
    let world = World::new(agent, Limits::Published, true)?;
    let pods = (0..AGENTS).map(|_| world.pod()).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let agents = pods.iter().map(|pod| Agent::start(&mut world.agent(pod, "sidecar", SECRETS, variables)?));
    let agents = agents.collect::<Result<Vec<_>>>()?;
    until(TICK, || pods.iter().all(|pod| is_fresh(pod, 0)))?;
    println!(
        "\n{AGENTS} agents, {SECRETS} secrets each, {name}: all started after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    println!("\n| rotation | minute | p50, s | p99 | max | reads | subscribed | refused (429) so far |");
    println!("|---:|---:|---:|---:|---:|---:|---:|---|");
    let mut all = Sample::default();
    for (rotation, seconds) in (1..).zip(rotations) {
        until_elapsed(started, Duration::from_secs(*seconds));
        let reads = world.vault().requests(Route::Read);
        let minute = started.elapsed().as_secs_f64() / 60.0;
        let sample = stale(&world, &pods, rotation)?;
        println!(
            "| {rotation} | {minute:.1} | {} | {} | {} | {} |",
            sample.seconds(&[0.5, 0.99, 1.0]),
            world.vault().requests(Route::Read) - reads,
            world.vault().subscriptions(),
            world.refused(),
        );
        all.extend(&sample);
    }
    println!("| all | | {} | | | |", all.seconds(&[0.5, 0.99, 1.0]));
    drop(agents);
    Ok(())
}

fn until_elapsed(since: Instant, time: Duration) {
    while since.elapsed() < time {
        pause(time.saturating_sub(since.elapsed()));
    }
}

/// Rotates all secrets and waits until every pod has them; returns the delays.
fn stale(world: &World, pods: &[Pod], rotation: usize) -> Result<Sample> {
    let mut sample = Sample::default();
    let written = Instant::now();
    for secret in 0..SECRETS {
        world.rotate(secret, rotation)?;
    }
    let mut waiting: Vec<_> = pods.iter().collect();
    let limit = Duration::from_secs(400);
    while !waiting.is_empty() {
        if written.elapsed() > limit {
            return Err(format!("{} agents are not up to date after {limit:?}", waiting.len()).into());
        }
        waiting.retain(|pod| {
            let is_fresh = is_fresh(pod, rotation);
            if is_fresh {
                sample.push(written.elapsed());
            }
            !is_fresh
        });
        pause(TICK);
    }
    Ok(sample)
}

fn is_fresh(pod: &Pod, value: usize) -> bool {
    (0..SECRETS).all(|secret| pod.value(secret) == Some(value))
}
