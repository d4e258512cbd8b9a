//! The stored form of a token and a lease, for a later run. Times are seconds since 1970.

use std::time::{Duration, SystemTime};

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use crate::{HeldLease, LeaseId, SecretData, Token};

/// The stored form of a token. It does not implement `Debug`, because it contains the token as
/// text.
#[derive(Serialize, Deserialize)]
pub struct StoredToken {
    secret: String,
    received: u64,
    use_until: u64,
}

impl StoredToken {
    /// The stored form of `token`.
    pub fn new(token: &Token) -> Self {
        Self {
            secret: token.secret().expose_secret().to_owned(),
            received: unix_seconds(token.received()),
            use_until: unix_seconds(token.use_until()),
        }
    }

    /// The token; `None` if the stored values are invalid.
    pub fn restore(self) -> Option<Token> {
        let [received, use_until] = [self.received, self.use_until].map(from_unix_seconds);
        Token::restore(self.secret.into(), received, use_until)
    }
}

/// The stored form of a lease with its credentials.
#[derive(Serialize, Deserialize)]
pub struct StoredLease {
    /// Its identifier.
    pub id: LeaseId,
    credentials: String,
    issued: u64,
    renewed: u64,
    ends: u64,
    last_end: Option<u64>,
    is_renewable: bool,
}

impl StoredLease {
    /// The stored form of `lease`.
    pub fn new(lease: &HeldLease) -> Self {
        Self {
            id: lease.id.clone(),
            credentials: lease.credentials.json().to_owned(),
            issued: unix_seconds(lease.issued),
            renewed: unix_seconds(lease.renewed),
            ends: unix_seconds(lease.ends),
            last_end: lease.last_end.map(unix_seconds),
            is_renewable: lease.is_renewable,
        }
    }

    /// The lease; `None` if its credentials are invalid.
    pub fn restore(self) -> Option<HeldLease> {
        Some(HeldLease {
            id: self.id,
            credentials: SecretData::new(&self.credentials).ok()?,
            issued: from_unix_seconds(self.issued),
            renewed: from_unix_seconds(self.renewed),
            ends: from_unix_seconds(self.ends),
            last_end: self.last_end.map(from_unix_seconds),
            is_renewable: self.is_renewable,
        })
    }
}

/// A time as seconds since 1970; earlier ones are 0.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The time of this many seconds since 1970. If the system cannot represent it, as in a corrupt
/// file, the result is 1970.
pub fn from_unix_seconds(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}
