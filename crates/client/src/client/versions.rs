//! The current versions of many secrets: metadata, never values. They are read in batches, or one by one from a
//! server without the route for batches.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use hyper::Method;
use scaivault_contract::SecretPath;
use tokio::time::Instant;

use super::Client;
use crate::{
    AnswerFault, Error, ErrorCode, ErrorKind, Operation, code::Class, guessed::versions as guessed, lock,
    transport::OutgoingRequest,
};

/// How long the route for batches is not used after the server did not have it.
const BATCH_RETRY: Duration = Duration::from_hours(1);

type FoundVersions = BTreeMap<SecretPath, Result<SecretVersion, Error>>;

impl Client {
    /// Reads the current versions of secrets, with one call for [`VERSIONS_BATCH`] paths. Values are not
    /// read.
    ///
    /// Stops at the first failure that concerns more than one path, such as a rate limit, and returns the
    /// versions so far. If the server has no route for batches, each path needs a separate call.
    pub async fn versions(&self, paths: &[SecretPath]) -> Versions {
        let mut versions = Versions::default();
        for batch in paths.chunks(VERSIONS_BATCH) {
            if let Err(error) = self.versions_of_batch(batch, &mut versions.found).await {
                versions.interrupted = Some(error);
                break;
            }
        }
        versions
    }

    async fn versions_of_batch(&self, paths: &[SecretPath], found: &mut FoundVersions) -> Result<(), Error> {
        let is_asked = lock(&self.no_batches_until).is_none_or(|until| until <= Instant::now());
        if is_asked {
            let call =
                OutgoingRequest::new(Operation::ReadVersions, Method::POST, guessed::BATCH_ROUTE.to_owned())
                    .with_body(guessed::batch(paths));
            let read = self.call(call, |answer| guessed::of_batch(answer, paths, SystemTime::now())).await;
            match read {
                Err(error) if guessed::is_missing_route(&error) => {}
                read => {
                    found.extend(read?.into_iter().map(|(path, version)| (path, version.map_err(failed))));
                    return Ok(());
                }
            }
        }
        self.versions_one_by_one(paths, found).await?;
        if is_asked {
            *lock(&self.no_batches_until) = Some(Instant::now() + BATCH_RETRY);
        }
        Ok(())
    }

    async fn versions_one_by_one(
        &self,
        paths: &[SecretPath],
        found: &mut FoundVersions,
    ) -> Result<(), Error> {
        for path in paths {
            let call =
                OutgoingRequest::new(Operation::ReadVersions, Method::GET, guessed::single_route(path));
            let read = self.call(call, |answer| guessed::of_single(answer, path, SystemTime::now())).await;
            match read {
                Err(error) if !concerns_one_path(&error) => return Err(error),
                read => found.insert(path.clone(), read),
            };
        }
        Ok(())
    }
}

fn failed(kind: ErrorKind) -> Error {
    Error::new(Operation::ReadVersions, kind)
}

fn concerns_one_path(error: &Error) -> bool {
    let code = error.code().map(ErrorCode::as_str);
    error.operation == Operation::ReadVersions
        && match error.class() {
            Class::NotFound => error.is_gone(),
            Class::Denied => code != Some("insufficient_scope"),
            Class::Invalid => true,
            Class::Unexpected => {
                matches!(error.kind, ErrorKind::Answer(AnswerFault::Missing(_) | AnswerFault::Time(_)))
            }
            _ => false,
        }
}

/// The maximum number of paths in one call, as published for batches.
pub const VERSIONS_BATCH: usize = 100;

/// The current version of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretVersion {
    /// Its number; 0 if the server only returns times.
    pub number: u32,
    /// When it was created, by the server's clock.
    pub created: SystemTime,
    /// When the previous version stops working; `None` if the server does not report it.
    pub previous_ends: Option<SystemTime>,
}

/// The versions of many secrets. A path in neither member was not requested, because the calls ended before
/// it.
#[derive(Debug, Default)]
pub struct Versions {
    /// The version of each path, or why it has none. Such an error concerns this path alone.
    pub found: BTreeMap<SecretPath, Result<SecretVersion, Error>>,
    /// Why the calls ended before the last path, such as a rate limit. [`Error::retry`] says when to request
    /// the others.
    pub interrupted: Option<Error>,
}
