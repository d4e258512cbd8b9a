//! Exponential backoff with jitter.

use std::hash::{BuildHasher as _, RandomState};

use tokio::time::{Duration, sleep};

/// The maximum pause, even if the API server asks for a longer one.
const LONGEST: Duration = Duration::from_secs(30);

/// The state of a backoff.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(1))
    }
}

impl Backoff {
    /// A backoff whose first pause is about this long.
    pub(super) const fn new(first: Duration) -> Self {
        Self { first, next: first }
    }

    /// Resets the pause after a successful attempt.
    pub(super) const fn reset(&mut self) {
        self.next = self.first;
    }

    /// Pauses, at least for as long as the API server asked, and doubles the next pause.
    pub(super) async fn pause(&mut self, asked: Option<Duration>) {
        sleep(self.take(asked, RandomState::new().hash_one(()))).await;
    }

    /// The length of a pause: between half of its nominal length and all of it.
    fn take(&mut self, asked: Option<Duration>, random: u64) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        let share = u32::try_from(random % 512).unwrap_or_default();
        let jittered = pause / 2 + pause / 2 * share / 512;
        jittered.max(asked.unwrap_or_default().min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_until_something_works() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..8).map(|_| backoff.take(None, 511).as_millis()).collect();
        assert_eq!(pauses, [999, 1_998, 3_996, 7_992, 15_984, 29_970, 29_970, 29_970]);
        backoff.reset();
        assert_eq!(backoff.take(None, 0), Duration::from_millis(500));
    }

    #[test]
    fn the_api_servers_wish_is_a_lower_bound() {
        let asked = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(Backoff::default().take(asked(7), 0), Duration::from_secs(7));
        assert_eq!(Backoff::default().take(asked(86_400), 0), LONGEST);
    }
}
