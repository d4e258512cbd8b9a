//! When the key set is fetched again.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use crate::{error::ApiError, jwks_url::JwksUrl, shared::Shared};

/// Between two fetches of the key set at least: anybody can send a token with an unknown key.
const INTERVAL: SignedDuration = SignedDuration::from_secs(10);

/// Where the key set is fetched, and when that was tried last.
pub(crate) struct Refetch {
    url: Arc<JwksUrl>,
    last: Mutex<Option<Attempt>>,
}

impl Refetch {
    pub(crate) fn new(url: Arc<JwksUrl>) -> Self {
        Self { url, last: Mutex::new(None) }
    }
}

#[derive(Clone, Copy)]
struct Attempt {
    at: Timestamp,
    has_failed: bool,
}

/// Fetches the key set again if the token names a key that is not in it: the issuer may have a new one. Logins that come
/// meanwhile wait for the same fetch. An issuer that cannot be asked is no fault of the token's.
pub(crate) async fn for_token(shared: &Shared, token: &str) -> Result<(), ApiError> {
    let Some(refetch) = shared.refetch() else { return Ok(()) };
    if !shared.vault().keys.lack_key_of(token) {
        return Ok(());
    }
    let mut last = refetch.last.lock().await;
    let now = shared.now();
    let attempt = match *last {
        Some(attempt) if now.duration_since(attempt.at) < INTERVAL => attempt,
        _ => Attempt { at: now, has_failed: !fetch(shared, &refetch.url).await },
    };
    *last = Some(attempt);
    // Whoever waited may find that the keys are there.
    if attempt.has_failed && shared.vault().keys.lack_key_of(token) {
        return Err(ApiError::new("service_unavailable", "the issuer's keys cannot be fetched"));
    }
    Ok(())
}

/// Whether it succeeds.
async fn fetch(shared: &Shared, url: &JwksUrl) -> bool {
    let replaced = match url.fetch().await {
        Ok(jwks) => shared.vault().keys.replace(&jwks),
        Err(error) => Err(error.into()),
    };
    match replaced {
        Ok(()) => tracing::info!("the key set was fetched again"),
        Err(ref error) => tracing::warn!(%error, "the key set stays as it is"),
    }
    replaced.is_ok()
}

#[cfg(test)]
mod tests;
