//! Log lines about shed requests and connections, throttled because an attacker controls how often
//! they occur.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// The minimum time between two lines about the same cause.
const PERIOD: Duration = Duration::from_secs(1);

/// Why a request or a connection was shed or limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Requests,
    Memory,
    MemoryPerSource,
    Connections,
    ConnectionsPerSource,
    Source,
    Evicted,
    BodyTooLong,
    BodyTooSlow,
    NotJson,
    NotAReview,
    NotAccepted,
    Waiting,
    NoPolicies,
}

impl Cause {
    const COUNT: usize = Self::NoPolicies as usize + 1;

    const fn text(self) -> &'static str {
        match self {
            Self::Requests => "503: too many requests at once",
            Self::Memory => "503: too many bytes of large requests at once",
            Self::MemoryPerSource => "503: too many bytes of large requests of one address at once",
            Self::Connections => "connection refused: too many at once",
            Self::ConnectionsPerSource => "connection refused: too many of one address at once",
            Self::Source => "connection refused: its address may not connect",
            Self::Evicted => "idle connection closed to make room",
            Self::BodyTooLong => "413: request body too long",
            Self::BodyTooSlow => "408: request body too slow",
            Self::NotJson => "415: Content-Type is not application/json",
            Self::NotAReview => "400: not an AdmissionReview",
            Self::Waiting => "503: too many reviews wait for their namespace or service account at once",
            Self::NoPolicies => "404: a pod for policies, which this replica does not apply",
            Self::NotAccepted => "cannot accept connections, closing an idle one",
        }
    }

    /// The flag of the limit that was reached, or of the feature that is switched off.
    const fn flag(self) -> Option<&'static str> {
        match self {
            Self::Requests => Some("--max-requests"),
            Self::Memory | Self::MemoryPerSource => Some("--max-buffered-bytes"),
            Self::Connections | Self::Evicted => Some("--max-connections"),
            Self::ConnectionsPerSource => Some("--max-connections-per-source"),
            Self::Source => Some("--allow-source"),
            Self::BodyTooLong => Some("--max-body-bytes"),
            Self::BodyTooSlow => Some("--read-timeout"),
            Self::NoPolicies => Some("--policies"),
            Self::NotJson | Self::NotAReview | Self::NotAccepted | Self::Waiting => None,
        }
    }
}

/// Logs at most once a second per cause that something was shed, with the count since the last
/// line.
pub(crate) struct ThrottledLog {
    epoch: Instant,
    causes: [Throttle; Cause::COUNT],
}

impl Default for ThrottledLog {
    fn default() -> Self {
        Self { epoch: Instant::now(), causes: Default::default() }
    }
}

impl ThrottledLog {
    /// Counts the cause, and logs if the period has passed. `error` is the system's error, if any.
    pub(crate) fn raise(&self, cause: Cause, error: Option<&std::io::Error>) {
        let Some(throttle) = self.causes.get(cause as usize) else { return };
        if let Some(count) = throttle.raise(self.epoch.elapsed()) {
            let error = error.map(tracing::field::display);
            tracing::warn!(cause = cause.text(), flag = cause.flag(), count, error, "turned away");
        }
    }
}

/// Lets one of many events through per period.
#[derive(Default)]
struct Throttle {
    /// Events since the last one that was let through.
    count: AtomicU64,
    /// When the next one is let through, in milliseconds.
    next: AtomicU64,
}

impl Throttle {
    /// The number of events since the last one that was let through, if the period has passed at
    /// `now`.
    fn raise(&self, now: Duration) -> Option<u64> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        let next = self.next.load(Ordering::Relaxed);
        let due = millis(now) >= next
            // If two threads compete, one succeeds.
            && self
                .next
                .compare_exchange(next, millis(now + PERIOD), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        due.then(|| self.count.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_with_the_count_since() {
        let throttle = Throttle::default();
        let second = Duration::from_secs(1);
        assert_eq!(throttle.raise(Duration::ZERO), Some(1), "the first at once");
        for _ in 0..41 {
            assert_eq!(throttle.raise(second / 2), None);
        }
        assert_eq!(throttle.raise(second), Some(42));
        assert_eq!(throttle.raise(second + second / 2), None);
        assert_eq!(throttle.raise(9 * second), Some(2));
    }
}
