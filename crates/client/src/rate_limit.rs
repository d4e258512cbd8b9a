//! The rate limits in the server's headers.

use std::time::{Duration, SystemTime};

/// How long an empty bucket takes to refill, as published: limits are requests per minute.
const BUCKET: Duration = Duration::from_mins(1);

/// The bucket of a kind of requests, as reported by an answer's headers. All replicas of a workload
/// share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// The limit in requests per minute.
    pub(crate) limit: Option<u64>,
    /// The remaining requests.
    pub(crate) remaining: Option<u64>,
    /// When the bucket is full again, in seconds since 1970.
    pub(crate) reset: Option<u64>,
}

impl RateLimit {
    /// The share of the bucket that is left at `now`, from 0 to 1; `None` without such headers.
    pub(crate) fn left(&self, now: SystemTime) -> Option<f64> {
        let Self { limit, remaining, reset } = *self;
        let share = match (limit, remaining, reset) {
            (Some(limit @ 1..), Some(remaining), _) => share(remaining, limit),
            // The only header whose name is published.
            (_, _, Some(reset)) => {
                let full = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(reset))?;
                1.0 - full.duration_since(now).unwrap_or_default().div_duration_f64(BUCKET)
            }
            _ => return None,
        };
        Some(share.clamp(0.0, 1.0))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than the 52 bits that are kept")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_limit_is_read_from_headers() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let left = |limit, remaining, reset| {
            RateLimit { limit, remaining, reset }.left(now).map(|left| (left * 100.0).round())
        };
        assert_eq!(left(Some(1000), Some(250), Some(1060)), Some(25.0));
        assert_eq!(left(Some(10), Some(20), None), Some(100.0));
        assert_eq!(left(None, None, Some(1015)), Some(75.0));
        assert_eq!(left(None, None, Some(900)), Some(100.0));
        assert_eq!(left(Some(0), Some(0), Some(u64::MAX)), None);
        assert_eq!(left(Some(100), None, None), None);
    }
}
