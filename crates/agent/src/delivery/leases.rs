//! Generates and revokes leases. A generation in flight is always awaited: a lease whose response
//! is dropped can never be revoked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{Error, ErrorKind, HeldLease, LeaseId, Operation, Retry, Timeouts};
use scaivault_contract::DynamicRef;
use tokio::{
    signal::unix::Signal,
    time::{Instant, sleep_until},
};

use super::Delivery;
use crate::{exit::Exit, failure::Failure, state::StateError};

/// The timeout of one generation. Engines that create cloud credentials need minutes.
const GENERATION_TIMEOUT: Duration = Duration::from_mins(5);
/// How long generations in flight are awaited after the timeout of a start, unless SIGTERM arrives.
const LATE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a process may run after SIGTERM, without `SCAIVAULT_REVOKE_DELAY`. The kubelet's
/// default grace period is 30 s.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// The timeout of the final revocations including retries, when nothing else is awaited: with the
/// default delay, the total is below the grace period.
pub(crate) const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(8);

/// How long to wait at the end.
pub(crate) enum Wait<'a> {
    /// SIGTERM has arrived: wait until then for revocations, and for generations in flight until
    /// they are answered. If that takes longer than the pod's grace period, the kubelet kills the
    /// process; until then waiting can still save a lease.
    Until(Instant),
    /// Wait for generations in flight for a limited time, then for revocations; after SIGTERM as in
    /// [`Self::Until`].
    UnlessStopped(&'a mut Signal),
}

impl Delivery {
    /// Generates a lease for each of `dynamics` concurrently, and retries until the deadline.
    /// Returns the failures.
    pub(crate) async fn generate(
        &mut self,
        dynamics: BTreeSet<DynamicRef>,
        deadline: Instant,
    ) -> Result<Vec<Failure>, StateError> {
        // Each with its last failure.
        let mut missing: BTreeMap<_, _> = dynamics.into_iter().map(|dynamic| (dynamic, None)).collect();
        let mut failures = Vec::new();
        loop {
            let now = Instant::now();
            let idle = missing.keys().filter(|dynamic| !self.generating.has(dynamic));
            let dues =
                idle.map(|dynamic| (dynamic.clone(), self.leases.generation_due(dynamic).unwrap_or(now)));
            let dues = dues.filter(|(_, due)| *due < deadline);
            let (due, later): (Vec<_>, Vec<_>) = dues.partition(|(_, due)| *due <= now);
            self.start_generating(due.into_iter().map(|(dynamic, _)| dynamic).collect())?;
            let next = later.into_iter().map(|(_, due)| due).min();
            if self.generating.is_empty() && next.is_none() {
                break;
            }
            let (dynamic, answered) = tokio::select! {
                Some(answer) = self.generating.next() => answer,
                () = sleep_until(next.unwrap_or(deadline)) => match next {
                    Some(_) => continue,
                    None => break,
                },
            };
            match answered {
                Ok(lease) => {
                    missing.remove(&dynamic);
                    self.hold(dynamic, lease)?;
                }
                Err(error) => {
                    self.not_generated(&dynamic, &error)?;
                    let failure = Failure::from_error(&dynamic, &error);
                    if error.retry() == Retry::Never {
                        missing.remove(&dynamic);
                        failures.push(failure);
                    } else {
                        tracing::warn!(%failure, "no lease yet, trying again");
                        missing.insert(dynamic, Some(failure));
                    }
                }
            }
        }
        let late = missing.into_iter().map(|(dynamic, last)| last.unwrap_or_else(|| self.not_yet(&dynamic)));
        failures.extend(late);
        Ok(failures)
    }

    /// Why a dynamic secret that was not rejected has no lease yet.
    fn not_yet(&self, dynamic: &DynamicRef) -> Failure {
        match self.leases.generation_due(dynamic) {
            Some(due) if !self.generating.has(dynamic) => {
                let seconds = due.saturating_duration_since(Instant::now()).as_secs();
                let reason = format!(
                    "previous attempts may have created database users that are not in use, so \
                     the next attempt is in {seconds} s; check the engine in ScaiVault, and the \
                     log of the previous start"
                );
                Failure::new(dynamic, reason, Exit::Failed)
            }
            _ => Failure::late(dynamic),
        }
    }

