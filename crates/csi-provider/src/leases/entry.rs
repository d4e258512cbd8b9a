//! The leases of one pod and dynamic secret: when they are renewed, replaced and revoked. Pure: time is a parameter.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{
    Backoff, Class, Client, Error, HeldLease, LeaseId, LeaseStep, LeaseTerm, Retry, SecretData,
};
use tokio::time::Instant;

use crate::failure::Failure;

/// The backoff after a failed generation that may have created a user, from and to.
const GENERATION_PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));
/// The note that is appended to such a failure.
const MAY_HAVE_USER: &str =
    "it may have created a database user, so the next attempt is made after a pause of up to 5 min";
/// The backoff after a failed renewal or revocation, from and to.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// The point within the renewal window at which this provider renews.
const JITTER: f64 = 0.5;
/// How long leases without a volume are kept, because the application may have read its files shortly
/// before.
pub(super) const UNUSED_LIMIT: Duration = Duration::from_mins(10);
/// The maximum number of replaced leases that have not ended. If engines respect the requested term, there
/// are two.
const RETIRED_MAX: usize = 8;
/// The maximum number of volumes that are recorded for an entry.
const VOLUMES_MAX: usize = 16;
/// The assumed term of a lease if it is not known.
const UNKNOWN_TERM: Duration = Duration::from_hours(24);

/// All leases of one pod and dynamic secret.
pub(super) struct Entry {
    /// The pod's last login.
    pub(super) client: Arc<Client>,
    /// Locked while a lease is generated, so that concurrent calls generate only one.
    pub(super) generating: Arc<tokio::sync::Mutex<()>>,
    life: Life,
    /// The volumes whose last call requested these credentials, whether or not they were mounted.
    requested_by: BTreeSet<String>,
    /// The last request of a volume.
    asked: Instant,
    /// The current lease, which is in the state file.
    held: Option<TimedLease>,
    /// The next lease. It is not used before it is in the state file, because the provider could not revoke
    /// it after a restart.
    next: Option<TimedLease>,
    /// Replaced leases, which the application may still use.
    retired: BTreeMap<LeaseId, RetiredLease>,
    generations: Backoff,
    /// The error of the last generation; `None` after a success.
    failure: Option<Failure>,
    /// Whether a renewal or revocation is in flight.
    is_busy: bool,
    renewals: Backoff,
}

/// The volumes that have the credentials.
enum Life {
    /// Target paths of the pod's volumes.
    Used(BTreeSet<String>),
    /// Since when no volume uses them: they were only requested (the time of the last request), or the
    /// last volume got others.
    Unused(Instant),
    /// No volume uses them any more, so all leases must be revoked.
    Ended,
}

/// A lease with its end by the monotonic clock, because the wall clock may be changed.
struct TimedLease {
    lease: HeldLease,
    until: Instant,
}

/// A lease that is not used for new mounts.
struct RetiredLease {
    /// When it expires on its own.
    until: Instant,
    /// Due when it must be revoked; nothing is due while the application may use it.
    revocations: Backoff,
}

/// An entry of the state file.
#[derive(Clone)]
pub(crate) struct StoredLeases {
    pub(crate) lease: Option<HeldLease>,
    /// With their ends.
    pub(crate) retired: BTreeMap<LeaseId, SystemTime>,
    pub(crate) volumes: BTreeSet<String>,
}

/// The answer to a call of the driver.
pub(super) enum Offer {
    /// The current credentials.
    Held,
    /// New credentials. If that fails, `has_usable` says whether the current ones can be used.
    Generate { has_usable: bool },
    /// No credentials: the last generation failed with this error, and the backoff is not over.
    NotYet(Failure),
    /// No credentials: too many replaced leases have not ended.
    TooMany(usize),
    /// No credentials: the process is shutting down, and a lease generated now could be lost.
    Stopping,
}

/// A due action.
pub(super) enum Step {
    Renew(LeaseId),
    Revoke(Vec<LeaseId>),
    /// Remove the entry: there is nothing left to revoke.
    Forget,
}

impl Entry {
    pub(super) fn new(client: Arc<Client>, now: Instant) -> Self {
        Self {
            client,
            generating: Arc::default(),
            life: Life::Unused(now),
            requested_by: BTreeSet::new(),
            asked: now,
            held: None,
            next: None,
            retired: BTreeMap::new(),
            generations: Backoff::new(GENERATION_PAUSES),
            failure: None,
            is_busy: false,
            renewals: Backoff::new(RETRY_PAUSES),
        }
    }

    /// Continues the leases of an earlier process.
    pub(super) fn restored(client: Arc<Client>, kept: StoredLeases, now: Instant, time: SystemTime) -> Self {
        let StoredLeases { lease, retired, volumes } = kept;
        let until = |ends: SystemTime| now + ends.duration_since(time).unwrap_or_default();
        let retired = retired.into_iter().map(|(id, ends)| (id, RetiredLease::new(until(ends))));
        let held = lease.map(|lease| TimedLease { until: until(lease.ends), lease });
        Self {
            requested_by: volumes.clone(),
            life: if volumes.is_empty() { Life::Unused(now) } else { Life::Used(volumes) },
            held,
            retired: retired.collect(),
            ..Self::new(client, now)
        }
    }

