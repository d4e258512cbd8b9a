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

/// The first and the longest pause after a generation that failed: it may have made a user.
const GENERATION_PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));
/// What is added to the failure of such a generation.
const MAY_HAVE_USER: &str =
    "it may have created a database user, so the next attempt is made after a pause of up to 5 min";
/// The first and the longest pause after a renewal or a revocation that failed.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// Where in the time for renewals this provider renews.
const JITTER: f64 = 0.5;
/// How long leases are kept that no volume has any more. The application may have read its files shortly before.
pub(super) const UNUSED_LIMIT: Duration = Duration::from_mins(10);
/// The most leases that were replaced and have not ended. With terms that are kept there are two.
const RETIRED_MAX: usize = 8;
/// The most volumes of an entry that are remembered.
const VOLUMES_MAX: usize = 16;
/// How long a lease may last whose term is not known.
const UNKNOWN_TERM: Duration = Duration::from_hours(24);

/// All leases of one pod and dynamic secret.
pub(super) struct Entry {
    /// The pod's last login.
    pub(super) client: Arc<Client>,
    /// Held while a lease is generated, so that calls that come at once make one.
    pub(super) generating: Arc<tokio::sync::Mutex<()>>,
    life: Life,
    /// The volumes whose last call asked for these credentials, whether or not they were mounted.
    wanted_by: BTreeSet<String>,
    /// When a volume has asked last.
    asked: Instant,
    /// The lease in use: the state file has it.
    held: Option<Held>,
    /// The next lease. Until the state file has it, it is not handed out, because after a restart the provider could not revoke it.
    next: Option<Held>,
    /// Leases that were replaced. The application may still use them.
    retired: BTreeMap<LeaseId, Retired>,
    generations: Backoff,
    /// Why the last generation failed; none after a success.
    failure: Option<Failure>,
    /// Set while a renewal or a revocation is under way.
    is_busy: bool,
    renewals: Backoff,
}

/// Who has the credentials.
enum Life {
    /// These volumes of the pod, by their target paths.
    Used(BTreeSet<String>),
    /// No volume since then: they were asked for, or a volume has got others.
    Unused(Instant),
    /// Nobody: all leases are to be revoked.
    Ended,
}

/// A lease with its end by the monotonic clock: the other one may be set.
struct Held {
    lease: HeldLease,
    until: Instant,
}

/// A lease that is not handed out any more.
struct Retired {
    /// When it has ended by itself.
    until: Instant,
    /// Due when it is to be revoked; none while the application may use it.
    revocations: Backoff,
}

/// What an entry looks like in the state file.
#[derive(Clone)]
pub(crate) struct KeptLeases {
    pub(crate) lease: Option<HeldLease>,
    /// With their ends.
    pub(crate) retired: BTreeMap<LeaseId, SystemTime>,
    pub(crate) volumes: BTreeSet<String>,
}

/// What a call of the driver gets.
pub(super) enum Offer {
    /// The credentials that are there.
    Held,
    /// New ones. If that fails, those that are there can be used, or none.
    Generate { has_usable: bool },
    /// Nothing: the last generation failed in this way, and the next one is made after a pause.
    NotYet(Failure),
    /// Nothing: so many leases were replaced that have not ended.
    TooMany(usize),
    /// Nothing: the process ends, and leases that are generated now could get lost.
    Stopping,
}

/// What is due.
pub(super) enum Step {
    Renew(LeaseId),
    Revoke(Vec<LeaseId>),
    /// Nothing is left to be revoked.
    Forget,
}

