//! Decides when all files are compared with ScaiVault. Pure: time and random numbers are
//! parameters.

use std::time::Duration;

use tokio::time::Instant;

/// The jitter of a refresh relative to its interval, so that the replicas of a workload do not
/// refresh together.
const SPREAD: f64 = 0.1;
/// The interval of a sidecar that subscribes to events but receives none, while ScaiVault's rate
/// limit is not close: of the 1000 reads a minute that all pods of one identity share, 200 pods
/// with two secrets use 800.
const WITHOUT_EVENTS: Duration = Duration::from_secs(30);
/// If less than this share of the reads is left, the pods of an identity use more than the rate
/// limit allows.
const SHARE_WANTED: f64 = 0.5;
/// The lower bound of the share: so the longest interval is ten times [`WITHOUT_EVENTS`], unless
/// the configured one is longer.
const SHARE_LEAST: f64 = SHARE_WANTED / 10.0;

/// The interval between refreshes, and the time of the next one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefreshSchedule {
    /// The configured interval, which is the longest.
    configured: Duration,
    /// Whether the configured interval is sufficient: events arrive, or are not subscribed to.
    is_connected: bool,
    /// The interval otherwise.
    without_events: Duration,
    interval: Duration,
    /// The jitter factor of the current interval.
    share: f64,
    done: Instant,
    due: Instant,
}

impl RefreshSchedule {
    /// First due one interval after `now`. `is_subscribed` means that events are expected; none
    /// arrive yet. `chance` is from 0 to 1.
    pub(crate) fn new(configured: Duration, is_subscribed: bool, now: Instant, chance: f64) -> Self {
        let without_events = WITHOUT_EVENTS.min(configured);
        let interval = if is_subscribed { without_events } else { configured };
        let (is_connected, share) = (!is_subscribed, 1.0);
        let mut schedule =
            Self { configured, is_connected, without_events, interval, share, done: now, due: now };
        schedule.done(now, chance);
        schedule
    }

    pub(crate) fn configured(&self) -> Duration {
        self.configured
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Records that a refresh started at `now`: the next one follows after one interval, plus or
    /// minus up to a tenth.
    pub(crate) fn done(&mut self, now: Instant, chance: f64) {
        self.share = 1.0 - SPREAD + 2.0 * SPREAD * chance.clamp(0.0, 1.0);
        self.done = now;
        self.due = now + self.interval.mul_f64(self.share);
    }

    /// Records whether events arrive from `now` on.
    pub(crate) fn set_connected(&mut self, is_connected: bool, now: Instant) {
        self.is_connected = is_connected;
        self.adapt(now);
    }

    /// Records the share of ScaiVault's rate limit that is left after reads at `now`, if it is
    /// reported. The less is left, the longer the interval becomes: all pods of the identity
    /// observe the same share, so together they settle at the rate limit.
    pub(crate) fn set_share_left(&mut self, left: Option<f64>, now: Instant) {
        let left = left.unwrap_or(SHARE_WANTED).clamp(SHARE_LEAST, SHARE_WANTED);
        self.without_events = WITHOUT_EVENTS.mul_f64(SHARE_WANTED / left).min(self.configured);
        self.adapt(now);
    }

    /// A longer interval counts from the last refresh, so that alternating changes cannot postpone
    /// it forever; a shorter one counts from now, so that it is not due for all replicas at once.
    fn adapt(&mut self, now: Instant) {
        let interval = if self.is_connected { self.configured } else { self.without_events };
        let after = interval.mul_f64(self.share);
        if interval < self.interval {
            self.due = self.due.min(now + after);
        } else if interval > self.interval {
            self.due = self.done + after;
        }
        self.interval = interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const INTERVAL: Duration = Duration::from_mins(5);

    #[test]
    fn an_interval_is_spread_by_a_tenth() {
        let now = Instant::now();
        let due = |chance: f64| RefreshSchedule::new(10 * MINUTE, false, now, chance).due() - now;
        for (chance, minutes) in [(0.0, 9), (0.5, 10), (1.0, 11), (7.0, 11)] {
            assert_eq!(due(chance), minutes * MINUTE);
        }
    }

    #[test]
    fn without_events_the_interval_follows_the_rate_limit() {
        let start = Instant::now();
        let mut schedule = RefreshSchedule::new(INTERVAL, true, start, 0.5);
        assert_eq!(schedule.due(), start + WITHOUT_EVENTS);
        for (left, seconds) in [(1.0, 30), (0.5, 30), (0.25, 60), (0.1, 150), (0.0, 300), (0.6, 30)] {
            schedule.set_share_left(Some(left), start);
            schedule.done(start, 0.5);
            assert_eq!((schedule.due() - start).as_millis(), seconds * 1000, "{left}");
        }
        schedule.set_share_left(Some(0.0), start);
        schedule.set_share_left(None, start);
        assert_eq!(schedule.due(), start + WITHOUT_EVENTS, "ScaiVault reports no limit");
        let short = RefreshSchedule::new(WITHOUT_EVENTS / 3, true, start, 0.5);
        assert_eq!(short.due(), start + WITHOUT_EVENTS / 3, "never less often than configured");
    }

    #[test]
    fn a_changed_interval_neither_rushes_nor_starves_refreshes() {
        let start = Instant::now();
        let mut schedule = RefreshSchedule::new(INTERVAL, true, start, 0.5);
        schedule.set_connected(true, start);
        assert_eq!(schedule.due(), start + INTERVAL);
        schedule.set_connected(false, start + 4 * MINUTE);
        assert_eq!(schedule.due(), start + 4 * MINUTE + WITHOUT_EVENTS);
        schedule.set_connected(true, start + 4 * MINUTE);
        assert_eq!(schedule.due(), start + INTERVAL);
        schedule.set_connected(false, start + INTERVAL - WITHOUT_EVENTS / 2);
        assert_eq!(schedule.due(), start + INTERVAL);
    }

    /// 200 pods of one identity without events, and a bucket that gains 1000 reads a minute.
    #[test]
    fn a_fleet_uses_the_rate_limit_and_is_current_in_a_minute() {
        let start = Instant::now();
        for (secrets, expected_seconds) in [(1.0, 33), (2.0, 33), (3.0, 60)] {
            let mut bucket = 1000.0_f64;
            let mut pods: Vec<_> = (0..200)
                .map(|pod| {
                    let began = start + Duration::from_secs(pod % 30);
                    (RefreshSchedule::new(INTERVAL, true, began, 0.5), began)
                })
                .collect();
            let (mut longest, mut refused) = (Duration::ZERO, 0);
            for second in 0..3600 {
                let now = start + Duration::from_secs(second);
                bucket = (bucket + 1000.0 / 60.0).min(1000.0);
                for (schedule, last) in pods.iter_mut().filter(|(schedule, _)| schedule.due() <= now) {
                    refused += usize::from(bucket < secrets);
                    bucket = (bucket - secrets).max(0.0);
                    longest = longest.max(now - *last);
                    schedule.done(now, 0.5);
                    schedule.set_share_left(Some(bucket / 1000.0), now);
                    *last = now;
                }
            }
            let expected = Duration::from_secs(expected_seconds);
            assert!(longest <= expected, "{secrets} secrets: {longest:?}");
            assert_eq!(refused, 0, "{secrets} secrets");
        }
    }
}
