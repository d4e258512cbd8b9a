//! The server's time, which can be advanced, so that a test can observe the expiry of a lease
//! without waiting.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

/// The machine's clock with an offset.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    added_seconds: AtomicI64,
}

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.added_seconds.load(Ordering::Relaxed))
    }

    /// Advances the time by whole seconds.
    pub(crate) fn advance(&self, by: Duration) {
        let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX).min(MAX_ADVANCE_SECONDS);
        self.added_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// A hundred years in one step: long enough, and within the range of a timestamp.
const MAX_ADVANCE_SECONDS: i64 = 100 * 366 * 24 * 60 * 60;

/// A time in the format of most of `ScaiVault`'s objects: whole seconds.
pub(crate) fn whole_seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}
