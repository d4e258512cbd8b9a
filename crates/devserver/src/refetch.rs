//! Decides when the key set is fetched again.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use crate::{error::ApiError, jwks_url::JwksUrl, shared::Shared};

/// The minimum time between two fetches of the key set, because any client can send a token with an
/// unknown key.
const INTERVAL: SignedDuration = SignedDuration::from_secs(10);

/// The URL of the key set, and the time of the last attempt.
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

/// Fetches the key set again if the token names an unknown key, because the issuer may have a new
/// one. Concurrent logins wait for the same fetch. If the issuer is unavailable, the error does not
/// blame the token.
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
    // A concurrent login may have fetched the keys meanwhile.
    if attempt.has_failed && shared.vault().keys.lack_key_of(token) {
        return Err(ApiError::new("service_unavailable", "the issuer's keys cannot be fetched"));
    }
    Ok(())
}

/// Returns whether it succeeded.
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
