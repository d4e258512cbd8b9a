//! Polls conditions that send no notification.

use std::{panic::Location, time::Duration};

/// The polling interval: short compared with the awaited events, long compared with a check.
const INTERVAL: Duration = Duration::from_millis(50);

/// Polls until there is a result, and returns it.
///
/// # Panics
///
/// Without a result within `limit`, naming the caller and `what` it waited for.
#[track_caller]
#[expect(clippy::panic, reason = "a test fails so")]
pub fn eventually<T>(
    limit: Duration,
    what: &str,
    look: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move { poll(limit, look).await.unwrap_or_else(|| panic!("{caller}: waited {limit:?} for {what}")) }
}

/// Polls until there is a result, and returns it; `None` if there is none within `limit`, even if
/// a look does not return.
pub async fn poll<T>(limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let polling = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::time::timeout(limit, polling).await.ok()
}
