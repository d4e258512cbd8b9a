//! The first fetch of a start: all or nothing, unless the pod may start with less.

use std::time::SystemTime;

use scaivault_contract::TargetFile;
use tokio::time::Instant;

use crate::{
    chance,
    compose::Variables,
    delivery::{Delivery, DeliveryError},
    exit::{Ending, leave_message},
    failure::{Failure, Failures},
    fetch::{Answers, Patience},
    sink::Outcome,
};

/// What was there before this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// Not all files, nor a start without some that was meant.
    Nothing,
    /// All files, or all but those of leases that were given back: the application runs already, and an outage now is no
    /// reason to stop.
    Everything,
}

/// What the first fetch brought.
pub(crate) struct First {
    /// What each secret got.
    pub(crate) answers: Answers,
    /// The files that were written.
    pub(crate) changed: Vec<TargetFile>,
    /// Whether every file is as ScaiVault has it.
    pub(crate) is_complete: bool,
    /// Whether every volume could be written.
    pub(crate) is_written: bool,
}

/// Fetches and writes.
pub(crate) async fn first(delivery: &mut Delivery, earlier: Earlier) -> Result<First, Ending> {
    let deadline = Instant::now() + delivery.config.fetch_timeout;
    let patience = Patience::until(deadline, chance::seed(SystemTime::now()));
    let fail_open = delivery.config.fail_open;
    let is_running = earlier == Earlier::Everything;
    let needs_all = !fail_open && !is_running;
    let fetched = delivery.fetch(patience, needs_all).await;
    let (answers, of_leases) = fetched.map_err(DeliveryError::from)?;
    let variables = if is_running { Variables::AllOrNone } else { Variables::AsTheyAre };
    let composition = delivery.compose(&answers, variables);
    let mut failures = of_leases;
    for failure in &composition.failures {
        if !failures.contains(failure) {
            failures.push(failure.clone());
        }
    }
    if needs_all && !failures.is_empty() {
        return Err(Failures(failures).into());
    }
    let Outcome { changed, done } = delivery.write(&composition, fail_open);
    let is_written = match done {
        Ok(()) => true,
        // The application runs with what is there, and its leases are to be kept.
        Err(error) if is_running => {
            tracing::error!(%error, "not refreshed, trying again");
            false
        }
        Err(error) => return Err(DeliveryError::from(error).into()),
    };
    tracing::info!(files = composition.files.len(), changed = changed.len(), "secrets written");
    let is_complete = is_written && failures.is_empty();
    if is_running {
        for failure in &failures {
            tracing::error!(%failure, "keeping what the start before wrote");
        }
    } else if !failures.is_empty() {
        warn_open(failures);
    }
    Ok(First { answers, changed, is_complete, is_written })
}

/// Says loudly what the pod starts without.
fn warn_open(failures: Vec<Failure>) {
    for failure in &failures {
        tracing::error!(%failure, "the pod starts without it, because FAIL_OPEN is true");
    }
    leave_message(&format!("started without all secrets (FAIL_OPEN): {}", Failures(failures)));
}
