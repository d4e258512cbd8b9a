//! Maintains leases: renews, replaces and generates them, and revokes those that were replaced.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{
    Backoff, Class, Error, ErrorKind, HeldLease, LeaseId, LeaseStep, LeaseTerm, Operation, Retry,
};
use scaivault_contract::DynamicRef;
use tokio::time::{Instant, timeout};

use super::{Sidecar, log_unsaved};
use crate::{
    failure::Failure,
    metrics::{self, Counter},
};

/// The maximum sleep of the sidecar while it holds leases: their times are wall-clock times, and
/// the clock may be set.
const LOOK: Duration = Duration::from_mins(1);
/// The first and the longest pause after a failed renewal.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The maximum pause is this fraction of the lease's remaining time.
const PART: u32 = 4;
/// The pause between two generations: each creates a database user, regardless of the lifetimes in
/// the responses.
const GENERATED: Duration = Duration::from_secs(30);

/// The term of a renewed lease, and when the response arrived.
pub(super) type Renewed = (LeaseTerm, SystemTime);

impl Sidecar {
    /// When work on a lease is due.
    pub(super) fn leases_due(&self, now: Instant, time: SystemTime) -> Option<Instant> {
        let dynamics = self.delivery.dynamics();
        let steps = dynamics.iter().filter_map(|dynamic| self.lease_step(dynamic, now, time));
        let retired = self.delivery.leases.retired();
        let revocations = retired.filter(|(lease, _)| !self.delivery.revoking.has(lease)).map(|(_, due)| due);
        steps.map(|(due, _)| due).chain(revocations).min()
    }

    /// Starts the renewals, replacements, generations and revocations that are due.
    pub(super) fn maintain_leases(&mut self) {
        let (now, time) = (Instant::now(), SystemTime::now());
        let mut missing = Vec::new();
        for dynamic in self.delivery.dynamics() {
            match self.lease_step(&dynamic, now, time) {
                Some((due, LeaseStep::Renew)) if due <= now => self.renew(&dynamic),
                Some((due, LeaseStep::Replace)) if due <= now => missing.push(dynamic),
                _ => {}
            }
        }
        log_unsaved(self.delivery.start_generating(missing));
        self.delivery.start_revoking(now);
    }

    /// The next step for a lease, and when; `None` while a request is in flight, whose response
    /// wakes the loop.
    fn lease_step(
        &self,
        dynamic: &DynamicRef,
        now: Instant,
        time: SystemTime,
    ) -> Option<(Instant, LeaseStep)> {
        if self.renewing.has(dynamic) || self.delivery.generating.has(dynamic) {
            return None;
        }
        let failed = self.not_renewed.get(dynamic).and_then(Backoff::due);
        let step = match self.delivery.leases.get(dynamic) {
            None => LeaseStep::Replace,
            Some(lease) => match lease.step(time, jitter(&lease.id)) {
                // For every kind of failure, because without new credentials the application will
                // soon have none.
                LeaseStep::Renew if failed.is_some() && lease.is_nearly_over(time) => LeaseStep::Replace,
                step => step,
            },
        };
        let due = match step {
            LeaseStep::Wait(until) => now + until.duration_since(time).unwrap_or_default().min(LOOK),
            LeaseStep::Renew => failed.unwrap_or(now),
            LeaseStep::Replace => self.delivery.leases.generation_due(dynamic).unwrap_or(now),
        };
        Some((due, step))
    }

    fn renew(&mut self, dynamic: &DynamicRef) {
        let Some(lease) = self.delivery.leases.get(dynamic) else { return };
        let (client, id, ttl) = (Arc::clone(&self.delivery.client), lease.id.clone(), dynamic.ttl);
        let after = lease.renewal_timeout(SystemTime::now());
        let address = self.delivery.config.server.address.to_string();
        let late = Error { operation: Operation::Renew, kind: ErrorKind::Timeout { address, after } };
        self.renewing.start(dynamic, async move {
            let term = timeout(after, client.renew(&id, ttl)).await.map_err(|_| late)??;
            Ok((term, SystemTime::now()))
        });
    }

    /// Processes the response to a renewal.
    pub(super) fn renewed(&mut self, dynamic: &DynamicRef, answered: Result<Renewed, Error>) {
        let Some(lease) = self.delivery.leases.get_mut(dynamic) else { return };
        match answered {
            Ok((term, now)) => {
                lease.renew(term, now);
                self.not_renewed.remove(dynamic);
                self.metrics.count(Counter::LeaseRenewed);
                tracing::info!(%dynamic, lease = %lease.id, ttl_seconds = term.ttl.as_secs(), "lease renewed");
                self.save_state();
            }
            Err(error) if is_about_the_lease(&error) => {
                lease.refuse_renewal();
                tracing::warn!(%dynamic, %error, "lease not renewed, generating a new one");
            }
            Err(error) => {
                tracing::warn!(%dynamic, %error, "lease not renewed, trying again");
                let left = lease.ends.duration_since(SystemTime::now()).unwrap_or_default();
                let next = after_failure(self.not_renewed.get(dynamic), error.retry(), left, Instant::now());
                self.not_renewed.insert(dynamic.clone(), next);
                self.lease_failed(&error);
            }
        }
    }

