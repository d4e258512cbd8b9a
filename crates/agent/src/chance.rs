//! Jitter, so that replicas do not act at the same moment. Nothing that must not be guessed.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    time::SystemTime,
};

/// What tells this pod from others that start at the same time.
pub(crate) fn seed(_now: SystemTime) -> u64 {
    fastrand::u64(..)
}

/// From 0 to 1, another one each time.
pub(crate) fn any() -> f64 {
    fastrand::f64()
}

/// From 0 to 1, always the same for equal things.
pub(crate) fn of(thing: &impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    fastrand::Rng::with_seed(hasher.finish()).f64()
}
