//! Log lines about a condition that lasts.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Lets the first line about a condition through, then one in a period.
#[derive(Debug)]
pub(crate) struct LogThrottle<T> {
    period: Duration,
    /// What was last logged, and when.
    last: Option<(String, T)>,
}

/// A moment of some clock.
pub(crate) trait Moment: Copy {
    /// How long it is after an earlier one; none if the clock was set back.
    fn since(self, earlier: Self) -> Option<Duration>;
}

impl Moment for Instant {
    fn since(self, earlier: Self) -> Option<Duration> {
        Some(self.duration_since(earlier))
    }
}

impl Moment for SystemTime {
    fn since(self, earlier: Self) -> Option<Duration> {
        self.duration_since(earlier).ok()
    }
}

impl<T: Moment> LogThrottle<T> {
    pub(crate) fn new(period: Duration) -> Self {
        Self { period, last: None }
    }

    /// Whether a line is to be logged now; then the next one waits for the period.
    pub(crate) fn is_due(&mut self, now: T) -> bool {
        self.is_text_due("", now)
    }

    /// The same; another text than the last one does not wait.
    pub(crate) fn is_text_due(&mut self, text: &str, now: T) -> bool {
        let is_recent = |(last, at): &(String, T)| {
            // A clock that was set back is no reason for silence.
            last == text && now.since(*at).is_some_and(|since| since < self.period)
        };
        let is_due = !self.last.as_ref().is_some_and(is_recent);
        if is_due {
            self.last = Some((text.to_owned(), now));
        }
        is_due
    }

    /// When a line was last let through.
    #[cfg(test)]
    pub(crate) fn last(&self) -> Option<T> {
        self.last.as_ref().map(|(_, at)| *at)
    }

    /// The condition is over; whether it was logged.
    pub(crate) fn reset(&mut self) -> bool {
        self.last.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_logged_once_in_a_period() {
        let hour = Duration::from_hours(1);
        let (mut throttle, start) = (LogThrottle::new(hour), SystemTime::now());
        assert!(throttle.is_text_due("away", start));
        assert!(!throttle.is_text_due("away", start + hour / 2));
        assert!(throttle.is_text_due("forbidden", start + hour / 2));
        assert!(throttle.is_text_due("forbidden", start + hour * 3 / 2));
        assert!(throttle.is_text_due("forbidden", start), "the clock was set back");
        assert!(throttle.reset() && !throttle.reset());
        assert!(throttle.is_due(start) && !throttle.is_due(start));
    }
}
