//! `wait` and `healthz`: hold back the pod's other containers until the files exist.

use std::time::Duration;

use scaivault_contract::names::GATE_SPARE_SECONDS;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{config::Config, delivery, exit::Fatal};

/// The polling interval: a check takes a few system calls, and the interval delays the pod's start.
const INTERVAL: Duration = Duration::from_millis(20);

/// Returns when every file exists.
pub(crate) async fn wait(config: &Config) -> Result<(), Fatal> {
    let sink = delivery::sink(config);
    let deadline = Instant::now() + config.fetch_timeout + Duration::from_secs(GATE_SPARE_SECONDS);
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if sink.is_ready(config.fail_open) {
            return Ok(());
        }
        if ticks.tick().await >= deadline {
            return Err(Fatal::NotInTime);
        }
    }
}

/// Checks whether every file exists.
pub(crate) fn healthz(config: &Config) -> Result<(), Fatal> {
    let sink = delivery::sink(config);
    if sink.is_ready(config.fail_open) { Ok(()) } else { Err(Fatal::NotYet) }
}
