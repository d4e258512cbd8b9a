//! Rate limits: one token bucket for each identity and category, refilled continuously.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{error::ApiError, route::Category};

#[derive(Default)]
pub(crate) struct Buckets {
    limits: BTreeMap<Category, u32>,
    of_callers: BTreeMap<(String, Category), Bucket>,
    /// The number of rejected requests.
    refused: BTreeMap<Category, u64>,
}

struct Bucket {
    level: f64,
    at: Timestamp,
}

/// The values of the rate-limit headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// When the bucket is full again, in seconds since 1970.
    pub(crate) reset: i64,
    /// Whole seconds until the next request is allowed, if this one was rejected.
    pub(crate) retry_after: Option<u64>,
}

impl Buckets {
    pub(super) fn new(limits: BTreeMap<Category, u32>) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Sets the limit per minute; the buckets of the category start full.
    pub(crate) fn set_limit(&mut self, category: Category, per_minute: u32) {
        self.limits.insert(category, per_minute);
        self.of_callers.retain(|(_, of), _| *of != category);
    }

    /// The number of rejected requests of a category since the start, for all identities.
    pub(crate) fn refused(&self, category: Category) -> u64 {
        self.refused.get(&category).copied().unwrap_or(0)
    }

    /// Takes `count` requests from the bucket, or none if fewer are left.
    pub(crate) fn take(&mut self, identity: &str, category: Category, count: u32, now: Timestamp) -> Level {
        let limit = self.limits.get(&category).copied().unwrap_or_else(|| category.default_limit());
        let (size, per_second) = (f64::from(limit), f64::from(limit) / 60.0);
        let bucket = self
            .of_callers
            .entry((identity.to_owned(), category))
            .or_insert_with(|| Bucket { level: size, at: now });
        let passed = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        bucket.level = (bucket.level + passed * per_second).min(size);
        bucket.at = now;
        let missing = f64::from(count) - bucket.level;
        let retry_after =
            (missing > 0.0).then(|| seconds(missing / per_second.max(f64::MIN_POSITIVE)).max(1));
        if retry_after.is_none() {
            bucket.level -= f64::from(count);
        } else {
            *self.refused.entry(category).or_default() += 1;
        }
        let until_full = seconds((size - bucket.level) / per_second.max(f64::MIN_POSITIVE));
        Level {
            limit,
            remaining: whole(bucket.level),
            reset: now.as_second().saturating_add(i64::try_from(until_full).unwrap_or(i64::MAX)),
            retry_after,
        }
    }
}

impl Level {
    /// The error, if the request was rejected.
    pub(crate) fn check(self) -> Result<Self, ApiError> {
        match self.retry_after {
            None => Ok(self),
            Some(seconds) => Err(ApiError::new("rate_limited", "too many requests")
                .with_retry_after(Some(std::time::Duration::from_secs(seconds)))),
        }
    }
}

/// Rounded up; with a limit of zero it is an hour, the maximum.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range")]
fn seconds(value: f64) -> u64 {
    value.ceil().clamp(0.0, 3600.0) as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between nothing and a u32's limit"
)]
fn whole(level: f64) -> u32 {
    level.floor().max(0.0) as u32
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn is_refilled_without_a_break() {
        let mut buckets = Buckets::new(BTreeMap::from([(Category::Read, 60)]));
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let later = |seconds| now + SignedDuration::from_secs(seconds);
        let level = buckets.take("sa:a", Category::Read, 60, now);
        assert_eq!((level.limit, level.remaining, level.retry_after), (60, 0, None));
        assert_eq!(level.reset, later(60).as_second());
        assert_eq!(buckets.take("sa:a", Category::Read, 1, now).retry_after, Some(1));
        assert_eq!(buckets.take("sa:a", Category::Read, 3, later(2)).retry_after, Some(1));
        assert_eq!(buckets.take("sa:a", Category::Read, 3, later(3)).retry_after, None);
    }

    #[test]
    fn belongs_to_one_identity_and_category() {
        let mut buckets = Buckets::new(BTreeMap::from([(Category::Read, 1)]));
        let now = Timestamp::UNIX_EPOCH;
        assert!(buckets.take("sa:a", Category::Read, 1, now).check().is_ok());
        assert!(buckets.take("sa:a", Category::Read, 1, now).check().is_err());
        assert!(buckets.take("sa:b", Category::Read, 1, now).check().is_ok());
        assert!(buckets.take("sa:a", Category::BatchRead, 1, now).check().is_ok());
        assert_eq!((buckets.refused(Category::Read), buckets.refused(Category::BatchRead)), (1, 0));
    }

    #[test]
    fn a_limit_of_zero_refuses_everything() {
        let mut buckets = Buckets::new(BTreeMap::from([(Category::Read, 0)]));
        assert!(buckets.take("sa:a", Category::Read, 1, Timestamp::UNIX_EPOCH).check().is_err());
    }
}
