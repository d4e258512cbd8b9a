//! How many Events are too many.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use scaivault_webhook::NoticeReason;

/// How long an owner hears nothing more for the same reason: its pods are all alike.
const PERIOD: Duration = Duration::from_mins(10);

/// Events of all owners at once, after a quiet time.
const BURST: u32 = 50;

/// How often one more may be posted: Kubernetes' own components are kept to as much.
const REFILL: Duration = Duration::from_secs(1);

/// How many owners are remembered.
const REMEMBERED: usize = 4096;

/// Lets through what is neither said again too soon nor one of too many.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    last: HashMap<(String, NoticeReason), Instant>,
    /// From when on the whole burst is there again.
    full_at: Option<Instant>,
}

impl Limiter {
    /// Whether a notice for this owner may be posted now; then it counts.
    pub(super) fn admit(&mut self, owner_uid: &str, reason: NoticeReason, now: Instant) -> bool {
        let key = (owner_uid.to_owned(), reason);
        let is_recent = |last: &Instant| now.saturating_duration_since(*last) < PERIOD;
        if self.last.get(&key).is_some_and(is_recent) {
            return false;
        }
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now)) + REFILL;
        if full_at - now > REFILL * BURST {
            return false;
        }
        if self.last.len() >= REMEMBERED {
            self.last.retain(|_, last| is_recent(last));
            if self.last.len() >= REMEMBERED {
                return false;
            }
        }
        self.full_at = Some(full_at);
        self.last.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASON: NoticeReason = NoticeReason::SecretsNotInjected;

    #[test]
    fn an_owner_hears_the_same_once_in_a_while() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        assert!(limiter.admit("a", REASON, start));
        assert!(!limiter.admit("a", REASON, start + PERIOD / 2));
        assert!(limiter.admit("a", NoticeReason::InjectionWarning, start), "another reason");
        assert!(limiter.admit("b", REASON, start), "another owner");
        assert!(limiter.admit("a", REASON, start + PERIOD));
    }

    #[test]
    fn all_together_have_a_burst_that_comes_back_with_time() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        let mut admitted = |from: u32, at: Instant| {
            (from..from + 100).filter(|number| limiter.admit(&number.to_string(), REASON, at)).count()
        };
        assert_eq!(admitted(0, start), BURST as usize);
        assert_eq!(admitted(100, start + 3 * REFILL), 3);
        assert_eq!(admitted(200, start + PERIOD), BURST as usize);
    }

    #[test]
    fn no_more_owners_are_remembered_than_there_is_room_for() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        for number in 0..2 * u32::try_from(REMEMBERED).unwrap() {
            limiter.admit(&number.to_string(), REASON, start + number * REFILL);
            assert!(limiter.last.len() <= REMEMBERED);
        }
    }
}
