//! Dynamic credentials and their terms.

use std::time::Duration;

use crate::{LeaseId, SecretData};

/// Credentials that `ScaiVault` generated for the caller and removes when they expire.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Its identifier, to renew and revoke it.
    pub id: LeaseId,
    /// The credentials, for a database `username` and `password`.
    pub credentials: SecretData,
    /// Their term.
    pub term: LeaseTerm,
}

/// The term of a lease, counted from the answer that contains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerm {
    /// Until it expires, unless it is renewed.
    pub ttl: Duration,
    /// Whether it can be renewed at all.
    pub is_renewable: bool,
    /// The maximum lifetime with all renewals, counted from its generation; `None` if the server
    /// does not report it.
    pub max_ttl: Option<Duration>,
}
