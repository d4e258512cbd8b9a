//! The leases of this pod: those in use, those to be revoked, and when new ones may be generated.
//! Pure: time is a parameter.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use scaivault_client::{Backoff, LeaseId, Retry};
use scaivault_contract::DynamicRef;
use tokio::time::Instant;

use scaivault_client::HeldLease;

/// The first and the longest pause after a generation that may have created a database user without
/// returning a lease.
const WASTED: (Duration, Duration) = (Duration::from_secs(40), Duration::from_mins(5));
/// The same after a failure that certainly created no user.
const FAILED: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The maximum pause that ScaiVault can request before a generation, because the application may
/// have no credentials.
const ASKED_LIMIT: Duration = Duration::from_mins(1);
/// The first and the longest pause after a failed revocation.
const NOT_REVOKED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
/// The maximum number of leases waiting for revocation, in case ScaiVault rejects all revocations.
const RETIRED_LIMIT: usize = 500;

/// The leases of this pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    /// Leases in use, each for one `engine=E role=R [ttl=D]`.
    held: BTreeMap<DynamicRef, HeldLease>,
    /// Leases to be revoked, each with its due time. An entry is removed only when ScaiVault has
    /// confirmed the revocation.
    retired: BTreeMap<LeaseId, Backoff>,
    /// Limits on generating, for each dynamic secret that has any.
    pub(crate) generations: BTreeMap<DynamicRef, Generation>,
}

/// The rate limit on generating leases for one dynamic secret.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    /// Generations since the last usable one that may have created a user.
    wasted: Backoff,
    /// Backoff after other failures.
    failed: Backoff,
    /// Whether a request is in flight. If the process is killed now, its lease is lost.
    is_under_way: bool,
}

impl Generation {
    /// Restores the limit after `failures` wasted generations.
    pub(crate) fn new(failures: u32, due: Instant) -> Self {
        Self { wasted: Backoff::resumed(WASTED, failures, due), ..Self::default() }
    }

    /// The wasted generations as seen by the next run if this process is killed at `now`.
    pub(crate) fn if_killed(&self, now: Instant) -> Backoff {
        let mut wasted = self.wasted.clone();
        if self.is_under_way {
            wasted.failed(now, Retry::Backoff);
        }
        wasted
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self { wasted: Backoff::new(WASTED), failed: Backoff::new(FAILED), is_under_way: false }
    }
}

impl Leases {
    pub(crate) fn get(&self, dynamic: &DynamicRef) -> Option<&HeldLease> {
        self.held.get(dynamic)
    }

    /// The lease for `dynamic`, to be renewed.
    pub(crate) fn get_mut(&mut self, dynamic: &DynamicRef) -> Option<&mut HeldLease> {
        self.held.get_mut(dynamic)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&DynamicRef, &HeldLease)> {
        self.held.iter()
    }

