//! The lowest version of a secret that is accepted. Pure: time is a parameter.

use std::time::Duration;

use tokio::time::Instant;

/// Lower versions for this long, and at least [`LOWER_ANSWERS`] of them and no other, are not a replica that lags: the
/// secret was restored from a backup, or deleted and created again.
const LOWER_FOR: Duration = Duration::from_mins(5);
/// See [`LOWER_FOR`].
const LOWER_ANSWERS: u32 = 3;

/// The newest version that was seen or announced. A lower one comes from a replica or a cache that lags, and would take
/// the application back to a value that may be revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    version: u64,
    /// The first of the lower answers since the last one that was accepted, and their number.
    lower: Option<(Instant, u32)>,
}

impl Floor {
    /// Accepts `version` and newer ones.
    pub(crate) fn new(version: u64) -> Self {
        Self { version, lower: None }
    }

    /// The lowest version that is accepted.
    pub(crate) fn version(self) -> u64 {
        self.version
    }

    /// An event announced `version`.
    pub(crate) fn raise(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// Whether `version`, answered at `now`, is accepted. It is the new floor then.
    pub(crate) fn accept(&mut self, version: u64, now: Instant) -> bool {
        if version < self.version {
            let (since, before) = self.lower.unwrap_or((now, 0));
            let answers = before.saturating_add(1);
            self.lower = Some((since, answers));
            if answers < LOWER_ANSWERS || now < since + LOWER_FOR {
                return false;
            }
        }
        *self = Self::new(version);
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
        let mut floor = Floor::new(4);
        assert!(floor.accept(5, now) && !floor.accept(4, now));
        floor.raise(7);
        assert!(!floor.accept(6, now + SECOND) && floor.accept(7, now + SECOND), "announced");
        // A good answer in between: the lower ones are from a replica that lags.
        for second in 0..400 {
            assert!(!floor.accept(6, now + SECOND * second));
            assert!(second % 2 == 1 || floor.accept(7, now + SECOND * second));
        }
        let later = now + 500 * SECOND;
        assert!(!floor.accept(1, later) && !floor.accept(1, later + LOWER_FOR), "two answers are too few");
        assert!(floor.accept(1, later + LOWER_FOR));
        assert!(!floor.accept(0, later + LOWER_FOR) && floor.accept(1, later + LOWER_FOR));
    }

    proptest! {
        /// Whatever replicas answer in whatever order, what is accepted never goes back, but for the escape: then no
        /// version above the accepted one came for five minutes.
        #[test]
        fn accepted_versions_are_monotone(answers in prop::collection::vec((1..6_u64, 0..90_u64, 0..4_u8), 0..200)) {
            let mut floor = Floor::default();
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