    /// The state for the next process; `None` if there is nothing to renew or revoke.
    pub(super) fn kept(&self, now: Instant, time: SystemTime) -> Option<StoredLeases> {
        let lease = self.newest().map(|held| held.lease.clone());
        if lease.is_none() && self.retired.is_empty() {
            return None;
        }
        let ends = |until: Instant| time + until.saturating_duration_since(now);
        let mut retired: BTreeMap<_, _> =
            self.retired.iter().map(|(id, retired)| (id.clone(), ends(retired.until))).collect();
        // The write that saves the next lease also records this one as replaced.
        let replaced = self.held.as_ref().filter(|_| self.next.is_some());
        retired.extend(replaced.map(|held| (held.lease.id.clone(), ends(held.until))));
        let volumes = match &self.life {
            // Also volumes that are being mounted, because the process may be killed right after a mount,
            // before the next write.
            Life::Used(volumes) => volumes.union(&self.requested_by).cloned().collect(),
            Life::Unused(_) => self.requested_by.clone(),
            Life::Ended => BTreeSet::new(),
        };
        Some(StoredLeases { lease, retired, volumes })
    }

    /// Records that this lease is in the state file, so it can be used.
    pub(super) fn saved(&mut self, id: &LeaseId) {
        let Some(next) = self.next.take_if(|next| next.lease.id == *id) else { return };
        if let Some(TimedLease { lease, until }) = self.held.replace(next) {
            self.retired.insert(lease.id, RetiredLease::new(until));
        }
    }

    /// Whether there is a lease that is not in the state file.
    pub(super) fn is_unsaved(&self) -> bool {
        self.next.is_some()
    }

    /// The credentials of the current lease.
    pub(super) fn credentials(&self) -> Option<SecretData> {
        self.held.as_ref().map(|held| held.lease.credentials.clone())
    }

    /// The same, if they can be used at this time.
    pub(super) fn usable_credentials(&self, time: SystemTime) -> Option<SecretData> {
        self.credentials().filter(|_| self.held.as_ref().is_some_and(|held| held.lease.is_usable(time)))
    }

    fn newest(&self) -> Option<&TimedLease> {
        self.next.as_ref().or(self.held.as_ref())
    }

