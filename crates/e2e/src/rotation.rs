//! A rotation reaches the files of running pods, and triggers the application's signal handler.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::{
    app::{count, ready},
    kubectl::wait_for,
    patterns::{DYNAMIC, INIT, PROBE, SIDECAR},
    vault::seed,
    world::World,
};

/// Within 2 s by events and every 2 s by polling; longer on a busy machine.
const ARRIVAL: Duration = Duration::from_secs(30);
const HANDLED: &str = "hup db.json: ";

/// Rotates the database's password.
pub(super) fn arrives(world: &World<'_>) -> Result<String> {
    let (fixed, by_event, by_looking) = (ready(world, INIT)?, ready(world, SIDECAR)?, ready(world, PROBE)?);
    let with_lease = ready(world, DYNAMIC)?;
    let rotated = seed::database(2);
    let started = Instant::now();
    world.vault.admin.rotate(seed::DATABASE, &rotated)?;
    let data = |text: &str| serde_json::from_str::<Value>(text);
    let signalled = by_event.said(world, HANDLED)?;
    let took = started.elapsed().as_secs_f64();
    for signalled in [signalled, with_lease.said(world, HANDLED)?] {
        if data(&signalled)? != rotated {
            bail!("the application had its signal before the new file");
        }
    }
    wait_for("the sidecar that looks has written the file", ARRIVAL, || {
        Ok((data(&by_looking.file(world, "db.json")?)? == rotated).then_some(()))
    })?;
    let signals = count(&by_event.log(world)?, HANDLED);
    if signals != 1 {
        bail!("one change made {signals} signals");
    }
    if data(&fixed.file(world, "db.json")?)? != seed::database(1) {
        bail!("the file of the pattern init has changed");
    }
    Ok(format!("file and SIGHUP handler have it, by event after {took:.1} s at most; one signal"))
}
