//! Keeping leases: renewed, replaced, generated.

use std::time::{Duration, SystemTime};

use scaivault_client::{Class, Error, Retry};
use scaivault_contract::DynamicRef;
use tokio::time::Instant;

use super::{Sidecar, TRY_TIMEOUT, refresh::Written};
use crate::{
    chance,
    fetch::{Answers, Patience},
    lease::LeaseStep,
    metrics::Counter,
};

/// How long the sidecar sleeps at most while it holds leases: their times are wall-clock times, and a clock may be set.
const LOOK: Duration = Duration::from_mins(1);

impl Sidecar {
    /// When something is due with a lease.
    pub(super) fn leases_due(&self, now: Instant, time: SystemTime) -> Option<Instant> {
        let due = |dynamic: DynamicRef| {
            let after = |until: Option<Instant>| until.map_or(now, |until| until.max(now));
            match self.step(&dynamic, time) {
                LeaseStep::Wait(until) => now + until.duration_since(time).unwrap_or_default().min(LOOK),
                LeaseStep::Renew => after(self.pauses.until_renewal(&dynamic)),
                LeaseStep::Replace => after(self.pauses.until_generation(&dynamic)),
            }
        };
        self.delivery.dynamics().into_iter().map(due).min()
    }

    /// Renews, replaces and generates the leases that it is time for.
    pub(super) async fn keep_leases(&mut self) {
        for dynamic in self.delivery.dynamics() {
            let is_over = |until: Option<Instant>| until.is_none_or(|until| until <= Instant::now());
            match self.step(&dynamic, SystemTime::now()) {
                LeaseStep::Renew if is_over(self.pauses.until_renewal(&dynamic)) => {
                    self.renew(&dynamic).await;
                }
                LeaseStep::Replace if is_over(self.pauses.until_generation(&dynamic)) => {
                    self.replace(&dynamic).await;
                }
                _ => {}
            }
        }
    }

    fn step(&self, dynamic: &DynamicRef, time: SystemTime) -> LeaseStep {
        let lease = self.delivery.leases.0.get(dynamic);
        lease.map_or(LeaseStep::Replace, |lease| lease.step(time, chance::of(&lease.id)))
    }

    async fn renew(&mut self, dynamic: &DynamicRef) {
        let Some(lease) = self.delivery.leases.0.get_mut(dynamic) else { return };
        match self.delivery.client.renew(&lease.id, dynamic.ttl).await {
            Ok(term) => {
                lease.renew(term, SystemTime::now());
                self.pauses.renewed(dynamic);
                self.metrics.count(Counter::LeaseRenewed);
                tracing::info!(%dynamic, lease = %lease.id, ttl_seconds = term.ttl.as_secs(), "lease renewed");
                self.keep_state().await;
            }
            Err(error) if is_about_the_lease(&error) => {
                // From here on it is to be replaced.
                lease.is_renewable = false;
                tracing::warn!(%dynamic, %error, "lease not renewed, generating a new one");
            }
            Err(error) => {
                tracing::warn!(%dynamic, %error, "lease not renewed, trying again");
                let asked = match error.retry() {
                    Retry::After(asked) => Some(asked),
                    Retry::Backoff | Retry::Once | Retry::Never => None,
                };
                self.lease_failed(dynamic, asked);
            }
        }
    }

    async fn replace(&mut self, dynamic: &DynamicRef) {
        let patience = Patience::once(Instant::now() + TRY_TIMEOUT);
        match self.delivery.generate(dynamic, patience).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                tracing::warn!(%failure, "no new lease, trying again");
                self.lease_failed(dynamic, failure.asked_pause());
                return;
            }
            // The credentials are valid all the same; after a restart others take their place.
            Err(error) => tracing::error!(%error, "the new lease is not kept"),
        }
        self.pauses.generated(dynamic, Instant::now());
        self.metrics.count(Counter::LeaseGenerated);
        // Of a pod that has nothing to read all is fresh with its leases.
        if self.write(&Answers::new()) == Written::All && self.delivery.keys().is_empty() {
            self.metrics.fresh(SystemTime::now());
        }
    }

    fn lease_failed(&mut self, dynamic: &DynamicRef, asked: Option<Duration>) {
        self.metrics.count(Counter::LeaseFailed);
        let lease = self.delivery.leases.0.get(dynamic);
        let left = lease.and_then(|lease| lease.ends.duration_since(SystemTime::now()).ok());
        self.pauses.failed(dynamic, left, asked, Instant::now());
    }
}

/// Whether ScaiVault has refused a renewal for good because of the lease: not because of the login, and not somebody else
/// in its place with an answer of another kind. Then a second lease would be too many.
fn is_about_the_lease(error: &Error) -> bool {
    let is_about =
        matches!(error.class(), Class::Denied | Class::NotFound | Class::Invalid | Class::Conflict);
    is_about && error.retry() == Retry::Never
}
