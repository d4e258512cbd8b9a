//! A lease that is held: when it is renewed, and when a new one takes its place. Pure: time is a parameter.

use std::time::{Duration, SystemTime};

use crate::{Lease, LeaseId, LeaseTerm, SecretData};

/// A lease this close to its end is not taken up again: its credentials would end before they are used.
const USABLE_MARGIN: Duration = Duration::from_secs(10);
/// What a renewal must add to be worth one: with less, the lease is at its maximum.
const WORTHWHILE: Duration = Duration::from_secs(1);

/// A lease and what is known of its life.
#[derive(Clone, Debug)]
pub struct HeldLease {
    /// Names it.
    pub id: LeaseId,
    /// Its credentials.
    pub credentials: SecretData,
    /// When it was generated.
    pub issued: SystemTime,
    /// When its current term began: at the last renewal.
    pub renewed: SystemTime,
    /// When it ends, unless it is renewed.
    pub ends: SystemTime,
    /// When it ends with all renewals; none where ScaiVault does not say.
    pub last_end: Option<SystemTime>,
    /// Whether it can be renewed at all.
    pub is_renewable: bool,
}

/// What is to be done with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStep {
    /// Nothing until then.
    Wait(SystemTime),
    /// Its term is to be renewed.
    Renew,
    /// A new lease is to take its place.
    Replace,
}

impl HeldLease {
    /// A lease that was generated at `now`.
    pub fn generated(lease: Lease, now: SystemTime) -> Self {
        let Lease { id, credentials, term: LeaseTerm { ttl, is_renewable, max_ttl } } = lease;
        Self {
            id,
            credentials,
            issued: now,
            renewed: now,
            ends: now + ttl,
            last_end: max_ttl.map(|max| now + max),
            is_renewable,
        }
    }

    /// Takes over the term of a renewal at `now`.
    pub fn renew(&mut self, term: LeaseTerm, now: SystemTime) {
        let LeaseTerm { ttl, is_renewable, max_ttl } = term;
        let ends = now + ttl;
        // A server that gives no more time says so by its answer alone.
        let is_same_clock = self.renewed <= now;
        self.is_renewable = is_renewable && (!is_same_clock || ends >= self.ends + WORTHWHILE);
        self.renewed = now;
        self.ends = ends;
        self.last_end = max_ttl.map(|max| self.issued + max).or(self.last_end);
    }

    /// It is not renewed any more: from here on it is to be replaced.
    pub fn refuse_renewal(&mut self) {
        self.is_renewable = false;
    }

    /// Whether its credentials can be handed out at `now`.
    pub fn is_usable(&self, now: SystemTime) -> bool {
        self.issued <= now && now + USABLE_MARGIN < self.ends
    }

    /// How long its current term is in all. Does not depend on the clock of now.
    pub fn term(&self) -> Duration {
        self.ends.duration_since(self.renewed).unwrap_or_default()
    }

    /// Whether less than a sixth of its term is left at `now`. A renewal that still fails then has failed for half of the time
    /// that there was for it, and new credentials need the rest to be there before the old ones end.
    pub fn is_nearly_over(&self, now: SystemTime) -> bool {
        now > self.nearly_over()
    }

    /// How long a renewal that is sent at `now` may take: if it hangs, there is still time for new credentials.
    pub fn renewal_timeout(&self, now: SystemTime) -> Duration {
        // After a step of the clock forward, as long as the part of the term that is meant for it.
        self.nearly_over().duration_since(now).unwrap_or(self.term() / 6)
    }

    fn nearly_over(&self) -> SystemTime {
        self.ends - self.term() / 6
    }

