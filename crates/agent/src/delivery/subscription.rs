//! Deletes the subscription to events.

use std::{sync::Arc, time::Duration};

use scaivault_client::{Backoff, Error, ErrorCode, Retry, SubscriptionId};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until, timeout_at},
};

use super::Delivery;
use crate::failure::Failure;

/// The first and the longest pause between two attempts to delete the subscription.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

impl Delivery {
    /// Deletes the subscription, including one that is being created.
    pub(crate) fn unsubscribe(
        &mut self,
        listener: Option<JoinHandle<Option<SubscriptionId>>>,
        deadline: Instant,
    ) -> impl Future<Output = ()> + use<> {
        let (client, kept) = (Arc::clone(&self.client), self.subscription.take());
        async move {
            let last = match listener {
                Some(listener) => timeout_at(deadline, listener).await.ok().and_then(Result::ok),
                None => None,
            };
            // A listener that is still running has reported its subscription, unless it is still
            // creating it.
            let Some(subscription) = last.unwrap_or(kept) else { return };
            let subject = format!("the subscription {subscription}");
            let mut backoff = Backoff::new(PAUSE);
            let failure = loop {
                let error = match timeout_at(deadline, client.unsubscribe(&subscription)).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error,
                    Err(_) => break Failure::late(subject),
                };
                match next_attempt(&error, &mut backoff, Instant::now(), deadline) {
                    Some(due) => sleep_until(due).await,
                    None => break Failure::from_error(subject, &error),
                }
            };
            tracing::warn!(%failure, "subscription not deleted");
        }
    }
}

/// The time of the next attempt after `error` at `now`; `None` for no further attempt. A longer
/// pause requested by the server is shortened while there is time, so that replicas that end
/// together use the whole rate limit.
fn next_attempt(error: &Error, backoff: &mut Backoff, now: Instant, deadline: Instant) -> Option<Instant> {
    let retry = match error.retry() {
        // Only ScaiVault itself can reject for good. Other answers, for example from a proxy, may
        // be temporary.
        Retry::Never if error.code().is_none_or(ErrorCode::is_empty) => Retry::Backoff,
        retry => retry.at_most(PAUSE.1),
    };
    backoff.failed(now, retry).filter(|due| *due < deadline)
}

#[cfg(test)]
mod tests {
    use scaivault_client::{AnswerFault, ErrorKind, Operation, Refusal};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused(status: u16, code: &str, retry_after: Option<Duration>) -> Error {
        let code = ErrorCode::new(code);
        let refusal = Refusal { status, code, message: String::new(), request_id: None, retry_after };
        Error { operation: Operation::Unsubscribe, kind: ErrorKind::Refused(refusal) }
    }

    #[test]
    fn only_scaivault_refuses_for_good() {
        let now = Instant::now();
        let next = |error| next_attempt(&error, &mut Backoff::new(PAUSE), now, now + 10 * SECOND);
        assert_eq!(next(refused(403, "access_denied", None)), None);
        assert!(next(refused(403, "", None)).is_some(), "a firewall's own");
        let answer = ErrorKind::Answer(AnswerFault::Redirect(302));
        assert!(next(Error { operation: Operation::Revoke, kind: answer }).is_some());
        let asked = next(refused(503, "service_unavailable", Some(3600 * SECOND))).unwrap();
        assert!(asked <= now + 6 * SECOND, "an hour is longer than the remaining time");
    }

    /// 200 replicas that end at once and share a bucket with 20 operations that gains one every 3
    /// s. The server requests a pause until its next token, or of a minute.
    #[test]
    fn replicas_that_end_together_use_all_that_is_granted() {
        for asked in [3, 60] {
            let start = Instant::now();
            let deadline = start + 25 * SECOND;
            let mut pods: Vec<_> = (0..200).map(|_| (start, Backoff::new(PAUSE))).collect();
            let (mut bucket, mut deleted, mut refused_requests) = (20.0_f64, 0, 0);
            for tick in 0..250 {
                let now = start + tick * SECOND / 10;
                bucket = (bucket + 20.0 / 600.0).min(20.0);
                pods.retain_mut(|(due, backoff)| {
                    if *due > now {
                        return true;
                    }
                    if bucket >= 1.0 {
                        bucket -= 1.0;
                        deleted += 1;
                        return false;
                    }
                    refused_requests += 1;
                    let error = refused(429, "rate_limited", Some(asked * SECOND));
                    let next = next_attempt(&error, backoff, now, deadline);
                    next.map(|next| *due = next).is_some()
                });
            }
            assert!((27..=29).contains(&deleted), "asked for {asked} s: {deleted} of 200");
            assert!(refused_requests < 2000, "{refused_requests}");
        }
    }
}
