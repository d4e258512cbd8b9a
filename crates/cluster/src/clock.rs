//! The clock that decides when exceptions in policies end.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;

/// The clock difference between the API server and this process above which a warning is logged, in
/// seconds.
const TOLERANCE: i64 = 5 * 60;

/// Seconds since 1970, as in metrics and policies; 0 for an earlier time.
pub fn unix_seconds(time: SystemTime) -> i64 {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// This process's clock, corrected by timestamps of the API server: an exception must not outlive
/// its date because a node's clock is slow.
#[derive(Debug, Default)]
pub struct ApiClock {
    /// The newest timestamp from the API server, in Unix seconds.
    newest: AtomicI64,
}

impl ApiClock {
    /// Records a timestamp of the API server. Returns true for the first one that is ahead of
    /// `clock` by more than the tolerance.
    pub fn saw(&self, time: Timestamp, clock: SystemTime) -> bool {
        let (time, latest) = (time.as_second(), unix_seconds(clock).saturating_add(TOLERANCE));
        let former = self.newest.fetch_max(time, Ordering::Relaxed);
        former <= latest && latest < time
    }

    /// The current time in Unix seconds: the later of `clock` and the newest timestamp from the API
    /// server.
    pub fn now(&self, clock: SystemTime) -> i64 {
        unix_seconds(clock).max(self.newest.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_in_the_future_is_reported_once() {
        let api = ApiClock::default();
        let (clock, hours) = (UNIX_EPOCH + Duration::from_hours(500_000), 500_000 * 3_600);
        let saw = |seconds: i64| api.saw(Timestamp::from_second(hours + seconds).unwrap(), clock);
        assert_eq!([saw(-9), saw(200), saw(400), saw(900), saw(400)], [false, false, true, false, false]);
        assert_eq!(api.now(clock), hours + 900);
    }
}