    /// Processes the response to a generation.
    pub(super) fn generated(&mut self, dynamic: &DynamicRef, answered: Result<HeldLease, Error>) {
        let kept = match answered {
            Ok(lease) => self.delivery.hold(dynamic.clone(), lease),
            Err(error) => {
                let failure = Failure::from_error(dynamic, &error);
                tracing::warn!(%failure, "no new lease, trying again");
                self.lease_failed(&error);
                return log_unsaved(self.delivery.not_generated(dynamic, &error));
            }
        };
        self.not_renewed.remove(dynamic);
        self.delivery.leases.postpone_generation(dynamic, Instant::now() + GENERATED);
        self.metrics.count(Counter::LeaseGenerated);
        if let Err(error) = kept {
            // The credentials are valid nevertheless; after a restart they will be replaced.
            tracing::error!(%error, "new lease not saved");
        }
        self.commit(Instant::now());
    }

    /// Processes the response to a revocation.
    pub(super) fn revoked(&mut self, lease: &LeaseId, answered: Result<(), Error>) {
        self.delivery.revoked(lease, answered);
        self.save_state();
    }

    fn lease_failed(&self, error: &Error) {
        self.metrics.count(Counter::LeaseFailed);
        self.metrics.failed(metrics::class(error.class()), SystemTime::now());
    }
}

/// A jitter from 0 to 1 that is constant for a lease, so that the replicas of a workload do not
/// renew together.
fn jitter(lease: &LeaseId) -> f64 {
    let mut hasher = DefaultHasher::new();
    lease.hash(&mut hasher);
    fastrand::Rng::with_seed(hasher.finish()).f64()
}

/// When to retry a renewal after a failure at `now`, with `left` of the lease remaining, so that
/// several attempts are made before it expires.
fn after_failure(failed: Option<&Backoff>, retry: Retry, left: Duration, now: Instant) -> Backoff {
    let longest = (left / PART).clamp(PAUSE.0, PAUSE.1);
    let mut backoff = Backoff::resumed((PAUSE.0, longest), failed.map_or(0, Backoff::failures), now);
    // A pause requested by ScaiVault is respected, but not until the lease has expired.
    backoff.failed(now, retry.always(left / 2));
    backoff
}

/// Whether ScaiVault itself has permanently rejected a renewal because of the lease: not because of
/// the login, and not a proxy with its own status. In the other cases a second lease would be
/// superfluous.
fn is_about_the_lease(error: &Error) -> bool {
    let is_about =
        matches!(error.class(), Class::Denied | Class::NotFound | Class::Invalid | Class::Conflict);
    let is_scaivaults = error.code().is_some_and(|code| !code.is_empty());
    is_about && is_scaivaults && error.retry() == Retry::Never
}

#[cfg(test)]
mod tests {
    use scaivault_client::{ErrorCode, Refusal};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_that_ends_soon_is_retried_a_few_times() {
        let start = Instant::now();
        // The last third of 45 s.
        let (mut failed, mut now, mut attempts) = (None, start, 0);
        while now < start + 15 * SECOND {
            let backoff = after_failure(failed.as_ref(), Retry::Backoff, start + 15 * SECOND - now, now);
            now = backoff.due().unwrap();
            failed = Some(backoff);
            attempts += 1;
        }
        assert!((7..=20).contains(&attempts), "{attempts}");
    }

    #[test]
    fn a_requested_pause_ends_before_the_lease_expires() {
        let now = Instant::now();
        let pause = |asked: u32, left: u32| {
            let backoff = after_failure(None, Retry::After(asked * SECOND), left * SECOND, now);
            (backoff.due().unwrap() - now).as_secs()
        };
        assert!((60..=66).contains(&pause(60, 3600)));
        assert!((300..=330).contains(&pause(3600, 600)));
        assert!(pause(3600, 0) <= 1);
    }

    #[test]
    fn only_scaivault_itself_refuses_a_renewal_for_good() {
        let refused = |status, code| {
            let code = ErrorCode::new(code);
            let refusal =
                Refusal { status, code, message: String::new(), request_id: None, retry_after: None };
            is_about_the_lease(&Error { operation: Operation::Renew, kind: ErrorKind::Refused(refusal) })
        };
        assert!(refused(404, "lease_not_found") && refused(403, "access_denied"));
        assert!(!refused(503, "service_unavailable") && !refused(401, "token_invalid"));
        for status in [400, 403, 404, 409] {
            assert!(!refused(status, ""), "an ingress's own {status}");
        }
    }
}
