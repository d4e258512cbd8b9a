//! Computes pauses after failures. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Backoff, Class, Retry};

/// The first and the longest pause after a failure.
const FAILED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));
/// After a throttled subscription. ScaiVault allows all pods of one identity together 20 of these
/// operations a minute: of 200 pods that start at once, twenty subscribe immediately, and the
/// others within about ten minutes. Their failed attempts must not use the operations that
/// subscribed pods need.
const SUBSCRIBING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(10));
/// After a throttled poll; 240 polls a minute are allowed.
const POLLING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
/// The longest pause after a rejection, which is shortened at random by up to a half: policies may
/// be changed, and a newer server may allow the request.
const REFUSED: Duration = Duration::from_mins(10);
/// The longest pause that a server can request.
const ASKED_LIMIT: Duration = Duration::from_mins(10);

/// The attempted step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Creating a subscription.
    Subscribe,
    /// Polling its events.
    Poll,
}

/// Pauses that grow until a step succeeds.
#[derive(Clone, Debug)]
pub(super) struct Pauses {
    failed: Backoff,
    subscribing: Backoff,
    polling: Backoff,
}

impl Default for Pauses {
    fn default() -> Self {
        let [failed, subscribing, polling] = [FAILED, SUBSCRIBING, POLLING].map(Backoff::new);
        Self { failed, subscribing, polling }
    }
}

impl Pauses {
    /// Records that a step succeeded.
    pub(super) fn worked(&mut self, step: Step) {
        // A subscription that is deleted repeatedly must not reset the pauses.
        match step {
            Step::Subscribe => self.subscribing.succeeded(),
            Step::Poll => {
                self.failed.succeeded();
                self.polling.succeeded();
            }
        }
    }

    /// The pause after a failed step. Not shorter than the server requests, up to [`ASKED_LIMIT`].
    pub(super) fn after(&mut self, step: Step, class: Class, retry: Retry) -> Duration {
        let backoff = match (step, class) {
            (_, Class::Denied | Class::Invalid | Class::NotFound | Class::Conflict)
                if retry == Retry::Never =>
            {
                return REFUSED.mul_f64(f64::midpoint(1.0, fastrand::f64()));
            }
            (Step::Subscribe, Class::Throttled) => &mut self.subscribing,
            (Step::Poll, Class::Throttled) => &mut self.polling,
            // An answer that is not ScaiVault's, or that concerns the login, may be temporary.
            _ => &mut self.failed,
        };
        let now = Instant::now();
        backoff.failed(now, retry.always(ASKED_LIMIT)).map_or(ASKED_LIMIT, |due| due - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THROTTLED: (Class, Retry) = (Class::Throttled, Retry::After(Duration::from_secs(3)));

    #[test]
    fn a_throttled_listener_backs_off() {
        let mut pauses = Pauses::default();
        let mut total = Duration::ZERO;
        for minutes in [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            let longest = Duration::from_mins(1).mul_f64(minutes);
            let pause = pauses.after(Step::Subscribe, THROTTLED.0, THROTTLED.1);
            assert!((longest / 2..=longest).contains(&pause), "{pause:?} of {longest:?}");
            total += pause;
            pauses.worked(Step::Poll);
        }
        assert!(total > Duration::from_mins(15));
        pauses.worked(Step::Subscribe);
        assert!(pauses.after(Step::Subscribe, THROTTLED.0, THROTTLED.1) <= SUBSCRIBING.0);
        for (asked, expected) in [(3, 3), (5, 5), (60, 10)] {
            let (asked, expected) = (Duration::from_mins(asked), Duration::from_mins(expected));
            let pause = pauses.after(Step::Poll, Class::Throttled, Retry::After(asked));
            assert!((expected..=expected.mul_f64(1.1)).contains(&pause), "{pause:?}");
        }
    }

    #[test]
    fn a_refused_subscription_is_retried_after_minutes() {
        let mut pauses = Pauses::default();
        let minutes = |pause: Duration| pause.as_secs_f64() / 60.0;
        for _ in 0..3 {
            for class in [Class::Denied, Class::Invalid, Class::NotFound, Class::Conflict] {
                let pause = minutes(pauses.after(Step::Subscribe, class, Retry::Never));
                assert!((5.0..=10.0).contains(&pause), "{class:?}: {pause} min");
            }
        }
        for class in [Class::Unexpected, Class::Authentication, Class::Unavailable] {
            let mut pauses = Pauses::default();
            assert!(pauses.after(Step::Poll, class, Retry::Never) <= FAILED.0, "{class:?}");
        }
        let of_an_ingress = pauses.after(Step::Subscribe, Class::NotFound, Retry::Backoff);
        assert!(of_an_ingress <= FAILED.0);
    }
}
