//! When all files are compared with ScaiVault. Pure: time and chance are parameters.

use std::time::Duration;

use tokio::time::Instant;

/// How far from its interval a refresh may be, so that the replicas of a workload do not come together.
const SPREAD: f64 = 0.1;
/// The interval of a sidecar that is subscribed to events and receives none, while ScaiVault's rate limit is far: of the
/// 1000 reads a minute that all pods of one identity share, 200 pods with two secrets take 800.
const WITHOUT_EVENTS: Duration = Duration::from_secs(30);
/// With less than this share of the reads left, the pods of an identity take more than they are granted.
const SHARE_WANTED: f64 = 0.5;
/// What a smaller share counts as: an interval of ten times [`WITHOUT_EVENTS`] is the longest, if the configured one is not.
const SHARE_LEAST: f64 = SHARE_WANTED / 10.0;

/// The interval between refreshes, and the time of the next one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefreshSchedule {
    /// The configured interval: the longest.
    configured: Duration,
    /// Whether the configured interval is enough: events arrive, or are not subscribed to.
    is_connected: bool,
    /// The interval otherwise.
    without_events: Duration,
    interval: Duration,
    /// The part of the interval that passes this time.
    share: f64,
    done: Instant,
    due: Instant,
}

impl RefreshSchedule {
    /// First due an interval after `now`. `is_subscribed` if events are to arrive; none do yet. `chance` is from 0 to 1.
    pub(crate) fn new(configured: Duration, is_subscribed: bool, now: Instant, chance: f64) -> Self {
        let without_events = WITHOUT_EVENTS.min(configured);
        let interval = if is_subscribed { without_events } else { configured };
        let (is_connected, share) = (!is_subscribed, 1.0);
        let mut schedule =
            Self { configured, is_connected, without_events, interval, share, done: now, due: now };
        schedule.done(now, chance);
        schedule
    }

    /// The configured interval.
    pub(crate) fn configured(&self) -> Duration {
        self.configured
    }

    /// The time of the next refresh.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// A refresh began at `now`: the next one is an interval later, up to a tenth earlier or later.
    pub(crate) fn done(&mut self, now: Instant, chance: f64) {
        self.share = 1.0 - SPREAD + 2.0 * SPREAD * chance.clamp(0.0, 1.0);
        self.done = now;
        self.due = now + self.interval.mul_f64(self.share);
    }

    /// Events arrive from `now` on, or do not.
    pub(crate) fn set_connected(&mut self, is_connected: bool, now: Instant) {
        self.is_connected = is_connected;
        self.adapt(now);
    }

    /// Secrets were read at `now`, and this share of ScaiVault's rate limit is left, where it says so. The less is left, the
    /// longer is the interval: all pods of the identity see the same, and settle where they take together what they are
    /// granted.
    pub(crate) fn set_share_left(&mut self, left: Option<f64>, now: Instant) {
        let left = left.unwrap_or(SHARE_WANTED).clamp(SHARE_LEAST, SHARE_WANTED);
        self.without_events = WITHOUT_EVENTS.mul_f64(SHARE_WANTED / left).min(self.configured);
        self.adapt(now);
    }

    /// A longer interval counts from the last refresh, so that changes to and fro do not put it off for ever; a shorter one
    /// from now, so that it is not due for all replicas at once.
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
    fn without_events_the_interval_is_shorter_and_depends_on_the_rate_limit() {
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
        assert_eq!(schedule.due(), start + WITHOUT_EVENTS, "a ScaiVault that does not say");
        let short = RefreshSchedule::new(WITHOUT_EVENTS / 3, true, start, 0.5);
        assert_eq!(short.due(), start + WITHOUT_EVENTS / 3, "never less often than configured");
    }

    #[test]
    fn another_interval_neither_hurries_all_nor_puts_off_for_ever() {
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

    /// 200 pods of one identity without events, and a bucket that is refilled by 1000 reads a minute.
    #[test]
    fn a_fleet_takes_what_it_is_granted_and_is_up_to_date_within_a_minute() {
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
