//! How long to pause between two tries.

use std::time::Duration;

use crate::Retry;

/// Pauses that double up to a limit, each with jitter, so that the replicas of a workload do not come back together.
///
/// Equal seeds give equal pauses.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    max: Duration,
    is_once_spent: bool,
    random: u64,
}

impl Backoff {
    /// Pauses of about `first`, then twice that, and so on up to `max`. `seed` should differ between replicas.
    pub fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self { next: first.min(max), max, is_once_spent: false, random: seed }
    }

    /// How long to wait before the next try; none when there should not be one.
    ///
    /// What the server asks for is the least: it is lengthened by up to a tenth, and to what the pause would be without
    /// it. A server that asks for no time at all would else be asked in a circle, by all replicas. It may be longer than
    /// the caller has time: the caller compares.
    pub fn pause(&mut self, retry: Retry) -> Option<Duration> {
        match retry {
            Retry::Never => None,
            Retry::After(asked) => Some((asked + self.below(asked / 10)).max(self.grow())),
            Retry::Once if self.is_once_spent => None,
            Retry::Once => {
                self.is_once_spent = true;
                Some(self.grow())
            }
            Retry::Backoff => Some(self.grow()),
        }
    }

    /// Between half of the current pause and all of it.
    fn grow(&mut self) -> Duration {
        let current = self.next;
        self.next = (current * 2).min(self.max);
        current / 2 + self.below(current / 2)
    }

    /// At random from nothing to `limit`, by `SplitMix64`: well spread from any seed, and nobody gains by guessing it.
    fn below(&mut self, limit: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // 32 bits are fine enough, and exact in the product.
        let share = u32::try_from(mixed >> 32).expect("32 bits are left");
        limit.mul_f64(f64::from(share) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn doubles_up_to_its_limit() {
        for seed in 0..100 {
            let mut backoff = Backoff::new(SECOND, 5 * SECOND, seed);
            for whole in [1, 2, 4, 5, 5] {
                let pause = backoff.pause(Retry::Backoff).unwrap();
                assert!((SECOND * whole / 2..=SECOND * whole).contains(&pause), "{pause:?} of {whole} s");
            }
        }
    }

    #[test]
    fn replicas_do_not_come_back_together() {
        let pauses: std::collections::BTreeSet<_> =
            (0..100).map(|seed| Backoff::new(SECOND, SECOND, seed).pause(Retry::Backoff)).collect();
        assert!(pauses.len() > 90, "{}", pauses.len());
        let again = Backoff::new(SECOND, SECOND, 7).pause(Retry::Backoff);
        assert_eq!(again, Backoff::new(SECOND, SECOND, 7).pause(Retry::Backoff));
    }

    #[test]
    fn what_the_server_asks_for_is_not_shortened() {
        let mut backoff = Backoff::new(SECOND, SECOND, 1);
        for _ in 0..100 {
            let pause = backoff.pause(Retry::After(20 * SECOND)).unwrap();
            assert!((20 * SECOND..=22 * SECOND).contains(&pause), "{pause:?}");
        }
    }

    #[test]
    fn a_server_that_asks_for_little_is_not_asked_in_a_circle() {
        for asked in [Duration::ZERO, SECOND] {
            let mut backoff = Backoff::new(SECOND / 2, 10 * SECOND, 1);
            let pauses = std::iter::repeat_with(|| backoff.pause(Retry::After(asked)).unwrap());
            let total: Duration = pauses.take(10).sum();
            assert!((25 * SECOND..80 * SECOND).contains(&total), "{asked:?}: {total:?}");
        }
    }

    #[test]
    fn once_is_once_and_never_is_never() {
        let mut backoff = Backoff::new(SECOND, SECOND, 1);
        assert_eq!(backoff.pause(Retry::Never), None);
        assert!(backoff.pause(Retry::Once).is_some());
        assert!(backoff.pause(Retry::Backoff).is_some());
        assert_eq!(backoff.pause(Retry::Once), None);
    }
}
