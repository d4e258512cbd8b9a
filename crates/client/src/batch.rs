//! Several secrets in one call.

use std::collections::BTreeMap;

use scaivault_contract::SecretPath;

use crate::{Error, Secret};

/// The most paths of one call, as published.
pub const BATCH_LIMIT: usize = 100;

/// The answer to a read of several secrets.
#[derive(Debug)]
pub struct Batch {
    /// What each of the paths asked for got: a secret, or an error of its own, also where its part of the answer cannot be
    /// used. No path is left out, none is added.
    pub answers: BTreeMap<SecretPath, Result<Secret, Error>>,
}