    /// Whether there is no lease to revoke.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.retired.is_empty()
    }

    /// Takes a generated or restored lease into use at `now`, replacing the previous one. The
    /// application may use the previous one until its term ends by the monotonic clock: after a
    /// step of the wall clock, the times of a lease do not show whether it is valid.
    pub(crate) fn insert(&mut self, dynamic: DynamicRef, lease: HeldLease, now: Instant) {
        self.generations.remove(&dynamic);
        if let Some(replaced) = self.held.insert(dynamic, lease) {
            self.retire(replaced.id.clone(), now + replaced.term());
        }
    }

    /// The secrets of `wanted` without a lease whose credentials can be used at `time`. A lease
    /// that cannot be used is revoked, because it may still be valid if the clock is wrong.
    pub(crate) fn missing(
        &mut self,
        mut wanted: BTreeSet<DynamicRef>,
        time: SystemTime,
        now: Instant,
    ) -> BTreeSet<DynamicRef> {
        let unusable: Vec<_> = self.held.extract_if(.., |_, lease| !lease.is_usable(time)).collect();
        for (_, lease) in unusable {
            self.retire(lease.id, now);
        }
        wanted.retain(|dynamic| !self.held.contains_key(dynamic));
        wanted
    }

    /// Schedules the revocation of a lease `at` this time.
    pub(crate) fn retire(&mut self, lease: LeaseId, at: Instant) {
        let mut backoff = Backoff::new(NOT_REVOKED);
        backoff.start(at);
        self.retired.insert(lease, backoff);
        while self.retired.len() > RETIRED_LIMIT {
            let oldest = self.retired.iter().min_by_key(|(_, backoff)| backoff.due());
            let Some(oldest) = oldest.map(|(lease, _)| lease.clone()) else { return };
            self.retired.remove(&oldest);
        }
    }

    /// Schedules the revocation of every lease at `now`.
    pub(crate) fn retire_all(&mut self, now: Instant) {
        let held = std::mem::take(&mut self.held).into_values().map(|lease| lease.id);
        let retired = std::mem::take(&mut self.retired).into_keys();
        for lease in held.chain(retired).collect::<Vec<_>>() {
            self.retire(lease, now);
        }
    }

    /// The leases to be revoked, with their due times.
    pub(crate) fn retired(&self) -> impl Iterator<Item = (&LeaseId, Instant)> {
        self.retired.iter().filter_map(|(lease, backoff)| Some((lease, backoff.due()?)))
    }

    /// The leases whose revocation is due at `now`.
    pub(crate) fn revocable(&self, now: Instant) -> Vec<LeaseId> {
        self.retired().filter(|(_, due)| *due <= now).map(|(lease, _)| lease.clone()).collect()
    }

    /// The leases whose revocation was attempted but is not confirmed.
    pub(crate) fn not_confirmed(&self) -> impl Iterator<Item = &LeaseId> {
        self.retired.iter().filter(|(_, backoff)| backoff.failures() > 0).map(|(lease, _)| lease)
    }

    /// Removes a lease that ScaiVault has confirmed as revoked.
    pub(crate) fn revoked(&mut self, lease: &LeaseId) {
        self.retired.remove(lease);
    }

    /// Records a failed revocation at `now`. It is retried for every reason, because a policy may
    /// be changed.
    pub(crate) fn not_revoked(&mut self, lease: &LeaseId, retry: Retry, now: Instant) {
        if let Some(backoff) = self.retired.get_mut(lease) {
            backoff.failed(now, retry.always(NOT_REVOKED.1));
        }
    }

    /// When a lease may be generated; `None` if it may be generated now.
    pub(crate) fn generation_due(&self, dynamic: &DynamicRef) -> Option<Instant> {
        let Generation { wasted, failed, .. } = self.generations.get(dynamic)?;
        wasted.due().max(failed.due())
    }

    /// Prevents generations before `until`.
    pub(crate) fn postpone_generation(&mut self, dynamic: &DynamicRef, until: Instant) {
        self.generation(dynamic).failed.postpone(until);
    }

    /// Records that a lease is being generated.
    pub(crate) fn generating(&mut self, dynamic: &DynamicRef) {
        self.generation(dynamic).is_under_way = true;
    }

    /// Records a failed generation at `now`; `is_wasted` means that it may have created a user. No
    /// failure is final, because policies may be fixed.
    pub(crate) fn not_generated(
        &mut self,
        dynamic: &DynamicRef,
        retry: Retry,
        is_wasted: bool,
        now: Instant,
    ) {
        let generation = self.generation(dynamic);
        generation.is_under_way = false;
        if is_wasted {
            generation.wasted.failed(now, Retry::Backoff);
        } else {
            generation.failed.failed(now, retry.always(ASKED_LIMIT));
        }
    }

    fn generation(&mut self, dynamic: &DynamicRef) -> &mut Generation {
        self.generations.entry(dynamic.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use scaivault_client::{Lease, LeaseTerm, SecretData};

    use super::*;

    const TIME: SystemTime = SystemTime::UNIX_EPOCH;
    const HOUR: Duration = Duration::from_hours(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn dynamic(role: &str) -> DynamicRef {
        format!("engine=e role={role}").parse().unwrap()
    }

    fn lease(id: &str, time: SystemTime) -> HeldLease {
        let term = LeaseTerm { ttl: HOUR, is_renewable: true, max_ttl: None };
        let credentials = SecretData::new("{}").unwrap();
        HeldLease::generated(Lease { id: id.parse().unwrap(), credentials, term }, time)
    }

    fn revocable(leases: &Leases, now: Instant) -> Vec<String> {
        leases.revocable(now).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unusable_leases_are_missing_and_revoked() {
        let now = Instant::now();
        let wanted = || BTreeSet::from([dynamic("a"), dynamic("b"), dynamic("c")]);
        let mut leases = Leases::default();
        leases.insert(dynamic("a"), lease("lease_a", TIME), now);
        leases.insert(dynamic("b"), lease("lease_b", TIME + HOUR), now);
        assert_eq!(leases.missing(wanted(), TIME + HOUR, now), [dynamic("a"), dynamic("c")].into());
        // The clock was set back.
        assert_eq!(leases.missing(wanted(), TIME + HOUR / 2, now), wanted());
        assert!(leases.get(&dynamic("b")).is_none() && !leases.is_empty());
        assert_eq!(revocable(&leases, now), ["lease_a", "lease_b"]);
        for lease in leases.revocable(now) {
            leases.revoked(&lease);
        }
        assert!(leases.is_empty());
    }

    #[test]
    fn replaced_leases_are_kept_at_any_wall_clock_time() {
        let now = Instant::now();
        let mut leases = Leases::default();
        leases.insert(dynamic("a"), lease("lease_1", TIME), now);
        // By the wall clock, the first lease ended long ago.
        leases.insert(dynamic("a"), lease("lease_2", TIME + 100 * HOUR), now);
        assert_eq!(revocable(&leases, now + HOUR - SECOND), [""; 0]);
        assert_eq!(revocable(&leases, now + HOUR), ["lease_1"]);
        leases.not_revoked(&"lease_1".parse().unwrap(), Retry::Never, now + HOUR);
        assert_eq!(revocable(&leases, now + HOUR), [""; 0]);
        assert_eq!(revocable(&leases, now + HOUR + SECOND), ["lease_1"], "tried again");
        leases.retire_all(now);
        assert_eq!(revocable(&leases, now), ["lease_1", "lease_2"]);
    }

    #[test]
    fn remembers_a_limited_number_of_leases() {
        let now = Instant::now();
        let mut leases = Leases::default();
        for number in 0..=RETIRED_LIMIT {
            let seconds = u32::try_from(number).unwrap();
            leases.retire(format!("lease_{number}").parse().unwrap(), now + seconds * SECOND);
        }
        assert_eq!(leases.retired().count(), RETIRED_LIMIT);
        assert!(!leases.retired().any(|(lease, _)| lease.as_str() == "lease_0"));
    }

    #[test]
    fn wasted_generations_double_the_pause_until_one_is_usable() {
        let now = Instant::now();
        let mut leases = Leases::default();
        let a = dynamic("a");
        assert_eq!(leases.generation_due(&a), None);
        leases.not_generated(&a, Retry::Never, false, now);
        assert!(leases.generation_due(&a).unwrap() <= now + SECOND / 2, "no user was made");
        leases.not_generated(&a, Retry::After(HOUR), false, now);
        assert!(leases.generation_due(&a).unwrap() <= now + 66 * SECOND, "the application has no database");
        leases.insert(a.clone(), lease("lease_0", TIME), now);
        for seconds in [40, 80, 160, 300, 300] {
            leases.generating(&a);
            leases.not_generated(&a, Retry::Never, true, now);
            let pause = leases.generation_due(&a).unwrap() - now;
            assert!((SECOND * seconds / 2..=SECOND * seconds).contains(&pause), "{pause:?}");
        }
        assert_eq!(leases.generation_due(&dynamic("b")), None, "another dynamic secret");
        leases.insert(a.clone(), lease("lease_1", TIME), now);
        assert_eq!(leases.generation_due(&a), None);
    }

    #[test]
    fn a_killed_process_counts_its_open_generation_as_wasted() {
        let now = Instant::now();
        let mut leases = Leases::default();
        leases.generating(&dynamic("a"));
        let of_next_start = |leases: &Leases| {
            let (_, generation) = leases.generations.iter().next().unwrap();
            let backoff = generation.if_killed(now);
            Generation::new(backoff.failures(), backoff.due().unwrap())
        };
        let next = of_next_start(&leases);
        assert_eq!(next.wasted.failures(), 1);
        assert!(next.wasted.is_waiting(now));
        leases.generations.insert(dynamic("a"), next);
        leases.generating(&dynamic("a"));
        assert_eq!(of_next_start(&leases).wasted.failures(), 2);
    }
}
