//! `init`: fetches once and ends.

use std::time::SystemTime;

use tokio::{signal::unix::{SignalKind, signal}, time::Instant};

use crate::{
    cli::Ending,
    compose::Variables,
    config::Config,
    delivery::{Delivery, DeliveryError},
    exit::Exit,
    failure::{Failure, Failures},
    fetch::Patience,
};

/// Fetches and writes all that is wanted.
pub(crate) async fn run(config: Config) -> Result<(), Ending> {
    // The first process of a container ignores a signal that it has no handler for.
    let mut end = signal(SignalKind::terminate()).map_err(|error| Ending {
        exit: Exit::Failed,
        message: format!("cannot wait for SIGTERM: {error}"),
    })?;
    let mut delivery = Delivery::new(config).await?;
    tokio::select! {
        delivered = first(&mut delivery) => {
            if delivered.is_err() && delivery.config.state_dir.is_none() {
                // Nobody would find these leases again.
                delivery.revoke_all().await;
            }
            delivered
        }
        _ = end.recv() => {
            if delivery.config.state_dir.is_none() {
                delivery.revoke_all().await;
            }
            Err(Ending { exit: Exit::Failed, message: "stopped by SIGTERM before all was fetched".to_owned() })
        }
    }
}

/// The first fetch of either container: all or nothing, unless the pod may start with what there is.
pub(crate) async fn first(delivery: &mut Delivery) -> Result<(), Ending> {
    let patience =
        Patience { deadline: Instant::now() + delivery.config.fetch_timeout, seed: seed(SystemTime::now()) };
    let (answers, of_leases) = delivery.fetch(patience).await.map_err(DeliveryError::from)?;
    let composition = delivery.compose(&answers, Variables::AsTheyAre);
    let mut failures = of_leases;
    for failure in &composition.failures {
        if !failures.contains(failure) {
            failures.push(failure.clone());
        }
    }
    let fail_open = delivery.config.fail_open;
    if !failures.is_empty() && !fail_open {
        return Err(Failures(failures).into());
    }
    let changed = delivery.write(&composition, fail_open).map_err(DeliveryError::from)?;
    tracing::info!(files = composition.files.len(), changed = changed.len(), "secrets written");
    if !failures.is_empty() {
        warn_open(&failures);
    }
    Ok(())
}

/// Says loudly what the pod starts without.
fn warn_open(failures: &[Failure]) {
    for failure in failures {
        tracing::error!(%failure, "the pod starts without it, because FAIL_OPEN is true");
    }
    let message = format!("started without all secrets (FAIL_OPEN): {}", Failures(failures.to_vec()));
    crate::termination::leave(&message);
}

/// What tells this pod's pauses from those of another one that starts at the same time.
pub(crate) fn seed(now: SystemTime) -> u64 {
    let nanos = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    // The standard library's maps have a random seed of their own; it is the only source of chance that costs nothing.
    let chance = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), nanos);
    chance ^ u64::from(std::process::id())
}
