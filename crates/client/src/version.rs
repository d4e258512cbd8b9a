//! The current versions of secrets: metadata, never values.

use std::{collections::BTreeMap, time::SystemTime};

use scaivault_contract::SecretPath;

use crate::Error;

/// The most paths that one call asks for, as published for batches.
pub const VERSIONS_BATCH: usize = 100;

/// The current version of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretVersion {
    /// Its number; 0 if the server tells only times.
    pub number: u32,
    /// When it was created, by the server's clock.
    pub created: SystemTime,
    /// When the version before it stops working; none if the server does not say.
    pub previous_ends: Option<SystemTime>,
}

/// What is known about the versions of many secrets. A path in neither member was not asked for: the calls ended before it.
#[derive(Debug, Default)]
pub struct Versions {
    /// The version of each path, or why it has none. Such an error concerns this path alone.
    pub found: BTreeMap<SecretPath, Result<SecretVersion, Error>>,
    /// Why the calls ended before the last path, such as a rate limit. [`Error::retry`] says when to ask for the others.
    pub interrupted: Option<Error>,
}
