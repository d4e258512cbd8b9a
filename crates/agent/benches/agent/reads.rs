//! 100,000 secrets read by agent processes without an error.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use scaivault_devserver::Route;

use crate::{
    Result,
    world::{Limits, World},
};

const READS: usize = 100_000;
/// The maximum number of secrets that the agent reads one by one.
const SECRETS: usize = 9;
/// Number of concurrent agents.
const AT_ONCE: usize = 4;

pub(crate) fn measure(agent: &Path) -> Result<()> {
    let world = World::new(agent, Limits::Off, true)?;
    let agents = READS.div_ceil(SECRETS);
    let share = agents.div_ceil(AT_ONCE);
    let started = Instant::now();
    let run = || -> std::result::Result<(), String> {
        let pod = world.pod().map_err(|error| error.to_string())?;
        for _ in 0..share {
            pod.empty().map_err(|error| error.to_string())?;
            let command = world.agent(&pod, "init", SECRETS, &[("LOG_LEVEL", "warn")]);
            let status = command.map_err(|error| error.to_string())?.status();
            let status = status.map_err(|error| error.to_string())?;
            let said = fs::read_to_string(pod.log()).unwrap_or_default();
            let is_there = (0..SECRETS).all(|secret| pod.value(secret) == Some(0));
            if !status.success() || !is_there || !said.is_empty() {
                return Err(format!("{status}: {said}"));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(run)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a panic".to_owned())))
    })?;
    let took: Duration = started.elapsed();
    println!(
        "\n| reads by {} processes | errors, warnings, retries | seconds |\n|---:|---:|---:|",
        share * AT_ONCE
    );
    println!("| {} | 0 | {:.0} |", world.vault().requests(Route::Read), took.as_secs_f64());
    Ok(())
}
