//! Leader election with a Lease: only its holder restarts workloads.
//!
//! Two leaders at the same time are harmless, because every write is guarded by the object's version.
//! Therefore a holder that cannot renew the Lease continues until it expires.

use std::time::Duration;

use crate::telemetry::LogThrottle;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use scaivault_cluster::{RETRIED, is_forbidden, reason};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// How long the Lease is valid after its last renewal.
const DURATION: Duration = Duration::from_secs(15);
/// How often the Lease is renewed or checked.
const PERIOD: Duration = Duration::from_secs(3);
/// The timeout of a request.
const ANSWER: Duration = Duration::from_secs(4);
/// How often it is logged that the Lease cannot be used.
const REMINDER: Duration = Duration::from_mins(5);

/// A candidate for leadership.
pub(super) struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    seen: ObservedLease,
    throttle: LogThrottle<Instant>,
}

/// The last observed Lease of another holder. Its age is measured by this process's clock, because other
/// clocks may be wrong.
#[derive(Debug, Default)]
struct ObservedLease {
    /// The holder and the Lease's version.
    lease: Option<(String, String)>,
    since: Option<Instant>,
}

impl ObservedLease {
    /// Whether the Lease may be taken.
    fn is_free(&mut self, lease: &Lease, identity: &str, now: Instant) -> bool {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if holder.is_empty() || holder == identity {
            return true;
        }
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let current = Some((holder, version));
        if self.lease != current {
            (self.lease, self.since) = (current, Some(now));
        }
        let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
        let duration = Duration::from_secs(seconds).min(DURATION * 4);
        self.since.is_none_or(|since| now.duration_since(since) >= duration)
    }
}

impl Candidate {
    pub(super) fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        let api = Api::namespaced(client, namespace);
        Self {
            api,
            name: name.to_owned(),
            identity,
            seen: ObservedLease::default(),
            throttle: LogThrottle::new(REMINDER),
        }
    }

    /// Acquires the Lease whenever it is free and reports leadership in `leads`. Releases it on `stop`.
    pub(super) async fn run(mut self, leads: watch::Sender<bool>, mut stop: watch::Receiver<bool>) {
        let mut renewed: Option<Instant> = None;
        loop {
            match timeout(ANSWER, self.try_hold()).await {
                Ok(Ok(true)) => renewed = Some(Instant::now()),
                Ok(Ok(false)) => renewed = None,
                Ok(Err(error)) => self.fail(&reason(&error), is_forbidden(&error)),
                Err(_) => self.fail("no answer in time", false),
            }
            // Other candidates wait for the whole duration, so this process leads until shortly before its
            // end.
            let is_holder = renewed.is_some_and(|renewed| renewed.elapsed() + ANSWER < DURATION);
            let is_changed = leads.send_if_modified(|leads| std::mem::replace(leads, is_holder) != is_holder);
            if is_changed {
                tracing::info!(
                    lease = self.name,
                    identity = self.identity,
                    is_leader = is_holder,
                    "leadership changed"
                );
            }
            tokio::select! {
                () = sleep(PERIOD) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        leads.send_replace(false);
        if renewed.is_some() {
            let _ = timeout(ANSWER, self.release()).await;
        }
    }

    /// Acquires or renews the Lease. Returns whether this process holds it.
    async fn try_hold(&mut self) -> kube::Result<bool> {
        let now = MicroTime(Timestamp::now());
        let params = PostParams::default();
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(LeaseSpec::default(), now)),
            };
            return taken(self.api.create(&params, &lease).await);
        };
        if !self.seen.is_free(&lease, &self.identity, Instant::now()) {
            return Ok(false);
        }
        // With the version that was read, so that only one of two candidates succeeds.
        lease.spec = Some(self.spec(lease.spec.unwrap_or_default(), now));
        taken(self.api.replace(&self.name, &params, &lease).await)
    }

    fn spec(&self, former: LeaseSpec, now: MicroTime) -> LeaseSpec {
        let is_same = former.holder_identity.as_deref() == Some(&*self.identity);
        let transitions = former.lease_transitions.unwrap_or_default();
        LeaseSpec {
            acquire_time: if is_same { former.acquire_time } else { Some(now.clone()) },
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            lease_transitions: Some(transitions.saturating_add(i32::from(!is_same))),
            renew_time: Some(now),
            ..former
        }
    }

    async fn release(&self) -> kube::Result<()> {
        let mut lease = self.api.get(&self.name).await?;
        if let Some(spec) = &mut lease.spec
            && spec.holder_identity.as_deref() == Some(&*self.identity)
        {
            spec.holder_identity = None;
            self.api.replace(&self.name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }

    fn fail(&mut self, error: &str, is_forbidden: bool) {
        if self.throttle.is_due(Instant::now()) {
            let fix = if is_forbidden {
                "grant the service account get, create and update on this lease"
            } else {
                RETRIED
            };
            tracing::warn!(lease = self.name, error, fix, "lease not renewed");
        }
    }
}

/// Whether a write acquired the Lease. A conflict means that another candidate was faster.
fn taken(written: kube::Result<Lease>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn a_lease_is_free_when_its_holder_is_silent() {
        let (mut seen, start) = (ObservedLease::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(seen.is_free(&lease("", "1"), "me", at(0)));
        assert!(seen.is_free(&lease("me", "1"), "me", at(0)));
        assert!(!seen.is_free(&lease("other", "1"), "me", at(0)));
        assert!(!seen.is_free(&lease("other", "1"), "me", at(14)));
        assert!(!seen.is_free(&lease("other", "2"), "me", at(15)), "it was renewed");
        assert!(seen.is_free(&lease("other", "2"), "me", at(30)));
    }
}
