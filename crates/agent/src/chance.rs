//! Chance, for what replicas should not do at the same moment. Nobody gains by guessing it.

use std::{
    hash::{BuildHasher as _, DefaultHasher, Hash, Hasher as _, RandomState},
    time::SystemTime,
};

/// What tells this pod from others that start at the same time.
pub(crate) fn seed(now: SystemTime) -> u64 {
    // The standard library's maps have a random seed of their own.
    RandomState::new().hash_one(now)
}

/// From 0 to 1, another one each time.
pub(crate) fn any() -> f64 {
    share(RandomState::new().hash_one(()))
}

/// From 0 to 1, always the same for equal things.
pub(crate) fn of(thing: &impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    share(hasher.finish())
}

fn share(number: u64) -> f64 {
    // 32 bits are fine enough, and exact.
    let upper = u32::try_from(number >> 32).expect("32 bits are left");
    f64::from(upper) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_spread_between_its_ends() {
        for number in 0..1000 {
            assert!((0.0..=1.0).contains(&of(&number)) && (0.0..=1.0).contains(&any()));
        }
        let mean = (0..1000).map(|number| of(&number)).sum::<f64>() / 1000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
        assert!((of(&"lease_1") - of(&"lease_1")).abs() < f64::EPSILON);
    }
}
