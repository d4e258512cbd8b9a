//! The server's time, which can be moved forward: so that a test sees a lease end without waiting for it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

/// The machine's clock and what was added to it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    added_seconds: AtomicI64,
}

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.added_seconds.load(Ordering::Relaxed))
    }

    /// Moves the time forward, whole seconds.
    pub(crate) fn advance(&self, by: Duration) {
        let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX).min(MAX_ADVANCE_SECONDS);
        self.added_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// A hundred years at once: far enough, and inside of what a timestamp can say.
const MAX_ADVANCE_SECONDS: i64 = 100 * 366 * 24 * 60 * 60;

/// As most of `ScaiVault`'s objects write a time: whole seconds.
pub(crate) fn whole_seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}
