//! Dynamic credentials. A lease in use: when it is renewed, and when it is replaced. Pure: time is a parameter.

use std::time::{Duration, SystemTime};

use crate::{LeaseId, SecretData};

/// A lease this close to its end is not resumed: its credentials would expire before they are used.
const USABLE_MARGIN: Duration = Duration::from_secs(10);
/// The minimum extension by a renewal; with less, the lease has reached its maximum.
const WORTHWHILE: Duration = Duration::from_secs(1);

/// A lease with its times.
#[derive(Clone, Debug)]
pub struct HeldLease {
    /// Its identifier.
    pub id: LeaseId,
    /// Its credentials.
    pub credentials: SecretData,
    /// When it was generated.
    pub issued: SystemTime,
    /// When its current term started: at the last renewal.
    pub renewed: SystemTime,
    /// When it expires, unless it is renewed.
    pub ends: SystemTime,
    /// When it expires with all renewals; `None` if ScaiVault does not report it.
    pub last_end: Option<SystemTime>,
    /// Whether it can be renewed at all.
    pub is_renewable: bool,
}

/// The next action on a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStep {
    /// Nothing until then.
    Wait(SystemTime),
    /// Renew its term.
    Renew,
    /// Replace it by a new lease.
    Replace,
}

impl HeldLease {
    /// A lease generated at `now`.
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

    /// Applies the term of a renewal at `now`.
    pub fn renew(&mut self, term: LeaseTerm, now: SystemTime) {
        let LeaseTerm { ttl, is_renewable, max_ttl } = term;
        let ends = now + ttl;
        // A server that grants no more time only shows it by the returned term.
        let is_same_clock = self.renewed <= now;
        self.is_renewable = is_renewable && (!is_same_clock || ends >= self.ends + WORTHWHILE);
        self.renewed = now;
        self.ends = ends;
        self.last_end = max_ttl.map(|max| self.issued + max).or(self.last_end);
    }

    /// Marks it as not renewable: it will be replaced.
    pub fn refuse_renewal(&mut self) {
        self.is_renewable = false;
    }

    /// Whether its credentials can be used at `now`.
    pub fn is_usable(&self, now: SystemTime) -> bool {
        self.issued <= now && now + USABLE_MARGIN < self.ends
    }

    /// The length of its current term. Independent of the current clock.
    pub fn term(&self) -> Duration {
        self.ends.duration_since(self.renewed).unwrap_or_default()
    }

    /// Whether less than a sixth of its term is left at `now`. A renewal that still fails then has
    /// failed for half of the time reserved for it, and the rest is needed to get new credentials
    /// before the old ones expire.
    pub fn is_nearly_over(&self, now: SystemTime) -> bool {
        now > self.nearly_over()
    }

    /// The timeout of a renewal sent at `now`: if it hangs, there must be time left for new
    /// credentials.
    pub fn renewal_timeout(&self, now: SystemTime) -> Duration {
        // After a forward step of the clock, the part of the term that is reserved for it.
        self.nearly_over().duration_since(now).unwrap_or(self.term() / 6)
    }

    fn nearly_over(&self) -> SystemTime {
        self.ends - self.term() / 6
    }

    /// The next action at `now`. `jitter` is from 0 to 1 and constant for the life of the lease.
    ///
    /// A lease is renewed after two thirds of its term, minus up to a tenth, so that the replicas
    /// of a workload do not renew together. At its maximum, it is replaced at that time, so that
    /// new and old credentials overlap. After a step of the clock the stored times are not
    /// reliable, so a renewal is attempted, even if the lease seems to have expired: the answer has
    /// new times, or ScaiVault rejects it and the lease is replaced.
    pub fn step(&self, now: SystemTime, jitter: f64) -> LeaseStep {
        let due = self.renewed + self.term().mul_f64(2.0 / 3.0 - jitter.clamp(0.0, 1.0) / 10.0);
        if self.renewed <= now && now < due {
            return LeaseStep::Wait(due);
        }
        let is_at_maximum = self.last_end.is_some_and(|last| last <= self.ends + WORTHWHILE);
        if self.is_renewable && !is_at_maximum { LeaseStep::Renew } else { LeaseStep::Replace }
    }
}

/// Credentials that `ScaiVault` generated for the caller and removes when they expire.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Its identifier, to renew and revoke it.
    pub id: LeaseId,
    /// The credentials, for a database `username` and `password`.
    pub credentials: SecretData,
    /// Their term.
    pub term: LeaseTerm,
}

/// The term of a lease, counted from the answer that contains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerm {
    /// Until it expires, unless it is renewed.
    pub ttl: Duration,
    /// Whether it can be renewed at all.
    pub is_renewable: bool,
    /// The maximum lifetime with all renewals, counted from its generation; `None` if the server
    /// does not report it.
    pub max_ttl: Option<Duration>,
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
    fn a_lease_near_its_end_or_from_the_future_is_not_restored() {
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