    /// What is due at `now`. `jitter` is from 0 to 1 and the same for the whole life of the lease.
    ///
    /// A term is over at two thirds, up to a tenth of it earlier, so that the replicas of a workload do not come
    /// together. At its maximum a lease is replaced at that moment, so that the new credentials overlap the old ones.
    /// After a step of the clock the times that are held say nothing: a renewal tells new ones, also of a lease that seems to
    /// have ended. If it has, ScaiVault refuses, and it is replaced then.
    pub fn step(&self, now: SystemTime, jitter: f64) -> LeaseStep {
        let due = self.renewed + self.term().mul_f64(2.0 / 3.0 - jitter.clamp(0.0, 1.0) / 10.0);
        if self.renewed <= now && now < due {
            return LeaseStep::Wait(due);
        }
        let is_at_maximum = self.last_end.is_some_and(|last| last <= self.ends + WORTHWHILE);
        if self.is_renewable && !is_at_maximum { LeaseStep::Renew } else { LeaseStep::Replace }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;
    const HOUR: Duration = Duration::from_hours(1);

    fn lease(ttl: Duration, max_ttl: Option<Duration>) -> HeldLease {
        let term = LeaseTerm { ttl, is_renewable: true, max_ttl };
        let credentials = SecretData::new("{}").unwrap();
        HeldLease::generated(Lease { id: "lease_1".parse().unwrap(), credentials, term }, START)
    }

    fn term(ttl: Duration) -> LeaseTerm {
        LeaseTerm { ttl, is_renewable: true, max_ttl: None }
    }

    #[test]
    fn is_nearly_over_in_the_last_sixth_of_its_term() {
        let lease = lease(6 * HOUR, None);
        assert!(!lease.is_nearly_over(START + 5 * HOUR));
        assert!(lease.is_nearly_over(START + 5 * HOUR + Duration::from_secs(1)));
        assert_eq!(lease.renewal_timeout(START + 4 * HOUR), HOUR);
        assert_eq!(lease.renewal_timeout(START + 24 * HOUR), HOUR, "the clock may have been set");
    }

    #[test]
    fn is_renewed_at_two_thirds_or_a_little_before() {
        let lease = lease(3 * HOUR, None);
        assert_eq!(lease.step(START, 0.0), LeaseStep::Wait(START + 2 * HOUR));
        let LeaseStep::Wait(early) = lease.step(START, 1.0) else { panic!("not due yet") };
        let early = early.duration_since(START).unwrap().as_secs();
        assert!((6115..=6125).contains(&early), "{early}");
        assert_eq!(lease.step(START + 2 * HOUR, 0.0), LeaseStep::Renew);
        assert_eq!(lease.step(START + 30 * HOUR, 0.0), LeaseStep::Renew, "the clock may have been set");
    }

    #[test]
    fn is_replaced_at_its_maximum() {
        let mut lease = lease(3 * HOUR, Some(4 * HOUR));
        assert_eq!(lease.step(START + 2 * HOUR, 0.0), LeaseStep::Renew);
        lease.renew(term(2 * HOUR), START + 2 * HOUR);
        let due = START + 2 * HOUR + HOUR * 4 / 3;
        assert_eq!(lease.step(START + 2 * HOUR, 0.0), LeaseStep::Wait(due));
        assert_eq!(lease.step(due, 0.0), LeaseStep::Replace);
    }

    #[test]
    fn is_replaced_when_a_renewal_adds_nothing() {
        let mut lease = lease(3 * HOUR, None);
        lease.renew(term(HOUR), START + 2 * HOUR);
        assert_eq!(lease.step(START + 2 * HOUR + HOUR * 2 / 3, 0.0), LeaseStep::Replace);
    }

    #[test]
    fn is_not_taken_up_near_its_end_nor_after_the_clock_was_set_back() {
        let lease = lease(HOUR, None);
        assert!(lease.is_usable(START));
        assert!(!lease.is_usable(START + HOUR - USABLE_MARGIN));
        assert!(!lease.is_usable(START - HOUR));
    }

    #[test]
    fn is_renewed_after_the_clock_was_set_back() {
        let mut lease = lease(3 * HOUR, None);
        let back = START + HOUR;
        lease.renewed = START + 24 * HOUR;
        lease.ends = lease.renewed + 3 * HOUR;
        assert_eq!(lease.step(back, 0.0), LeaseStep::Renew);
        lease.renew(term(3 * HOUR), back);
        assert_eq!(lease.step(back, 0.0), LeaseStep::Wait(back + 2 * HOUR));
        assert!(lease.is_renewable, "its earlier end was of another clock");
    }
}