impl Entry {
    pub(super) fn new(client: Arc<Client>, now: Instant) -> Self {
        Self {
            client,
            generating: Arc::default(),
            life: Life::Unused(now),
            wanted_by: BTreeSet::new(),
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

    /// Goes on with the leases of an earlier process.
    pub(super) fn restored(client: Arc<Client>, kept: KeptLeases, now: Instant, time: SystemTime) -> Self {
        let KeptLeases { lease, retired, volumes } = kept;
        let until = |ends: SystemTime| now + ends.duration_since(time).unwrap_or_default();
        let retired = retired.into_iter().map(|(id, ends)| (id, Retired::new(until(ends))));
        let held = lease.map(|lease| Held { until: until(lease.ends), lease });
        Self {
            wanted_by: volumes.clone(),
            life: if volumes.is_empty() { Life::Unused(now) } else { Life::Used(volumes) },
            held,
            retired: retired.collect(),
            ..Self::new(client, now)
        }
    }

    /// What the next process needs to know; none if there is nothing to renew or revoke.
    pub(super) fn kept(&self, now: Instant, time: SystemTime) -> Option<KeptLeases> {
        let lease = self.newest().map(|held| held.lease.clone());
        if lease.is_none() && self.retired.is_empty() {
            return None;
        }
        let ends = |until: Instant| time + until.saturating_duration_since(now);
        let mut retired: BTreeMap<_, _> =
            self.retired.iter().map(|(id, retired)| (id.clone(), ends(retired.until))).collect();
        // It is retired by the write that brings the next one.
        let replaced = self.held.as_ref().filter(|_| self.next.is_some());
        retired.extend(replaced.map(|held| (held.lease.id.clone(), ends(held.until))));
        let volumes = match &self.life {
            // Also those that are being mounted: a process that is killed right after a mount has not written it.
            Life::Used(volumes) => volumes.union(&self.wanted_by).cloned().collect(),
            Life::Unused(_) => self.wanted_by.clone(),
            Life::Ended => BTreeSet::new(),
        };
        Some(KeptLeases { lease, retired, volumes })
    }

    /// The state file has this lease: it is handed out from now on.
    pub(super) fn saved(&mut self, id: &LeaseId) {
        let Some(next) = self.next.take_if(|next| next.lease.id == *id) else { return };
        if let Some(Held { lease, until }) = self.held.replace(next) {
            self.retired.insert(lease.id, Retired::new(until));
        }
    }

    /// Whether there is a lease that the state file lacks.
    pub(super) fn is_unsaved(&self) -> bool {
        self.next.is_some()
    }

    /// The credentials of the lease in use.
    pub(super) fn credentials(&self) -> Option<SecretData> {
        self.held.as_ref().map(|held| held.lease.credentials.clone())
    }

    /// The same, if they can be used at this time.
    pub(super) fn usable_credentials(&self, time: SystemTime) -> Option<SecretData> {
        self.credentials().filter(|_| self.held.as_ref().is_some_and(|held| held.lease.is_usable(time)))
    }

    fn newest(&self) -> Option<&Held> {
        self.next.as_ref().or(self.held.as_ref())
    }

    pub(super) fn has_lease(&self) -> bool {
        self.newest().is_some()
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.life, Life::Ended)
    }

    /// A volume asks for the credentials.
    pub(super) fn ask(&mut self, client: &Arc<Client>, now: Instant) {
        self.client = Arc::clone(client);
        self.asked = now;
        if let Life::Unused(since) = &mut self.life {
            *since = now;
        }
    }

    /// Takes in whether a volume asks for the credentials. It may have their files all the same until it is mounted with others.
    pub(super) fn set_wanted(&mut self, volume: &str, is_wanted: bool) {
        if !is_wanted {
            self.wanted_by.remove(volume);
        } else if self.wanted_by.len() < VOLUMES_MAX {
            self.wanted_by.insert(volume.to_owned());
        }
    }

    /// Whether the last call of a volume asked for the credentials.
    pub(super) fn is_wanted(&self) -> bool {
        !self.wanted_by.is_empty()
    }

    /// Takes in whether a volume that is mounted has the credentials. Returns whether that is new.
    pub(super) fn set_volume(&mut self, volume: &str, is_used: bool, now: Instant) -> bool {
        match (&mut self.life, is_used) {
            (Life::Used(volumes), true) => {
                // One that finds no room is taken in when others are gone and it is mounted again.
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

    /// The pod is gone, or no volume has had the credentials for long.
    pub(super) fn end(&mut self, now: Instant) {
        if let Life::Ended = mem::replace(&mut self.life, Life::Ended) {
            return;
        }
        for Held { lease, until } in self.held.take().into_iter().chain(self.next.take()) {
            self.retired.insert(lease.id, Retired::new(until));
        }
        for retired in self.retired.values_mut() {
            retired.revocations.start(now);
        }
    }

    /// What a volume gets that asks at this time.
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

    /// Takes a lease into use, or has it revoked if no volume uses it any more.
    pub(super) fn generated(&mut self, lease: HeldLease, now: Instant) {
        self.generations.succeeded();
        self.failure = None;
        self.renewals.succeeded();
        let until = now + lease.term();
        if self.has_ended() {
            self.revoke(&lease.id, until, now);
        } else if let Some(Held { lease, until }) = self.next.replace(Held { lease, until }) {
            // It was not handed out.
            self.revoke(&lease.id, until, now);
        }
    }

    /// A generation has failed. Only one that may have made a user has a pause that grows.
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

    /// What is due at this time, to be begun.
    pub(super) fn begin(&mut self, now: Instant, time: SystemTime) -> Option<Step> {
        if self.is_busy {
            return None;
        }
        if matches!(self.life, Life::Unused(since) if since + UNUSED_LIMIT <= now) {
            self.end(now);
        }
        self.retired.retain(|_, retired| now < retired.until);
        // A pod that has finished asks for nothing, and has volumes all the same until it is deleted.
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

    /// A renewal was answered.
    pub(super) fn renewed(
        &mut self,
        id: &LeaseId,
        answer: Result<LeaseTerm, Error>,
        now: Instant,
        time: SystemTime,
    ) {
        self.is_busy = false;
        let of_id = |held: &&mut Option<Held>| held.as_ref().is_some_and(|held| held.lease.id == *id);
        let Some(slot) = [&mut self.next, &mut self.held].into_iter().find(of_id) else { return };
        let Some(Held { lease, until }) = slot else { return };
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

    /// A revocation was answered. Without another attempt the lease ends by itself.
    pub(super) fn revoked(&mut self, id: &LeaseId, answer: Result<(), Error>, now: Instant) {
        let again = answer.err().and_then(|error| {
            self.retired.get_mut(id).and_then(|retired| retired.revocations.failed(now, error.retry()))
        });
        if again.is_none() {
            self.retired.remove(id);
        }
    }

    /// All revocations of a step were answered.
    pub(super) fn finish(&mut self) {
        self.is_busy = false;
    }

    /// A lease is of no use.
    fn revoke(&mut self, id: &LeaseId, until: Instant, now: Instant) {
        let mut retired = Retired::new(until);
        retired.revocations.start(now);
        self.retired.insert(id.clone(), retired);
    }
}

impl Retired {
    fn new(until: Instant) -> Self {
        Self { until, revocations: Backoff::new(RETRY_PAUSES) }
    }
}

#[cfg(test)]
mod tests;
