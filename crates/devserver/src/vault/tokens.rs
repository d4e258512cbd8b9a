//! Issued bearer tokens.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::{error::ApiError, random::Random};

#[derive(Default)]
pub(crate) struct Tokens {
    lifetime_seconds: u64,
    issued: HashMap<String, IssuedToken>,
}

struct IssuedToken {
    identity: String,
    expires: Timestamp,
    is_revoked: bool,
}

impl Tokens {
    pub(super) fn new(lifetime_seconds: u64) -> Self {
        Self { lifetime_seconds, issued: HashMap::new() }
    }

    /// Sets the lifetime of tokens issued from now on.
    pub(crate) fn set_lifetime(&mut self, seconds: u64) {
        self.lifetime_seconds = seconds;
    }

    /// Issues a token; returns it with its lifetime in seconds.
    pub(super) fn issue(&mut self, identity: &str, now: Timestamp, random: &mut Random) -> (String, u64) {
        let token = format!("dev-{}{}", random.word(), random.word());
        let lifetime = i64::try_from(self.lifetime_seconds).unwrap_or(i64::MAX);
        let expires = now.checked_add(SignedDuration::from_secs(lifetime)).unwrap_or(Timestamp::MAX);
        let issued = IssuedToken { identity: identity.to_owned(), expires, is_revoked: false };
        self.issued.insert(token.clone(), issued);
        (token, self.lifetime_seconds)
    }

    pub(super) fn identity(&self, token: &str, now: Timestamp) -> Result<&str, ApiError> {
        match self.issued.get(token) {
            None => Err(ApiError::new("token_invalid", "the token is not one of this server's")),
            Some(issued) if issued.is_revoked => Err(ApiError::new("token_revoked", "the token was revoked")),
            Some(issued) if issued.expires <= now => {
                Err(ApiError::new("token_expired", "the token has expired"))
            }
            Some(issued) => Ok(&issued.identity),
        }
    }

    /// Expires all tokens, regardless of the lifetime in their answers.
    pub(crate) fn expire_all(&mut self, now: Timestamp) {
        self.issued.values_mut().for_each(|issued| issued.expires = now);
    }

    pub(crate) fn revoke_all(&mut self) {
        self.issued.values_mut().for_each(|issued| issued.is_revoked = true);
    }
}
