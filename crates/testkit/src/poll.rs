//! Waiting for what announces nothing.

use std::time::{Duration, Instant};

/// Between two looks: short beside what is waited for, long beside a look.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks until there is something, and returns it; none if there is nothing within `limit`.
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
