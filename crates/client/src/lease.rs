//! Dynamic credentials and how long they last.

use std::time::Duration;

use crate::{LeaseId, SecretData};

/// Credentials that `ScaiVault` made for the caller and takes away when they end.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Names it, to renew and revoke it.
    pub id: LeaseId,
    /// The credentials, for a database `username` and `password`.
    pub credentials: SecretData,
    /// How long they last.
    pub term: LeaseTerm,
}

/// How long a lease lasts, counted from the answer that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerm {
    /// Until its end, unless it is renewed.
    pub ttl: Duration,
    /// Whether it can be renewed at all.
    pub is_renewable: bool,
    /// The longest it can last with all its renewals, counted from its generation; none where the server does not say.
    pub max_ttl: Option<Duration>,
}
