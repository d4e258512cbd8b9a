//! The leases of one pod and dynamic secret: when they are renewed, replaced and revoked. Pure: time is a parameter.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{Backoff, Client, Error, HeldLease, LeaseId, LeaseStep, LeaseTerm, Retry, SecretData};
use tokio::time::Instant;

/// The first and the longest pause after a generation that failed: it may have made a user.
const GENERATION_PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));
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
    held: Option<Held>,
    /// Leases that were replaced. The application may still use them.
    retired: BTreeMap<LeaseId, Retired>,
    generations: Backoff,
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

/// The lease in use.
struct Held {
    lease: HeldLease,
    /// Whether the state file has it. Until then it is not handed out.
    is_saved: bool,
}

/// A lease that is not handed out any more.
struct Retired {
    /// When it has ended by itself.
    until: Instant,
    /// Due when it is to be revoked; none while the application may use it.
    revocations: Backoff,
}

/// What an entry looks like in the state file.
pub(crate) struct KeptLeases {
    pub(crate) lease: Option<HeldLease>,
    /// With their ends.
    pub(crate) retired: BTreeMap<LeaseId, SystemTime>,
    pub(crate) volumes: BTreeSet<String>,
}

/// What a call of the driver gets.
pub(super) enum Offer {
    /// These credentials.
    Held(SecretData),
    /// New ones. Those that are there can be used if that fails.
    Generate(Option<SecretData>),
    /// Nothing: the last generation failed, and the next one is made after this long.
    NotYet(Duration),
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
            held: None,
            retired: BTreeMap::new(),
            generations: Backoff::new(GENERATION_PAUSES),
            is_busy: false,
            renewals: Backoff::new(RETRY_PAUSES),
        }
    }

    /// Goes on with the leases of an earlier process.
    pub(super) fn restored(client: Arc<Client>, kept: KeptLeases, now: Instant, time: SystemTime) -> Self {
        let KeptLeases { lease, retired, volumes } = kept;
        let retired = retired.into_iter().map(|(id, ends)| {
            let left = ends.duration_since(time).unwrap_or_default();
            (id, Retired::new(now + left))
        });
        Self {
            life: if volumes.is_empty() { Life::Unused(now) } else { Life::Used(volumes) },
            held: lease.map(|lease| Held { lease, is_saved: true }),
            retired: retired.collect(),
            ..Self::new(client, now)
        }
    }

    /// What the next process needs to know; none if there is nothing to renew or revoke.
    pub(super) fn kept(&self, now: Instant, time: SystemTime) -> Option<KeptLeases> {
        if self.held.is_none() && self.retired.is_empty() {
            return None;
        }
        let ends = |retired: &Retired| time + retired.until.saturating_duration_since(now);
        Some(KeptLeases {
            lease: self.held.as_ref().map(|held| held.lease.clone()),
            retired: self.retired.iter().map(|(id, retired)| (id.clone(), ends(retired))).collect(),
            volumes: match &self.life {
                Life::Used(volumes) => volumes.clone(),
                Life::Unused(_) | Life::Ended => BTreeSet::new(),
            },
        })
    }

    /// The state file has what [`Self::kept`] says.
    pub(super) fn saved(&mut self) {
        if let Some(held) = &mut self.held {
            held.is_saved = true;
        }
    }

    /// Whether the state file has the lease in use.
    pub(super) fn is_saved(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_saved)
    }

    pub(super) fn has_lease(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.life, Life::Ended)
    }

    /// A volume asks for the credentials. False if they are being revoked.
    pub(super) fn ask(&mut self, client: &Arc<Client>, now: Instant) -> bool {
        self.client = Arc::clone(client);
        if let Life::Unused(since) = &mut self.life {
            *since = now;
        }
        !self.has_ended()
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
        if let Some(Held { lease, .. }) = self.held.take() {
            self.retire(&lease.id, lease.term(), now);
        }
        for retired in self.retired.values_mut() {
            retired.revocations.start(now);
        }
    }

    /// What a volume gets that asks at this time.
    pub(super) fn offer(&self, now: Instant, time: SystemTime, is_stopping: bool) -> Offer {
        let usable = self.held.as_ref().map(|held| &held.lease).filter(|lease| lease.is_usable(time));
        let is_due = usable.is_none_or(|lease| lease.step(time, JITTER) == LeaseStep::Replace);
        let credentials = usable.map(|lease| lease.credentials.clone());
        let pause = self.generations.due().map_or(Duration::ZERO, |due| due.saturating_duration_since(now));
        let has_room = self.retired.len() < RETIRED_MAX;
        match credentials {
            Some(credentials) if !is_due || !has_room || !pause.is_zero() || is_stopping => {
                Offer::Held(credentials)
            }
            None if is_stopping => Offer::Stopping,
            None if !has_room => Offer::TooMany(self.retired.len()),
            None if !pause.is_zero() => Offer::NotYet(pause),
            usable => Offer::Generate(usable),
        }
    }

    /// Takes a lease into use, or lets it be revoked if nobody has use for it any more.
    pub(super) fn generated(&mut self, lease: HeldLease, now: Instant) {
        self.generations.succeeded();
        self.renewals.succeeded();
        if self.has_ended() {
            self.revoke(&lease.id, lease.term(), now);
        } else if let Some(Held { lease, is_saved }) = self.held.replace(Held { lease, is_saved: false }) {
            if is_saved {
                self.retire(&lease.id, lease.term(), now);
            } else {
                // It was not handed out.
                self.revoke(&lease.id, lease.term(), now);
            }
        }
    }

    /// A generation has failed.
    pub(super) fn not_generated(&mut self, error: &Error, now: Instant) {
        self.generations.failed(now, error.retry().always(GENERATION_PAUSES.1));
        if let Some(lease) = error.orphaned_lease() {
            self.revoke(lease, UNKNOWN_TERM, now);
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
        let is_due = |lease: &HeldLease| {
            lease.step(time, JITTER) == LeaseStep::Renew && !self.renewals.is_waiting(now)
        };
        let renewal = self.held.as_ref().map(|held| &held.lease).filter(|lease| is_due(lease));
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
        let Some(lease) = self.held.as_mut().map(|held| &mut held.lease).filter(|lease| lease.id == *id)
        else {
            return;
        };
        match answer {
            Ok(term) => {
                lease.renew(term, time);
                self.renewals.succeeded();
            }
            Err(error) if error.is_gone() => self.held = None,
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

    /// A lease of this term is not handed out any more.
    fn retire(&mut self, id: &LeaseId, term: Duration, now: Instant) {
        self.retired.insert(id.clone(), Retired::new(now + term));
    }

    /// A lease of this term is of no use.
    fn revoke(&mut self, id: &LeaseId, term: Duration, now: Instant) {
        let mut retired = Retired::new(now + term);
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
