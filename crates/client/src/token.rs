//! The token of all requests, and its lifetime.

use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret as _, SecretString};

/// The maximum time that a token is used, independent of its own lifetime, as required by
/// `ScaiVault`'s Kubernetes page.
pub const TOKEN_LIFETIME_LIMIT: Duration = Duration::from_mins(50);

/// The lifetime of a token without one in its answer: one hour, as published.
const DEFAULT_LIFETIME: Duration = Duration::from_hours(1);

/// A token is replaced this long before it expires, so that it does not expire during a request; a
/// tenth of a short lifetime.
const MARGIN: Duration = Duration::from_secs(30);

/// A bearer token of `ScaiVault`. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Token {
    secret: SecretString,
    received: SystemTime,
    use_until: SystemTime,
}

impl Token {
    /// A stored token. `None` if it is invalid, or would be used for longer than
    /// [`TOKEN_LIFETIME_LIMIT`].
    pub fn restore(secret: SecretString, received: SystemTime, use_until: SystemTime) -> Option<Self> {
        let kept = use_until.duration_since(received).ok()?;
        let text = secret.expose_secret();
        let can_be_sent = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        (can_be_sent && kept <= TOKEN_LIFETIME_LIMIT).then_some(Self { secret, received, use_until })
    }

    /// A token received at `now` that expires `expires_in` later; `None` if it is invalid.
    pub(crate) fn new(secret: SecretString, expires_in: Option<Duration>, now: SystemTime) -> Option<Self> {
        let lifetime = expires_in.unwrap_or(DEFAULT_LIFETIME);
        let kept = lifetime.saturating_sub(MARGIN.min(lifetime / 10)).min(TOKEN_LIFETIME_LIMIT);
        Self::restore(secret, now, now + kept)
    }

    /// The token itself: printable ASCII.
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// When it was received.
    pub fn received(&self) -> SystemTime {
        self.received
    }

    /// The time from which it is no longer used.
    pub fn use_until(&self) -> SystemTime {
        self.use_until
    }

    /// Whether it can be used for a request at `now`. False before the time at which it was
    /// received: then a clock was set back, and its age is unknown.
    pub fn is_usable(&self, now: SystemTime) -> bool {
        (self.received..self.use_until).contains(&now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    #[track_caller]
    fn check(expires_in: Option<u64>, kept_secs: u64) {
        let token = Token::new("t".into(), expires_in.map(Duration::from_secs), START).unwrap();
        assert_eq!(token.use_until.duration_since(token.received).unwrap().as_secs(), kept_secs);
    }

    #[test]
    fn is_kept_for_fifty_minutes_or_almost_its_lifetime() {
        check(None, 3000);
        check(Some(3600), 3000);
        check(Some(u64::MAX), 3000);
        check(Some(3030), 3000);
        check(Some(600), 570);
        check(Some(100), 90);
        check(Some(0), 0);
    }

    #[test]
    fn is_usable_between_its_ends() {
        let received = START + Duration::from_hours(1);
        let token = Token::new("t".into(), Some(Duration::from_secs(100)), received).unwrap();
        assert!(token.is_usable(received));
        assert!(token.is_usable(received + Duration::from_secs(89)));
        assert!(!token.is_usable(received + Duration::from_secs(90)));
        assert!(!token.is_usable(received - Duration::from_secs(1)), "the clock was set back");
    }

    #[test]
    fn a_restored_token_is_validated() {
        let restore = |secret: &str, kept: Duration| Token::restore(secret.into(), START, START + kept);
        assert!(restore("ey.J", TOKEN_LIFETIME_LIMIT).is_some());
        assert!(restore("ey.J", TOKEN_LIFETIME_LIMIT + Duration::from_secs(1)).is_none());
        for secret in ["", "a b", "a\nb", "é"] {
            assert!(restore(secret, Duration::ZERO).is_none(), "{secret:?}");
        }
        assert!(Token::restore("t".into(), START + Duration::from_secs(1), START).is_none());
    }

    #[test]
    fn is_not_shown() {
        let token = Token::new("swordfish".into(), None, START);
        assert!(!format!("{token:?}").contains("swordfish"));
    }
}
