//! Retries a call until it succeeds, fails permanently, or the deadline passes.

use std::{fmt::Display, time::Duration};

use scaivault_client::{Backoff, Retry};
use tokio::time::{Instant, sleep_until, timeout_at};

/// The first and the longest pause between two attempts.
pub(crate) const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// An error that knows whether a retry may succeed.
pub(crate) trait Retryable: Display {
    /// Whether and when the same call may be retried.
    fn retry(&self) -> Retry;
}

impl Retryable for scaivault_client::Error {
    fn retry(&self) -> Retry {
        self.retry()
    }
}

/// Why a call is no longer retried.
pub(crate) enum GaveUp<E> {
    /// It failed, permanently or too close to the deadline.
    Failed(E),
    /// The deadline passed before its response.
    Late,
}

/// Calls until it succeeds. No attempt starts after `deadline` or runs beyond it.
pub(crate) async fn retried<T, E: Retryable>(
    deadline: Instant,
    mut call: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, GaveUp<E>> {
    let mut backoff = Backoff::new(PAUSES);
    loop {
        let error = match timeout_at(deadline, call()).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error,
            Err(_) => return Err(GaveUp::Late),
        };
        let now = Instant::now();
        let Some(due) = backoff.failed(now, error.retry()).filter(|due| *due < deadline) else {
            return Err(GaveUp::Failed(error));
        };
        tracing::warn!(%error, pause_seconds = (due - now).as_secs_f64(), "trying again");
        sleep_until(due).await;
    }
}
