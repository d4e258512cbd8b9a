//! From writing a version on the server to the changed file, with events.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use scaivault_devserver::Route;

use crate::{
    Result,
    figures::Sample,
    world::{Agent, Limits, World, until},
};

const ROTATIONS: usize = 2_000;

pub(crate) fn measure(agent: &Path) -> Result<()> {
    let world = World::new(agent, Limits::Off, true)?;
    let pod = world.pod()?;
    let variables = [("REFRESH_INTERVAL", "1d"), ("REFRESH_ON_EVENT", "true")];
    let sidecar = Agent::start(&mut world.agent(&pod, "sidecar", 2, &variables)?)?;
    world.requested(Route::Poll, 1)?;
    let mut sample = Sample::default();
    for rotation in 1..=ROTATIONS {
        let polls = world.vault().requests(Route::Poll);
        let written = Instant::now();
        world.rotate(0, rotation)?;
        until(Duration::ZERO, || pod.value(0) == Some(rotation))?;
        sample.push(written.elapsed());
        // The next rotation finds the agent polling.
        world.requested(Route::Poll, polls + 1)?;
    }
    println!("\n| write to file, ms, {ROTATIONS} rotations | p50 | p99 | max |\n|---|---:|---:|---:|");
    println!("| one agent, two secrets, by event | {} |", sample.milliseconds(&[0.5, 0.99, 1.0]));
    sidecar.stop()
}
