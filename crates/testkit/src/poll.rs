//! Polls conditions that send no notification.

use std::time::{Duration, Instant};

/// The polling interval: short compared with the awaited events, long compared with a check.
const INTERVAL: Duration = Duration::from_millis(50);

/// Polls until there is a result, and returns it; `None` if there is none within `limit`.
pub async fn poll<T>(limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let found = look().await;
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
