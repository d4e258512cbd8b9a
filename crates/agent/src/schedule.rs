//! When something is done the next time. Pure: time and chance are parameters.

use std::time::Duration;

use tokio::time::Instant;

/// How far from its interval a refresh may be, so that the replicas of a workload do not come together.
const SPREAD: f64 = 0.1;

/// A thing that is done at intervals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    /// The part of the interval that passes this time.
    share: f64,
    done: Instant,
    due: Instant,
}

impl Schedule {
    /// First due an interval after `now`. `chance` is from 0 to 1.
    pub(crate) fn new(interval: Duration, now: Instant, chance: f64) -> Self {
        let mut schedule = Self { interval, share: 1.0, done: now, due: now };
        schedule.done(now, chance);
        schedule
    }

    /// When it is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// It was done at `now`: the next time is an interval later, up to a tenth earlier or later.
    pub(crate) fn done(&mut self, now: Instant, chance: f64) {
        self.share = 1.0 - SPREAD + 2.0 * SPREAD * chance.clamp(0.0, 1.0);
        self.done = now;
        self.due = now + self.interval.mul_f64(self.share);
    }

    /// It is done at another interval from `now` on: a longer one counts from the last time, so that changes to and fro
    /// do not put it off for ever; a shorter one from now, so that it is not due for all replicas at once.
    pub(crate) fn set_interval(&mut self, interval: Duration, now: Instant) {
        let after = interval.mul_f64(self.share);
        self.due = if interval < self.interval { self.due.min(now + after) } else { self.done + after };
        self.interval = interval;
    }
}

/// A thing that is tried until it works, with pauses that double.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempts {
    first: Duration,
    longest: Duration,
    pause: Duration,
    due: Option<Instant>,
}

impl Attempts {
    /// Nothing is to be tried yet.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, pause: first, due: None }
    }

    /// When the next try is due; none where nothing is to be tried.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a try is due at `now`.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// It is to be tried at `due`, or earlier where it is to be already.
    pub(crate) fn start(&mut self, due: Instant) {
        self.pause = self.first;
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// It did not work at `now`: the next try is at most the current pause later, at least half of it. `chance` is from 0
    /// to 1. Whether this was the first try.
    pub(crate) fn failed(&mut self, now: Instant, chance: f64) -> bool {
        let is_first = self.pause == self.first;
        self.due = Some(now + self.pause.mul_f64(f64::midpoint(1.0, chance.clamp(0.0, 1.0))));
        self.pause = (self.pause * 2).min(self.longest);
        is_first
    }

    /// It worked.
    pub(crate) fn succeeded(&mut self) {
        self.pause = self.first;
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn an_interval_is_spread_by_a_tenth() {
        let now = Instant::now();
        let due = |chance: f64| Schedule::new(10 * MINUTE, now, chance).due() - now;
        assert_eq!(due(0.0), 9 * MINUTE);
        assert_eq!(due(0.5), 10 * MINUTE);
        assert_eq!(due(1.0), 11 * MINUTE);
        assert_eq!(due(7.0), 11 * MINUTE);
    }

    #[test]
    fn another_interval_neither_hurries_all_nor_puts_off_for_ever() {
        let start = Instant::now();
        let mut schedule = Schedule::new(10 * MINUTE, start, 0.5);
        schedule.set_interval(MINUTE, start + 5 * MINUTE);
        assert_eq!(schedule.due(), start + 6 * MINUTE);
        schedule.set_interval(10 * MINUTE, start + 5 * MINUTE);
        assert_eq!(schedule.due(), start + 10 * MINUTE);
        schedule.set_interval(2 * MINUTE, start + 9 * MINUTE);
        assert_eq!(schedule.due(), start + 10 * MINUTE);
        schedule.done(start + 10 * MINUTE, 0.5);
        assert_eq!(schedule.due(), start + 12 * MINUTE);
    }

    #[test]
    fn attempts_pause_longer_and_longer_until_one_works() {
        let now = Instant::now();
        let mut attempts = Attempts::new(MINUTE, 3 * MINUTE);
        assert_eq!(attempts.due(), None);
        attempts.start(now);
        assert_eq!(attempts.due(), Some(now));
        assert!(!attempts.is_due(now - MINUTE) && attempts.is_due(now));
        assert!(attempts.failed(now, 1.0));
        assert_eq!(attempts.due(), Some(now + MINUTE));
        for pause in [2, 3, 3] {
            assert!(!attempts.failed(now, 1.0));
            assert_eq!(attempts.due(), Some(now + pause * MINUTE));
        }
        attempts.succeeded();
        assert_eq!(attempts.due(), None);
        attempts.start(now);
        assert!(attempts.failed(now, 0.0), "a new change is reported again");
        assert_eq!(attempts.due(), Some(now + MINUTE / 2), "replicas do not come together");
        attempts.start(now + MINUTE);
        assert_eq!(attempts.due(), Some(now + MINUTE / 2), "what is due is not put off");
    }
}
