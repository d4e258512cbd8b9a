//! Keeping leases: renewed, replaced, generated.

use std::time::{Duration, SystemTime};

use scaivault_client::Retry;
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
/// The pause after a lease was generated, or could be neither renewed nor generated: each generation makes a user in a
/// database, whatever the answers say about its life.
const PAUSE: Duration = Duration::from_secs(30);

impl Sidecar {
    /// When something is due with a lease.
    pub(super) fn leases_due(&self, now: Instant, time: SystemTime) -> Option<Instant> {
        let due = |dynamic: DynamicRef| {
            let due = match self.step(&dynamic, time) {
                Some(LeaseStep::Wait(until)) => {
                    now + until.duration_since(time).unwrap_or_default().min(LOOK)
                }
                _ => now,
            };
            self.lease_tries.get(&dynamic).map_or(due, |earliest| due.max(*earliest))
        };
        self.delivery.dynamics().into_iter().map(due).min()
    }

    /// Renews, replaces and generates the leases that it is time for.
    pub(super) async fn keep_leases(&mut self) {
        for dynamic in self.delivery.dynamics() {
            if self.lease_tries.get(&dynamic).is_some_and(|due| *due > Instant::now()) {
                continue;
            }
            let is_kept = match self.step(&dynamic, SystemTime::now()) {
                Some(LeaseStep::Wait(_)) => continue,
                Some(LeaseStep::Renew) => self.renew(&dynamic).await,
                Some(LeaseStep::Replace) | None => self.replace(&dynamic).await,
            };
            if !is_kept {
                self.metrics.count(Counter::LeaseFailed);
                self.lease_tries.insert(dynamic, Instant::now() + PAUSE);
            }
        }
    }

    fn step(&self, dynamic: &DynamicRef, time: SystemTime) -> Option<LeaseStep> {
        let lease = self.delivery.leases.0.get(dynamic)?;
        Some(lease.step(time, chance::of(&lease.id)))
    }

    async fn renew(&mut self, dynamic: &DynamicRef) -> bool {
        let Some(lease) = self.delivery.leases.0.get_mut(dynamic) else { return false };
        match self.delivery.client.renew(&lease.id, dynamic.ttl).await {
            Ok(term) => {
                lease.renew(term, SystemTime::now());
                self.metrics.count(Counter::LeaseRenewed);
                tracing::info!(%dynamic, lease = %lease.id, ttl_seconds = term.ttl.as_secs(), "lease renewed");
                self.keep_state().await;
                true
            }
            Err(error) if error.retry() == Retry::Never => {
                tracing::warn!(%dynamic, %error, "lease not renewed, generating a new one");
                self.replace(dynamic).await
            }
            Err(error) => {
                tracing::warn!(%dynamic, %error, "lease not renewed, trying again");
                false
            }
        }
    }

    async fn replace(&mut self, dynamic: &DynamicRef) -> bool {
        let patience = Patience::once(Instant::now() + TRY_TIMEOUT);
        let generated = self.delivery.generate(dynamic, patience).await;
        self.lease_tries.insert(dynamic.clone(), Instant::now() + PAUSE);
        match generated {
            Ok(Ok(replaced)) => {
                self.metrics.count(Counter::LeaseGenerated);
                self.replaced.extend(replaced);
                let now = SystemTime::now();
                self.replaced.retain(|lease| !lease.has_ended(now));
            }
            Ok(Err(failure)) => {
                tracing::warn!(%failure, "no new lease, trying again");
                return false;
            }
            // The credentials are valid all the same; after a restart others take their place.
            Err(error) => tracing::error!(%error, "the new lease is not kept"),
        }
        // Of a pod that has nothing to read all is fresh with its leases.
        if self.write(&Answers::new()) == Written::All && self.delivery.keys().is_empty() {
            self.metrics.fresh(SystemTime::now());
        }
        true
    }
}