    pub(super) fn has_lease(&self) -> bool {
        self.newest().is_some()
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.life, Life::Ended)
    }

    /// Records a request for the credentials.
    pub(super) fn ask(&mut self, client: &Arc<Client>, now: Instant) {
        self.client = Arc::clone(client);
        self.asked = now;
        if let Life::Unused(since) = &mut self.life {
            *since = now;
        }
    }

    /// Records whether a volume requests the credentials. It may still have their files until it is mounted
    /// with others.
    pub(super) fn set_requested(&mut self, volume: &str, is_requested: bool) {
        if !is_requested {
            self.requested_by.remove(volume);
        } else if self.requested_by.len() < VOLUMES_MAX {
            self.requested_by.insert(volume.to_owned());
        }
    }

    /// Whether the last call of any volume requested the credentials.
    pub(super) fn is_requested(&self) -> bool {
        !self.requested_by.is_empty()
    }

    /// Records whether a mounted volume has the credentials. Returns whether that is a change.
    pub(super) fn set_volume(&mut self, volume: &str, is_used: bool, now: Instant) -> bool {
        match (&mut self.life, is_used) {
            (Life::Used(volumes), true) => {
                // Beyond the limit, a volume is recorded when others are gone and it is mounted again.
                let is_new = volumes.len() < VOLUMES_MAX && !volumes.contains(volume);
                is_new && volumes.insert(volume.to_owned())
            }
            (Life::Used(volumes), false) => {
                let is_removed = volumes.remove(volume);
                if volumes.is_empty() {
                    self.life = Life::Unused(now);
                }
                is_removed
            }
            (Life::Unused(_), true) => {
                self.life = Life::Used([volume.to_owned()].into());
                true
            }
            (Life::Unused(_), false) | (Life::Ended, _) => false,
        }
    }

    /// Ends the entry: the pod was deleted, or no volume has had the credentials for a while.
    pub(super) fn end(&mut self, now: Instant) {
        if let Life::Ended = mem::replace(&mut self.life, Life::Ended) {
            return;
        }
        for TimedLease { lease, until } in self.held.take().into_iter().chain(self.next.take()) {
            self.retired.insert(lease.id, RetiredLease::new(until));
        }
        for retired in self.retired.values_mut() {
            retired.revocations.start(now);
        }
    }

    /// The answer to a volume that requests the credentials at this time.
    pub(super) fn offer(&self, now: Instant, time: SystemTime, is_stopping: bool) -> Offer {
        let usable = self.newest().map(|held| &held.lease).filter(|lease| lease.is_usable(time));
        let is_due = usable.is_none_or(|lease| lease.step(time, JITTER) == LeaseStep::Replace);
        let has_room = self.retired.len() < RETIRED_MAX;
        let waiting = self.failure.as_ref().filter(|_| self.generations.is_waiting(now));
        match (usable, waiting) {
            (Some(_), waiting) if !is_due || !has_room || waiting.is_some() || is_stopping => Offer::Held,
            (None, _) if is_stopping => Offer::Stopping,
            (None, _) if !has_room => Offer::TooMany(self.retired.len()),
            (_, Some(failure)) => Offer::NotYet(failure.clone()),
            (usable, None) => Offer::Generate { has_usable: usable.is_some() },
        }
    }

    /// Stores a generated lease, or marks it for revocation if no volume uses the entry any more.
    pub(super) fn generated(&mut self, lease: HeldLease, now: Instant) {
        self.generations.succeeded();
        self.failure = None;
        self.renewals.succeeded();
        let until = now + lease.term();
        if self.has_ended() {
            self.revoke(&lease.id, until, now);
        } else if let Some(TimedLease { lease, until }) = self.next.replace(TimedLease { lease, until }) {
            // It was never used.
            self.revoke(&lease.id, until, now);
        }
    }

    /// Records a failed generation. The backoff only grows if it may have created a user.
    pub(super) fn not_generated(&mut self, error: &Error, failure: Failure, now: Instant) {
        let is_refused =
            matches!(error.class(), Class::Authentication | Class::Denied | Class::NotFound | Class::Invalid);
        if is_refused {
            self.generations.succeeded();
        }
        self.generations.failed(now, error.retry().always(GENERATION_PAUSES.1));
        self.failure = Some(if is_refused { failure } else { failure.followed_by(MAY_HAVE_USER) });
        if let Some(lease) = error.orphaned_lease() {
            self.revoke(lease, now + UNKNOWN_TERM, now);
        }
    }

    /// Starts the action that is due at this time.
    pub(super) fn begin(&mut self, now: Instant, time: SystemTime) -> Option<Step> {
        if self.is_busy {
            return None;
        }
        if matches!(self.life, Life::Unused(since) if since + UNUSED_LIMIT <= now) {
            self.end(now);
        }
        self.retired.retain(|_, retired| now < retired.until);
        // A finished pod makes no requests but has its volumes until it is deleted.
        let is_idle = self.asked + UNUSED_LIMIT <= now && self.retired.is_empty();
        if is_idle && self.newest().is_none_or(|held| held.until <= now && held.lease.ends <= time) {
            (self.held, self.next, self.life) = (None, None, Life::Ended);
        }
        let is_due = |lease: &HeldLease| {
            lease.step(time, JITTER) == LeaseStep::Renew && !self.renewals.is_waiting(now)
        };
        let renewal = self.newest().map(|held| &held.lease).filter(|lease| is_due(lease));
        let revocable = self.retired.iter().filter(|(_, retired)| retired.revocations.is_due(now));
        let revocable: Vec<_> = revocable.map(|(id, _)| id.clone()).collect();
        let step = match renewal {
            Some(lease) => Step::Renew(lease.id.clone()),
            None if !revocable.is_empty() => Step::Revoke(revocable),
            None if self.has_ended() && self.retired.is_empty() && self.generating.try_lock().is_ok() => {
                return Some(Step::Forget);
            }
            None => return None,
        };
        self.is_busy = true;
        Some(step)
    }

    /// Records the response to a renewal.
    pub(super) fn renewed(
        &mut self,
        id: &LeaseId,
        answer: Result<LeaseTerm, Error>,
        now: Instant,
        time: SystemTime,
    ) {
        self.is_busy = false;
        let of_id = |held: &&mut Option<TimedLease>| held.as_ref().is_some_and(|held| held.lease.id == *id);
        let Some(slot) = [&mut self.next, &mut self.held].into_iter().find(of_id) else { return };
        let Some(TimedLease { lease, until }) = slot else { return };
        match answer {
            Ok(term) => {
                lease.renew(term, time);
                *until = now + lease.term();
                self.renewals.succeeded();
            }
            Err(error) if error.is_gone() => *slot = None,
            Err(error) if error.retry() == Retry::Never => lease.refuse_renewal(),
            Err(error) => drop(self.renewals.failed(now, error.retry())),
        }
    }

    /// Records the response to a revocation. If it is not retried, the lease expires on its own.
    pub(super) fn revoked(&mut self, id: &LeaseId, answer: Result<(), Error>, now: Instant) {
        let again = answer.err().and_then(|error| {
            self.retired.get_mut(id).and_then(|retired| retired.revocations.failed(now, error.retry()))
        });
        if again.is_none() {
            self.retired.remove(id);
        }
    }

    /// Records that all revocations of an action are complete.
    pub(super) fn finish(&mut self) {
        self.is_busy = false;
    }

    /// Marks a lease for revocation.
    fn revoke(&mut self, id: &LeaseId, until: Instant, now: Instant) {
        let mut retired = RetiredLease::new(until);
        retired.revocations.start(now);
        self.retired.insert(id.clone(), retired);
    }
}

impl RetiredLease {
    fn new(until: Instant) -> Self {
        Self { until, revocations: Backoff::new(RETRY_PAUSES) }
    }
}

#[cfg(test)]
mod tests;
