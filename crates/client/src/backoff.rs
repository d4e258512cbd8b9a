//! The time of the next attempt after a failure.

use std::time::Duration;

use tokio::time::Instant;

use crate::Retry;

/// Maximum pause that a server can request, so that adding it to a time cannot overflow.
const ASKED_LIMIT: Duration = Duration::from_hours(24);

/// The time of the next attempt, with exponential backoff and jitter.
///
/// Pauses double from `first` to `max`, and each is shortened at random by up to a half, so that the replicas of a
/// workload do not retry at the same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
    is_once_spent: bool,
    due: Option<Instant>,
}

impl Backoff {
    /// No attempt is scheduled. Pauses are at most `first`, then twice that, and so on up to `max`.
    pub const fn new((first, max): (Duration, Duration)) -> Self {
        Self { first, max, failures: 0, is_once_spent: false, due: None }
    }

    /// Continues after `failures` in an earlier process, with the next attempt `due`.
    pub fn resumed(pauses: (Duration, Duration), failures: u32, due: Instant) -> Self {
        Self { failures, due: Some(due), ..Self::new(pauses) }
    }

    /// The time of the next attempt; `None` if no attempt is scheduled.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether an attempt is scheduled and due.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether the next attempt must wait. False if none is scheduled.
    pub fn is_waiting(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| now < due)
    }

    /// Failures since the last success or [`Self::start`].
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Schedules an attempt `at` this time, or keeps an earlier one. Pauses start again with the first one.
    pub fn start(&mut self, at: Instant) {
        let due = self.due.map_or(at, |due| due.min(at));
        self.succeeded();
        self.due = Some(due);
    }

    /// Moves the next attempt to `until`, unless it is later already. Schedules one if there is none.
    pub fn postpone(&mut self, until: Instant) {
        self.due = self.due.max(Some(until));
    }

    /// Schedules the attempt after one that failed at `now`, and returns its time; `None` for no
    /// further attempt.
    ///
    /// [`Retry::After`] lengthens the pause by up to a tenth of jitter, but never shortens it below
    /// the pause without it: a server that requests 0 s must not cause a busy loop. Cap it with
    /// [`Retry::at_most`].
    pub fn failed(&mut self, now: Instant, retry: Retry) -> Option<Instant> {
        let grown = self.pause();
        let pause = match retry {
            Retry::Never => None,
            Retry::Once if self.is_once_spent => None,
            Retry::Once | Retry::Backoff => Some(grown),
            Retry::After(asked) => {
                let asked = asked.min(ASKED_LIMIT);
                Some(grown.max(asked + asked.mul_f64(fastrand::f64() / 10.0)))
            }
        };
        self.is_once_spent |= retry == Retry::Once;
        self.failures = self.failures.saturating_add(1);
        self.due = pause.map(|pause| now + pause);
        self.due
    }

    /// The attempt succeeded: none is scheduled, and pauses start again with the first one.
    pub fn succeeded(&mut self) {
        *self = Self::new((self.first, self.max));
    }

    /// A random pause between half of the current one and all of it.
    fn pause(&self) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(self.failures));
        doubled.min(self.max).mul_f64(f64::midpoint(1.0, fastrand::f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[track_caller]
    fn pause(backoff: &mut Backoff, retry: Retry) -> Duration {
        let now = Instant::now();
        backoff.failed(now, retry).unwrap() - now
    }

    #[test]
    fn doubles_up_to_its_limit_and_starts_again() {
        for _ in 0..100 {
            let mut backoff = Backoff::new((SECOND, 5 * SECOND));
            for (failures, whole) in [1, 2, 4, 5, 5, 1].into_iter().enumerate() {
                if failures == 5 {
                    backoff.succeeded();
                }
                let pause = pause(&mut backoff, Retry::Backoff);
                assert!((SECOND * whole / 2..=SECOND * whole).contains(&pause), "{pause:?} of {whole} s");
            }
            assert_eq!(backoff.failures(), 1);
        }
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff::new((SECOND, Duration::from_mins(5)));
        for _ in 0..100 {
            assert!(pause(&mut backoff, Retry::Backoff) <= Duration::from_mins(5));
        }
        assert!(pause(&mut backoff, Retry::After(Duration::MAX)) <= 2 * ASKED_LIMIT);
    }

    #[test]
    fn replicas_do_not_retry_together() {
        let now = Instant::now();
        let dues: std::collections::BTreeSet<_> =
            (0..100).map(|_| Backoff::new((SECOND, SECOND)).failed(now, Retry::Backoff)).collect();
        assert!(dues.len() > 90, "{}", dues.len());
    }

    #[test]
    fn a_requested_pause_is_not_shortened() {
        let mut backoff = Backoff::new((SECOND, SECOND));
        for _ in 0..100 {
            let pause = pause(&mut backoff, Retry::After(20 * SECOND));
            assert!((20 * SECOND..=22 * SECOND).contains(&pause), "{pause:?}");
        }
        let capped = Retry::After(20 * SECOND).at_most(5 * SECOND);
        assert!((5 * SECOND..6 * SECOND).contains(&pause(&mut backoff, capped)));
    }

    #[test]
    fn a_short_requested_pause_causes_no_busy_loop() {
        for asked in [Duration::ZERO, SECOND] {
            let mut backoff = Backoff::new((SECOND / 2, 10 * SECOND));
            let total: Duration = (0..10).map(|_| pause(&mut backoff, Retry::After(asked))).sum();
            assert!((25 * SECOND..80 * SECOND).contains(&total), "{asked:?}: {total:?}");
        }
    }

    #[test]
    fn once_is_granted_once_and_never_is_final() {
        let now = Instant::now();
        let mut backoff = Backoff::new((SECOND, SECOND));
        assert!(backoff.failed(now, Retry::Once).is_some());
        assert!(backoff.failed(now, Retry::Backoff).is_some());
        assert_eq!(backoff.failed(now, Retry::Once), None);
        assert_eq!((backoff.failed(now, Retry::Never), backoff.due()), (None, None));
        backoff.succeeded();
        assert!(backoff.failed(now, Retry::Once).is_some());
    }

    #[test]
    fn a_due_time_is_held() {
        let now = Instant::now();
        let mut backoff = Backoff::new((SECOND, SECOND));
        assert!(!backoff.is_due(now) && !backoff.is_waiting(now) && backoff.due().is_none());
        backoff.start(now + 2 * SECOND);
        backoff.start(now + 3 * SECOND);
        assert_eq!(backoff.due(), Some(now + 2 * SECOND), "the earlier one");
        assert!(backoff.is_waiting(now) && backoff.is_due(now + 2 * SECOND));
        backoff.postpone(now + SECOND);
        assert_eq!(backoff.due(), Some(now + 2 * SECOND));
        backoff.postpone(now + 9 * SECOND);
        assert_eq!(backoff.due(), Some(now + 9 * SECOND), "the later one");
        backoff.succeeded();
        assert_eq!((backoff.due(), backoff.failures()), (None, 0));
    }
}