    /// Requests a lease for each of `dynamics`, unless a request is in flight. The state records
    /// the requests first, so that a process that is killed repeatedly does not create a user each
    /// time.
    pub(crate) fn start_generating(&mut self, dynamics: Vec<DynamicRef>) -> Result<(), StateError> {
        if dynamics.is_empty() {
            return Ok(());
        }
        for dynamic in &dynamics {
            self.leases.generating(dynamic);
        }
        let saved = self.save();
        for dynamic in dynamics {
            let (client, requested) = (Arc::clone(&self.client), dynamic.clone());
            self.generating.start(&dynamic, async move {
                let lease = client.generate(&requested, GENERATION_TIMEOUT).await?;
                Ok(HeldLease::generated(lease, SystemTime::now()))
            });
        }
        saved
    }

    /// Takes a generated lease into use, replacing the previous one. It is stored before its
    /// credentials are written.
    pub(crate) fn hold(&mut self, dynamic: DynamicRef, lease: HeldLease) -> Result<(), StateError> {
        tracing::info!(%dynamic, lease = %lease.id, ttl_seconds = lease.term().as_secs(), "lease generated");
        self.leases.insert(dynamic, lease, Instant::now());
        self.save()
    }

    /// Records a failed generation. If its response contains a lease nevertheless, that lease is
    /// revoked.
    pub(crate) fn not_generated(&mut self, dynamic: &DynamicRef, error: &Error) -> Result<(), StateError> {
        let now = Instant::now();
        if let Some(lease) = error.orphaned_lease() {
            self.leases.retire(lease.clone(), now);
        }
        self.leases.not_generated(dynamic, error.retry(), may_have_made_user(error), now);
        self.save()
    }

    /// Starts the revocations that are due.
    pub(crate) fn start_revoking(&mut self, now: Instant) {
        for lease in self.leases.revocable(now) {
            let (client, id) = (Arc::clone(&self.client), lease.clone());
            self.revoking.start(&lease, async move { client.revoke(&id).await });
        }
    }

    /// Processes the response to a revocation.
    pub(crate) fn revoked(&mut self, lease: &LeaseId, answered: Result<(), Error>) {
        match answered {
            Ok(()) => {
                tracing::info!(%lease, "lease revoked");
                self.leases.revoked(lease);
            }
            Err(error) => {
                tracing::warn!(%lease, %error, "lease not revoked, trying again");
                self.leases.not_revoked(lease, error.retry(), Instant::now());
            }
        }
    }

    /// Revokes every lease concurrently, including those that are still being generated. Failures
    /// are logged and stay in the state.
    pub(crate) async fn revoke_all(&mut self, wait: Wait<'_>) {
        if !self.leases.is_empty() {
            self.take_files_away();
        }
        self.leases.retire_all(Instant::now());
        self.revoke_due(wait).await;
    }

    /// The next run on the same volume must not treat revoked credentials as delivered files.
    fn take_files_away(&self) {
        let files = self.config.outputs.files.iter();
        let of_leases = files.filter(|spec| spec.source.lease().is_some()).map(|spec| &spec.file);
        if let Err(error) = self.writer.remove(of_leases) {
            tracing::warn!(%error, "files of revoked leases not removed");
        }
    }

