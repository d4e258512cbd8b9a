//! The lowest accepted version of a secret. Pure: time is a parameter.

use std::time::Duration;

use tokio::time::Instant;

/// If all answers have lower versions for this long, and there are at least [`LOWER_ANSWERS`] of
/// them, the cause is not a lagging replica: the secret was restored from a backup, or deleted and
/// created again.
const LOWER_FOR: Duration = Duration::from_mins(5);
/// See [`LOWER_FOR`]. This number is sufficient if the secret was deleted or created within that
/// time.
const LOWER_ANSWERS: u32 = 3;

/// The newest version that was read or announced. A lower one comes from a lagging replica or
/// cache, and would return the application to a value that may be revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VersionFloor {
    version: u64,
    /// The time of the first lower answer since the last accepted one, and their number.
    lower: Option<(Instant, u32)>,
    /// When the secret was last known to be deleted or created, so that its versions may start
    /// again with 1. An event may be replayed and a 404 may come from a lagging replica, so neither
    /// lowers the floor by itself.
    new_history: Option<Instant>,
}

impl VersionFloor {
    /// Accepts `version` and newer ones.
    pub fn new(version: u64) -> Self {
        Self { version, lower: None, new_history: None }
    }

    /// The lowest version that is accepted.
    pub fn version(self) -> u64 {
        self.version
    }

    /// Records that an event announced `version`.
    pub fn raise(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// Records that the secret was deleted or created, or did not exist at `now`.
    pub fn expect_new_history(&mut self, now: Instant) {
        if self.new_history.is_none() {
            self.lower = None;
        }
        self.new_history = Some(now);
    }

    /// Whether `version`, read at `now`, is accepted. If so, it is the new floor.
    pub fn accept(&mut self, version: u64, now: Instant) -> bool {
        if version < self.version {
            let (since, before) = self.lower.unwrap_or((now, 0));
            let answers = before.saturating_add(1);
            self.lower = Some((since, answers));
            let is_new_history = self.new_history.is_some_and(|noted| now < noted + LOWER_FOR);
            if answers < LOWER_ANSWERS || !is_new_history && now < since + LOWER_FOR {
                return false;
            }
            self.new_history = None;
        }
        (self.version, self.lower) = (version, None);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn lower_versions_are_refused_until_only_they_come() {
        let now = Instant::now();
        let mut floor = VersionFloor::new(4);
        assert!(floor.accept(5, now) && !floor.accept(4, now));
        floor.raise(7);
        assert!(!floor.accept(6, now + SECOND) && floor.accept(7, now + SECOND), "announced");
        // An acceptable answer in between shows that the lower ones are from a lagging replica.
        for second in 0..400 {
            assert!(!floor.accept(6, now + SECOND * second));
            assert!(second % 2 == 1 || floor.accept(7, now + SECOND * second));
        }
        let later = now + 500 * SECOND;
        assert!(floor.accept(7, later));
        assert!(!floor.accept(1, later) && !floor.accept(1, later + LOWER_FOR), "two answers are too few");
        assert!(floor.accept(1, later + LOWER_FOR));
        assert!(!floor.accept(0, later + LOWER_FOR) && floor.accept(1, later + LOWER_FOR));
    }

    #[test]
    fn a_new_history_needs_three_lower_answers() {
        let now = Instant::now();
        let mut floor = VersionFloor::new(5);
        for _ in 0..10 {
            floor.expect_new_history(now);
            assert!(!floor.accept(4, now) && !floor.accept(4, now), "a replica lags");
            assert!(floor.accept(5, now));
        }
        assert!(!floor.accept(1, now) && !floor.accept(1, now) && floor.accept(1, now));
        assert!(floor.accept(2, now));
        for _ in 0..10 {
            assert!(!floor.accept(1, now), "it has begun");
        }
        let mut floor = VersionFloor::new(5);
        floor.expect_new_history(now);
        let later = now + LOWER_FOR;
        for _ in 0..10 {
            assert!(!floor.accept(4, later), "that is long ago");
        }
    }

    proptest! {
        /// For all answers in any order, the accepted version never decreases, with one exception:
        /// no version above the accepted one was read for five minutes.
        #[test]
        fn accepted_versions_are_monotone(answers in prop::collection::vec((1..6_u64, 0..90_u64, 0..4_u8), 0..200)) {
            let mut floor = VersionFloor::default();
            let mut now = Instant::now();
            let (mut accepted, mut announced, mut accepted_at) = (0, 0, now);
            for (version, seconds, kind) in answers {
                now += SECOND * u32::try_from(seconds).unwrap();
                if kind == 0 {
                    floor.raise(version);
                    announced = announced.max(version);
                } else if floor.accept(version, now) {
                    let has_escaped = now >= accepted_at + LOWER_FOR;
                    prop_assert!(version >= accepted.max(announced) || has_escaped);
                    (accepted, announced, accepted_at) = (version, 0, now);
                }
            }
        }
    }
}
