//! When something may be done about a lease. Pure: time is a parameter.

use std::{collections::BTreeMap, time::Duration};

use scaivault_contract::DynamicRef;
use tokio::time::Instant;

/// The shortest and the longest pause after something that failed: of a lease that ends soon a share of what is left of
/// it, so that it is tried some times more before it ends.
const FAILED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The part of what is left of a lease that is waited.
const PART: u32 = 4;
/// The longest pause that ScaiVault is granted where there is no lease: the application has no database.
const ASKED: Duration = Duration::from_mins(1);
/// The pause between two generations: each makes a user in a database, whatever the answers say about its life.
const GENERATED: Duration = Duration::from_secs(30);

/// Before which time nothing is done.
#[derive(Debug, Default)]
pub(super) struct LeasePauses {
    failed: BTreeMap<DynamicRef, Instant>,
    generated: BTreeMap<DynamicRef, Instant>,
}

impl LeasePauses {
    /// From when on a renewal may be sent; none where at once.
    pub(super) fn until_renewal(&self, dynamic: &DynamicRef) -> Option<Instant> {
        self.failed.get(dynamic).copied()
    }

    /// From when on a lease may be generated; none where at once.
    pub(super) fn until_generation(&self, dynamic: &DynamicRef) -> Option<Instant> {
        self.failed.get(dynamic).max(self.generated.get(dynamic)).copied()
    }

    /// Something failed at `now`. `left` is what is left of the lease, `asked` how long ScaiVault asks to be left alone: that
    /// is obeyed, but not until the lease has lapsed.
    pub(super) fn failed(
        &mut self,
        dynamic: &DynamicRef,
        left: Option<Duration>,
        asked: Option<Duration>,
        now: Instant,
    ) {
        // One that has ended is nobody's hurry any more.
        let left = left.filter(|left| !left.is_zero());
        let pause = left.map_or(FAILED.1, |left| (left / PART).clamp(FAILED.0, FAILED.1));
        let most = left.map_or(ASKED, |left| left / 2);
        self.failed.insert(dynamic.clone(), now + pause.max(asked.unwrap_or_default().min(most)));
    }

    /// It was renewed.
    pub(super) fn renewed(&mut self, dynamic: &DynamicRef) {
        self.failed.remove(dynamic);
    }

    /// A lease was generated at `now`.
    pub(super) fn generated(&mut self, dynamic: &DynamicRef, now: Instant) {
        self.failed.remove(dynamic);
        self.generated.insert(dynamic.clone(), now + GENERATED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_that_ends_soon_is_tried_some_times_more_and_not_in_a_circle() {
        let dynamic: DynamicRef = "engine=e role=r".parse().unwrap();
        let start = Instant::now();
        let (mut pauses, mut now, mut tries) = (LeasePauses::default(), start, 0);
        // The last third of 45 s.
        while now < start + 15 * SECOND {
            pauses.failed(&dynamic, Some(start + 15 * SECOND - now), None, now);
            now = pauses.until_renewal(&dynamic).unwrap();
            tries += 1;
        }
        assert!((5..=10).contains(&tries), "{tries}");

        pauses.failed(&dynamic, Some(3600 * SECOND), None, now);
        assert_eq!(pauses.until_generation(&dynamic), Some(now + 30 * SECOND));
        pauses.failed(&dynamic, None, None, now);
        assert_eq!(pauses.until_generation(&dynamic), Some(now + 30 * SECOND));
        pauses.failed(&dynamic, Some(3600 * SECOND), Some(60 * SECOND), now);
        assert_eq!(pauses.until_renewal(&dynamic), Some(now + 60 * SECOND), "what is asked for is obeyed");
        pauses.failed(&dynamic, Some(600 * SECOND), Some(3600 * SECOND), now);
        assert_eq!(
            pauses.until_renewal(&dynamic),
            Some(now + 300 * SECOND),
            "but for what lets the lease lapse"
        );
        pauses.failed(&dynamic, None, Some(3600 * SECOND), now);
        assert_eq!(pauses.until_generation(&dynamic), Some(now + ASKED));
    }

    #[test]
    fn a_lease_that_was_just_generated_may_be_renewed_but_not_generated_again() {
        let dynamic: DynamicRef = "engine=e role=r".parse().unwrap();
        let now = Instant::now();
        let mut pauses = LeasePauses::default();
        pauses.failed(&dynamic, None, None, now);
        pauses.generated(&dynamic, now);
        assert_eq!(pauses.until_renewal(&dynamic), None);
        assert_eq!(pauses.until_generation(&dynamic), Some(now + GENERATED));
        pauses.failed(&dynamic, Some(8 * SECOND), None, now);
        pauses.renewed(&dynamic);
        assert_eq!(pauses.until_renewal(&dynamic), None);
    }
}
