//! Keeping leases: renewed, replaced, generated.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{Class, Error, ErrorCode, LeaseTerm, Retry};
use scaivault_contract::DynamicRef;
use tokio::time::Instant;

use super::{Sidecar, refresh::Written};
use crate::{
    chance,
    failure::Failure,
    fetch::Answers,
    lease::{HeldLease, LeaseStep},
    metrics::{self, Counter},
};

/// How long the sidecar sleeps at most while it holds leases: their times are wall-clock times, and a clock may be set.
const LOOK: Duration = Duration::from_mins(1);

/// The term that a renewal brought, and when it was answered.
pub(super) type Renewed = (LeaseTerm, SystemTime);

impl Sidecar {
    /// When something is due with a lease.
    pub(super) fn leases_due(&self, now: Instant, time: SystemTime) -> Option<Instant> {
        let due = |dynamic: DynamicRef| {
            if self.is_under_way(&dynamic) {
                // Its answer wakes.
                return now + LOOK;
            }
            let after = |until: Option<Instant>| until.map_or(now, |until| until.max(now));
            match self.step(&dynamic, time) {
                LeaseStep::Wait(until) => now + until.duration_since(time).unwrap_or_default().min(LOOK),
                LeaseStep::Renew => after(self.lease_pauses.until_renewal(&dynamic)),
                LeaseStep::Replace => after(self.lease_pauses.until_generation(&dynamic)),
            }
        };
        self.delivery.dynamics().into_iter().map(due).min()
    }

    /// Starts to renew, replace and generate the leases that it is time for.
    pub(super) fn keep_leases(&mut self) {
        let now = Instant::now();
        for dynamic in self.delivery.dynamics() {
            let is_over = |until: Option<Instant>| until.is_none_or(|until| until <= now);
            match self.step(&dynamic, SystemTime::now()) {
                _ if self.is_under_way(&dynamic) => {}
                LeaseStep::Renew if is_over(self.lease_pauses.until_renewal(&dynamic)) => {
                    self.renew(&dynamic);
                }
                LeaseStep::Replace if is_over(self.lease_pauses.until_generation(&dynamic)) => {
                    self.delivery.start_generating(&dynamic);
                }
                _ => {}
            }
        }
    }

    fn is_under_way(&self, dynamic: &DynamicRef) -> bool {
        self.renewing.has(dynamic) || self.delivery.generating.has(dynamic)
    }

    fn step(&self, dynamic: &DynamicRef, time: SystemTime) -> LeaseStep {
        let Some(lease) = self.delivery.leases.get(dynamic) else { return LeaseStep::Replace };
        let has_failed = self.lease_pauses.until_renewal(dynamic).is_some();
        match lease.step(time, chance::of(&lease.id)) {
            // Whatever the reason was: without new credentials the application soon has none.
            LeaseStep::Renew if has_failed && lease.is_nearly_over(time) => LeaseStep::Replace,
            step => step,
        }
    }

    fn renew(&mut self, dynamic: &DynamicRef) {
        let Some(lease) = self.delivery.leases.get(dynamic) else { return };
        let (client, id, ttl) = (Arc::clone(&self.delivery.client), lease.id.clone(), dynamic.ttl);
        self.renewing.start(dynamic, async move { Ok((client.renew(&id, ttl).await?, SystemTime::now())) });
    }

    /// A renewal was answered.
    pub(super) async fn renewed(&mut self, dynamic: &DynamicRef, answered: Result<Renewed, Error>) {
        let Some(lease) = self.delivery.leases.get_mut(dynamic) else { return };
        match answered {
            Ok((term, now)) => {
                lease.renew(term, now);
                self.lease_pauses.renewed(dynamic);
                self.metrics.count(Counter::LeaseRenewed);
                tracing::info!(%dynamic, lease = %lease.id, ttl_seconds = term.ttl.as_secs(), "lease renewed");
                self.keep_state().await;
            }
            Err(error) if is_about_the_lease(&error) => {
                lease.refuse_renewal();
                tracing::warn!(%dynamic, %error, "lease not renewed, generating a new one");
            }
            Err(error) => {
                tracing::warn!(%dynamic, %error, "lease not renewed, trying again");
                self.lease_failed(dynamic, &error);
            }
        }
    }

    /// A generation was answered.
    pub(super) async fn generated(&mut self, dynamic: DynamicRef, answered: Result<HeldLease, Error>) {
        let lease = match answered {
            Ok(lease) => lease,
            Err(error) => {
                let failure = Failure::of_error(&dynamic, &error);
                tracing::warn!(%failure, "no new lease, trying again");
                self.lease_failed(&dynamic, &error);
                return;
            }
        };
        self.lease_pauses.generated(&dynamic, Instant::now());
        self.metrics.count(Counter::LeaseGenerated);
        if let Err(error) = self.delivery.hold(dynamic, lease).await {
            // The credentials are valid all the same; after a restart others take their place.
            tracing::error!(%error, "the new lease is not kept");
        }
        // Of a pod that has nothing to read all is fresh with its leases.
        if self.write(&Answers::new()) == Written::All && self.delivery.keys().is_empty() {
            self.metrics.fresh(SystemTime::now());
        }
    }

    fn lease_failed(&mut self, dynamic: &DynamicRef, error: &Error) {
        self.metrics.count(Counter::LeaseFailed);
        self.metrics.failed(metrics::class(error.class()), SystemTime::now());
        let lease = self.delivery.leases.get(dynamic);
        let left = lease.and_then(|lease| lease.ends.duration_since(SystemTime::now()).ok());
        self.lease_pauses.failed(dynamic, left, error.retry().asked(), Instant::now());
    }
}

/// Whether ScaiVault has refused a renewal for good because of the lease: not because of the login, and not somebody else
/// in its place with a status of its own. Then a second lease would be too many.
fn is_about_the_lease(error: &Error) -> bool {
    let is_about =
        matches!(error.class(), Class::Denied | Class::NotFound | Class::Invalid | Class::Conflict);
    let is_scaivaults = error.code().is_some_and(|code| !matches!(code, ErrorCode::Other(_)));
    is_about && is_scaivaults && error.retry() == Retry::Never
}

#[cfg(test)]
mod tests {
    use scaivault_client::{ErrorKind, Operation, Refusal};

    use super::*;

    #[test]
    fn only_scaivault_itself_refuses_a_renewal_for_good() {
        let refused = |status, code| {
            let refusal =
                Refusal { status, code, message: String::new(), request_id: None, retry_after: None };
            is_about_the_lease(&Error { operation: Operation::Renew, kind: ErrorKind::Refused(refusal) })
        };
        assert!(refused(404, ErrorCode::LeaseNotFound) && refused(403, ErrorCode::AccessDenied));
        assert!(!refused(503, ErrorCode::ServiceUnavailable) && !refused(401, ErrorCode::TokenInvalid));
        for status in [400, 403, 404, 409] {
            assert!(!refused(status, ErrorCode::Other("".into())), "an ingress's own {status}");
        }
    }
}
