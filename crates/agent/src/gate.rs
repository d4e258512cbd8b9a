//! `wait` and `healthz`: what holds the pod's other containers back until the files are there.

use std::time::Duration;

use scaivault_contract::names::GATE_SPARE_SECONDS;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{config::Config, delivery, exit::Ending};

/// How often the files are looked for: a look is a few system calls, and each delays the pod's start.
const INTERVAL: Duration = Duration::from_millis(20);

/// Returns when every file is there, at once where they are already.
pub(crate) async fn wait(config: &Config) -> Result<(), Ending> {
    let sink = delivery::sink(config);
    let deadline = Instant::now() + config.fetch_timeout + Duration::from_secs(GATE_SPARE_SECONDS);
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if sink.is_ready(config.fail_open) {
            return Ok(());
        }
        if ticks.tick().await >= deadline {
            return Err(Ending::NotInTime);
        }
    }
}

/// Says whether every file is there.
pub(crate) fn healthz(config: &Config) -> Result<(), Ending> {
    let sink = delivery::sink(config);
    if sink.is_ready(config.fail_open) { Ok(()) } else { Err(Ending::NotYet) }
}