    /// Revokes unused leases, and those whose generation completes too late.
    pub(crate) async fn revoke_due(&mut self, mut wait: Wait<'_>) {
        if !self.generating.is_empty() {
            tracing::info!("waiting for a lease generation in progress");
        }
        // The next run must not reuse a revoked lease.
        self.keep_revocations();
        let mut limit = match &wait {
            Wait::Until(deadline) => *deadline,
            Wait::UnlessStopped(_) => Instant::now() + LATE_TIMEOUT,
        };
        loop {
            let now = Instant::now();
            self.start_revoking(now);
            if self.generating.is_empty() && matches!(wait, Wait::UnlessStopped(_)) {
                limit = limit.min(now + GIVE_BACK_TIMEOUT);
            }
            let idle = self.leases.retired().filter(|(lease, _)| !self.revoking.has(lease));
            let next = idle.map(|(_, due)| due).min().filter(|due| *due < limit);
            let is_late = limit <= now && (self.generating.is_empty() || !matches!(wait, Wait::Until(_)));
            if self.generating.is_empty() && self.revoking.is_empty() && next.is_none() || is_late {
                break;
            }
            let wake = next.unwrap_or(if now < limit { limit } else { now + GENERATION_TIMEOUT });
            tokio::select! {
                Some((dynamic, answered)) = self.generating.next() => {
                    match answered {
                        Ok(lease) => self.leases.retire(lease.id, Instant::now()),
                        Err(error) => drop(self.not_generated(&dynamic, &error)),
                    }
                    limit = limit.max(Instant::now() + GIVE_BACK_TIMEOUT);
                    self.keep_revocations();
                }
                Some((lease, answered)) = self.revoking.next() => self.revoked(&lease, answered),
                () = sleep_until(wake) => {}
                () = stopped(&mut wait) => {
                    limit = limit.min(Instant::now() + STOP_TIMEOUT);
                    wait = Wait::Until(limit);
                }
            }
        }
        for lease in self.leases.not_confirmed() {
            tracing::warn!(%lease, "lease not revoked, it expires at the end of its lifetime");
        }
        if !self.generating.is_empty() {
            tracing::warn!("lease still being generated, it expires at the end of its lifetime");
        }
        self.keep_revocations();
    }

    fn keep_revocations(&self) {
        if let Err(error) = self.save() {
            tracing::warn!(%error, "revoked leases not removed from the state");
        }
    }
}

/// Completes on SIGTERM, if that has not arrived yet.
async fn stopped(wait: &mut Wait<'_>) {
    match wait {
        Wait::Until(_) => std::future::pending().await,
        Wait::UnlessStopped(end) => drop(end.recv().await),
    }
}

/// Whether the failed generation may have created a database user: the request was sent, and
/// neither `ScaiVault` nor a proxy reports that nothing was done.
fn may_have_made_user(error: &Error) -> bool {
    error.operation == Operation::Generate
        && match &error.kind {
            ErrorKind::Refused(refusal) => {
                refusal.status >= 500 && refusal.code.as_str() != "service_unavailable"
            }
            // Connecting has its own, shorter timeout.
            ErrorKind::Timeout { after, .. } => *after > Timeouts::default().connect,
            ErrorKind::Broken { .. } | ErrorKind::Answer(_) | ErrorKind::OrphanedLease { .. } => true,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use scaivault_client::{AnswerFault, ErrorCode, Refusal};

    use super::*;

    #[test]
    fn only_a_sent_generation_may_have_created_a_user() {
        let check = |operation, kind: ErrorKind| may_have_made_user(&Error { operation, kind });
        let refused = |status, code| {
            let code = ErrorCode::new(code);
            ErrorKind::Refused(Refusal {
                status,
                code,
                message: String::new(),
                request_id: None,
                retry_after: None,
            })
        };
        let timeout = |seconds| {
            let after = Duration::from_secs(seconds);
            ErrorKind::Timeout { address: String::new(), after }
        };
        for (status, code) in [(500, "internal_error"), (504, ""), (502, ""), (500, "engine_failed")] {
            assert!(check(Operation::Generate, refused(status, code)), "{status} {code}");
        }
        for (status, code) in
            [(503, "service_unavailable"), (429, "rate_limited"), (403, "access_denied"), (404, "")]
        {
            assert!(!check(Operation::Generate, refused(status, code)), "{status} {code}");
        }
        assert!(check(Operation::Generate, AnswerFault::Json.into()));
        assert!(check(Operation::Generate, timeout(300)));
        assert!(!check(Operation::Generate, timeout(5)), "not connected");
        assert!(!check(Operation::Exchange, timeout(300)), "a login");
    }
}
