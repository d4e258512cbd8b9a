//! How long not to listen after a failure. Pure.

use std::time::Duration;

use scaivault_client::{Backoff, Class, Retry};
use tokio::time::Instant;

/// After a failure, about: the first pause and the longest.
const FAILED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));
/// After a subscription that was throttled. Of these ScaiVault grants 20 operations a minute to all pods of one identity
/// together: of 200 pods that start at once twenty listen at once, and the others within some ten minutes. What they
/// ask for in vain must not be what the ones that listen need.
const SUBSCRIBING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(10));
/// After a poll that was throttled, of which there are 240 a minute.
const POLLING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To make a subscription.
    Subscribe,
    /// To hear of what it is about.
    Poll,
}

/// Pauses that grow until something works.
#[derive(Clone, Debug)]
pub(super) struct Quiet {
    failed: Backoff,
    subscribing: Backoff,
    polling: Backoff,
}

impl Quiet {
    /// `seed` tells this pod's pauses from another's.
    pub(super) fn new(_seed: u64) -> Self {
        let of = |(first, longest)| Backoff::new(first, longest);
        Self { failed: of(FAILED), subscribing: of(SUBSCRIBING), polling: of(POLLING) }
    }

    /// A step worked.
    pub(super) fn worked(&mut self, step: Step) {
        // A subscription that is taken away again and again does not bring the pauses back to their start.
        match step {
            Step::Subscribe => self.subscribing.succeeded(),
            Step::Poll => {
                self.failed.succeeded();
                self.polling.succeeded();
            }
        }
    }

    /// How long to wait after a step that failed; none where it fails for good. Never shorter than the server asks.
    pub(super) fn after(&mut self, step: Step, class: Class, retry: Retry) -> Option<Duration> {
        let grown = match (step, class) {
            (_, Class::Denied | Class::Invalid | Class::NotFound | Class::Conflict)
                if retry == Retry::Never =>
            {
                return None;
            }
            (Step::Subscribe, Class::Throttled) => &mut self.subscribing,
            (Step::Poll, Class::Throttled) => &mut self.polling,
            // What is no answer of ScaiVault's, or is about the login, may pass.
            _ => &mut self.failed,
        };
        let now = Instant::now();
        let grown = grown.failed(now, Retry::Backoff)? - now;
        Some(grown.max(retry.asked().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THROTTLED: (Class, Retry) = (Class::Throttled, Retry::After(Duration::from_secs(3)));

    #[test]
    fn who_is_throttled_asks_less_and_less_often() {
        let mut pauses = Quiet::new(1);
        let mut total = Duration::ZERO;
        for minutes in [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            let longest = Duration::from_mins(1).mul_f64(minutes);
            let pause = pauses.after(Step::Subscribe, THROTTLED.0, THROTTLED.1).unwrap();
            assert!((longest / 2..=longest).contains(&pause), "{pause:?} of {longest:?}");
            total += pause;
            pauses.worked(Step::Poll);
        }
        assert!(total > Duration::from_mins(15));
        pauses.worked(Step::Subscribe);
        assert!(pauses.after(Step::Subscribe, THROTTLED.0, THROTTLED.1).unwrap() <= SUBSCRIBING.0);
        let asked = Retry::After(Duration::from_hours(1));
        let pause = pauses.after(Step::Poll, Class::Throttled, asked).unwrap();
        assert_eq!(pause, Duration::from_hours(1), "what the server asks for is not shortened");
    }

    #[test]
    fn what_a_person_has_to_mend_is_final_and_a_strange_answer_is_not() {
        let mut pauses = Quiet::new(1);
        assert_eq!(pauses.after(Step::Subscribe, Class::Denied, Retry::Never), None);
        assert_eq!(pauses.after(Step::Poll, Class::Invalid, Retry::Never), None);
        for class in [Class::Unexpected, Class::Authentication, Class::Unavailable] {
            assert!(pauses.after(Step::Poll, class, Retry::Never).is_some(), "{class:?}");
        }
        let of_an_ingress = pauses.after(Step::Subscribe, Class::NotFound, Retry::Backoff);
        assert!(of_an_ingress.is_some());
    }
}
