//! `init`: fetches once and exits. The sidecar starts with the same initial fetch: all or nothing,
//! unless the pod may start without some secrets.

use std::{collections::BTreeSet, time::SystemTime};

use scaivault_client::Client;
use tokio::{signal::unix::Signal, time::Instant};

use crate::{
    config::Config,
    delivery::{Delivery, STOP_TIMEOUT, Wait},
    exit::{Fatal, leave_message, sigterm},
    failure::{Failure, Failures},
    fetch::{CommitReport, Fetcher},
    retry::{GaveUp, retried},
};

/// Fetches all secrets and writes their files.
pub(crate) async fn run(config: Config) -> Result<(), Fatal> {
    let mut end = sigterm()?;
    let mut delivery = Delivery::new(config)?;
    let mut fetcher = Fetcher::new(&delivery, StartKind::Cold, Instant::now());
    initial_fetch(&mut delivery, &mut fetcher, &mut end).await?;
    // The application starts after this container, so it reads these files.
    delivery.mark_notified();
    delivery.revoke_due(Wait::UnlessStopped(&mut end)).await;
    Ok(())
}

/// The situation at this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartKind {
    /// The application is not running yet: it waits for its files.
    Cold,
    /// A previous run has already let the application start. An outage is no reason to exit now,
    /// and nothing waits for the fetch, because leases have to be renewed.
    Restart,
}

/// Fetches and writes, unless SIGTERM arrives. If the start fails, its leases are revoked: no
/// application uses them, and there may be no next run (a Job's pod has none).
pub(crate) async fn initial_fetch(
    delivery: &mut Delivery,
    fetcher: &mut Fetcher,
    end: &mut Signal,
) -> Result<(), Fatal> {
    let done = tokio::select! {
        done = fetch(delivery, fetcher) => done,
        _ = end.recv() => Err(Fatal::Stopped),
    };
    let Err(ending) = done else { return Ok(()) };
    ending.leave();
    if matches!(ending, Fatal::Stopped) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        let unsubscribe = delivery.unsubscribe(None, deadline);
        tokio::join!(delivery.revoke_all(Wait::Until(deadline)), unsubscribe);
    } else {
        delivery.revoke_all(Wait::UnlessStopped(end)).await;
    }
    Err(ending)
}

/// Without `FAIL_OPEN` no lease is generated if a secret is missing, because the application would
/// not start.
async fn fetch(delivery: &mut Delivery, fetcher: &mut Fetcher) -> Result<(), Fatal> {
    let deadline = Instant::now() + delivery.config.fetch_timeout;
    let fail_open = delivery.config.fail_open;
    let mut failures = if let Err(login) = log_in(&delivery.client, deadline).await {
        vec![login]
    } else {
        // Stored before leases are generated, so that a restart in between does not log in again.
        delivery.save()?;
        let missing = delivery.leases.missing(delivery.dynamics(), SystemTime::now(), Instant::now());
        if fail_open {
            // Concurrently, so that a hanging request does not use up the time of the others.
            let generating = delivery.generate(missing, deadline);
            tokio::join!(generating, fetcher.fetch_initially(deadline, true)).0?
        } else {
            fetcher.fetch_initially(deadline, false).await;
            let is_lacking = !fetcher.failures().is_empty() || fetcher.has_failed_to_write();
            delivery.generate(if is_lacking { BTreeSet::new() } else { missing }, deadline).await?
        }
    };
    fetcher.put_leases(&delivery.leases, Instant::now());
    failures.extend_from_slice(fetcher.failures());
    // A volume error takes precedence: then the remaining secrets were not read.
    if !fail_open && !failures.is_empty() && !fetcher.has_failed_to_write() {
        return Err(Failures(failures).into());
    }
    let CommitReport { changed, done, .. } = fetcher.commit(fail_open, Instant::now());
    done?;
    tracing::info!(changed = changed.len(), "secrets written");
    if !failures.is_empty() {
        warn_open(failures);
    }
    Ok(())
}

/// Logs in before the first read, so that a rejected login is sent once, and not once for each
/// request.
pub(crate) async fn log_in(client: &Client, deadline: Instant) -> Result<(), Failure> {
    retried(deadline, async || client.login().await).await.map_err(|gave_up| match gave_up {
        GaveUp::Failed(error) => Failure::from_error("the login", &error),
        GaveUp::Late => Failure::late("the login"),
    })
}

/// Logs what is missing when the pod starts.
fn warn_open(failures: Vec<Failure>) {
    for failure in &failures {
        tracing::error!(%failure, "the pod starts without it, because FAIL_OPEN is true");
    }
    leave_message(&format!("started without all secrets (FAIL_OPEN): {}", Failures(failures)));
}
