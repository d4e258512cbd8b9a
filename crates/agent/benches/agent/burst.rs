//! 100 pod starts a minute with one identity, under the published rate limits: none has to wait for
//! a rate limit.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use scaivault_devserver::Route;

use crate::{
    Result,
    figures::Sample,
    world::{Agent, Limits, World, pause},
};

const STARTS: u32 = 100;
const SECRETS: usize = 2;
const MINUTE: Duration = Duration::from_mins(1);
const TICK: Duration = Duration::from_millis(1);

pub(crate) fn measure(agent: &Path) -> Result<()> {
    println!("\n| {STARTS} starts, {SECRETS} secrets | p50, ms | p99 | max | reads | refused (429) |");
    println!("|---|---:|---:|---:|---:|---|");
    for (name, spread) in [("in a minute", MINUTE), ("at once", Duration::ZERO)] {
        inits(agent, name, spread)?;
        sidecars(agent, name, spread)?;
    }
    Ok(())
}

/// Measures `init`, from the start of the process to its exit.
fn inits(agent: &Path, name: &str, spread: Duration) -> Result<()> {
    let world = World::new(agent, Limits::Published, true)?;
    let began = Instant::now();
    let mut sample = Sample::default();
    thread::scope(|scope| -> Result<()> {
        let mut runs = Vec::new();
        for start in 0..STARTS {
            pause_until(began + spread / STARTS * start);
            let pod = world.pod()?;
            let mut command = world.agent(&pod, "init", SECRETS, &[])?;
            runs.push(scope.spawn(move || {
                let started = Instant::now();
                let status = command.status();
                (started.elapsed(), status)
            }));
        }
        for run in runs {
            let (took, status) = run.join().map_err(|_| "a panic")?;
            if !status?.success() {
                return Err("an init failed".into());
            }
            sample.push(took);
        }
        Ok(())
    })?;
    row(&world, &format!("`init`, {name}"), &sample);
    Ok(())
}

/// Measures `sidecar` with events, from the start of the process to its first files; all sidecars
/// keep running.
fn sidecars(agent: &Path, name: &str, spread: Duration) -> Result<()> {
    let world = World::new(agent, Limits::Published, true)?;
    let began = Instant::now();
    let (mut sample, mut waiting, mut running, mut pods) =
        (Sample::default(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        pods.push(world.pod()?);
    }
    let mut next = pods.iter().enumerate().peekable();
    while next.peek().is_some() || !waiting.is_empty() {
        let due = |start: usize| began + spread / STARTS * u32::try_from(start).unwrap_or(u32::MAX);
        if let Some((_, pod)) = next.next_if(|(start, _)| due(*start) <= Instant::now()) {
            let mut command = world.agent(pod, "sidecar", SECRETS, &[("REFRESH_ON_EVENT", "true")])?;
            let started = Instant::now();
            running.push(Agent::start(&mut command)?);
            waiting.push((pod, started));
        }
        waiting.retain(|(pod, started)| {
            let is_there = (0..SECRETS).all(|secret| pod.value(secret) == Some(0));
            if is_there {
                sample.push(started.elapsed());
            }
            !is_there
        });
        if began.elapsed() > 2 * MINUTE {
            return Err("a sidecar does not start".into());
        }
        pause(TICK);
    }
    row(&world, &format!("`sidecar` with events, {name}"), &sample);
    Ok(())
}

fn row(world: &World, name: &str, sample: &Sample) {
    let cells = sample.milliseconds(&[0.5, 0.99, 1.0]);
    println!("| {name} | {cells} | {} | {} |", world.vault().requests(Route::Read), world.refused());
}

fn pause_until(time: Instant) {
    loop {
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        pause(left);
    }
}
