//! How often the files are compared with ScaiVault. Pure.

use std::time::Duration;

/// The interval of a sidecar that is to hear of changes and hears none, as long as ScaiVault's rate limit is far: of the
/// 1000 reads a minute that all pods of one identity share, 200 pods with two secrets take 800.
const UNHEARD: Duration = Duration::from_secs(30);
/// With less than this share of the reads left, the pods of an identity take more than they are granted.
const SHARE_WANTED: f64 = 0.5;
/// What a share that is smaller counts as: an interval of ten times [`UNHEARD`] is the longest, if the configured one is not.
const SHARE_LEAST: f64 = SHARE_WANTED / 10.0;

/// How often the files are compared: at the configured interval, or more often where changes should be heard of and are
/// not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    interval: Duration,
    /// Whether changes are heard of, or are not to be.
    is_content: bool,
    /// The interval while they are not.
    unheard: Duration,
}

impl Pace {
    /// `interval` as configured; `listens` where events are subscribed to. None are heard yet.
    pub(super) fn new(interval: Duration, listens: bool) -> Self {
        Self { interval, is_content: !listens, unheard: UNHEARD.min(interval) }
    }

    /// The configured interval: the longest.
    pub(super) fn configured(self) -> Duration {
        self.interval
    }

    /// The interval.
    pub(super) fn interval(self) -> Duration {
        if self.is_content { self.interval } else { self.unheard }
    }

    /// Changes are heard from now on, or are not.
    pub(super) fn set_hearing(&mut self, is_hearing: bool) {
        self.is_content = is_hearing;
    }

    /// Secrets were read, and this share of ScaiVault's rate limit is left, where it says so. The less is left, the longer is
    /// the interval: all pods of the identity see the same, and settle where they take together what they are granted.
    pub(super) fn read(&mut self, left: Option<f64>) {
        let left = left.unwrap_or(SHARE_WANTED).clamp(SHARE_LEAST, SHARE_WANTED);
        self.unheard = UNHEARD.mul_f64(SHARE_WANTED / left).min(self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_mins(5);

    #[test]
    fn who_hears_nothing_looks_more_often() {
        let mut pace = Pace::new(INTERVAL, true);
        assert_eq!(pace.interval(), UNHEARD);
        pace.set_hearing(true);
        assert_eq!(pace.interval(), INTERVAL);
        pace.set_hearing(false);
        assert_eq!(pace.interval(), UNHEARD);
        assert_eq!(Pace::new(INTERVAL, false).interval(), INTERVAL);
        assert_eq!(Pace::new(UNHEARD / 3, true).interval(), UNHEARD / 3, "never less often than configured");
    }

    #[test]
    fn a_rate_limit_that_is_near_slows_all_down_until_it_is_far() {
        let mut pace = Pace::new(INTERVAL, true);
        for (left, seconds) in [(1.0, 30), (0.5, 30), (0.25, 60), (0.1, 150), (0.0, 300), (0.6, 30)] {
            pace.read(Some(left));
            assert_eq!(pace.interval().as_millis(), seconds * 1000, "{left}");
        }
        pace.read(Some(0.0));
        pace.read(None);
        assert_eq!(pace.interval(), UNHEARD, "a ScaiVault that does not say");
    }

    /// 200 pods of one identity that hear nothing, and a bucket that is refilled by 1000 reads a minute.
    #[test]
    fn a_fleet_takes_what_it_is_granted_and_is_up_to_date_within_a_minute() {
        for (secrets, expected_seconds) in [(1.0, 33.0), (2.0, 33.0), (3.0, 60.0)] {
            let mut bucket = 1000.0_f64;
            let mut pods: Vec<_> = (0..200)
                .map(|pod| (Pace::new(INTERVAL, true), f64::from(pod % 30), f64::from(pod % 30)))
                .collect();
            let (mut longest, mut refused) = (0.0_f64, 0);
            for second in 0..3600 {
                let now = f64::from(second);
                bucket = (bucket + 1000.0 / 60.0).min(1000.0);
                for (pace, last, due) in pods.iter_mut().filter(|(_, _, due)| *due <= now) {
                    refused += usize::from(bucket < secrets);
                    bucket = (bucket - secrets).max(0.0);
                    longest = longest.max(now - *last);
                    pace.read(Some(bucket / 1000.0));
                    (*last, *due) = (now, now + pace.interval().as_secs_f64());
                }
            }
            assert!(longest <= expected_seconds, "{secrets} secrets: {longest} s");
            assert_eq!(refused, 0, "{secrets} secrets");
        }
    }
}
