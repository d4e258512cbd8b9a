//! `sync-secret`: writes secrets to one Kubernetes Secret, and exits.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use scaivault_client::{Backoff, Client, Retry, Secret, redact};
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    compose::{ComposeResult, Composer},
    config::{Outputs, SecretSpec, SyncConfig},
    exit::{Exit, Fatal, leave_message, sigterm},
    failure::{Cause, Failure, Failures},
    fetch::Key,
    init::log_in,
    retry::{GaveUp, PAUSES, Retryable, retried},
};

mod api;
mod plan;

use api::{Api, ApiError, ApiFileError};
use plan::{CONTENT_MAX_BYTES, Change, Content, Plan, Refusal};

/// Why the Secret was not written.
#[derive(Debug, Error)]
pub(crate) enum SyncError {
    #[error(transparent)]
    File(#[from] ApiFileError),
    #[error("the Secret {secret}: {fault}")]
    Secret { secret: String, fault: SecretFault },
}

/// A problem of the Secret, or of writing it.
#[derive(Debug, Error)]
pub(crate) enum SecretFault {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(
        "the API server did not answer in time; check that the pod's network policies allow the connection, or raise FETCH_TIMEOUT"
    )]
    Late,
    #[error(
        "the value of its key {key} is not JSON, which the type {secret_type} needs; correct it in ScaiVault"
    )]
    NotJson { key: &'static str, secret_type: String },
}

impl SyncError {
    /// The exit code of the process.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::File(_) => Exit::Invalid,
            Self::Secret { fault, .. } => match fault {
                SecretFault::Api(error) => error.exit(),
                SecretFault::Refused(Refusal::Deleting) | SecretFault::Late => Exit::Failed,
                SecretFault::Refused(_) | SecretFault::NotJson { .. } => Exit::Invalid,
            },
        }
    }
}

impl Retryable for SecretFault {
    fn retry(&self) -> Retry {
        match self {
            Self::Api(error) => error.retry(),
            Self::Refused(Refusal::Deleting) => Retry::Backoff,
            Self::Refused(_) | Self::Late | Self::NotJson { .. } => Retry::Never,
        }
    }
}

/// Reads all secrets, and writes the Secret if it differs.
pub(crate) async fn run(config: SyncConfig) -> Result<(), Fatal> {
    let mut end = sigterm()?;
    // Leaked for the lifetime of the process, because values that are being composed borrow from
    // it.
    let config: &'static SyncConfig = Box::leak(Box::new(config));
    tokio::select! {
        done = sync(config) => done,
        _ = end.recv() => Err(Fatal::Stopped),
    }
}

async fn sync(config: &'static SyncConfig) -> Result<(), Fatal> {
    let target = Target { api: Api::new(&config.api).map_err(SyncError::from)?, config };
    let client = Client::new(config.server.clone())?;
    // First, so that no secret is read if the Secret cannot be written.
    target.check().await?;
    let content = match fetch(&client, &config.outputs, target.deadline()).await {
        Ok(content) => content,
        Err(failures) if config.fail_open => {
            leave_as_it_is(&failures);
            return Ok(());
        }
        Err(failures) => return Err(failures.into()),
    };
    target.write(&content).await?;
    Ok(())
}

fn leave_as_it_is(failures: &Failures) {
    for failure in &failures.0 {
        tracing::error!(%failure, "keeping the Secret unchanged, because FAIL_OPEN is true");
    }
    leave_message(&format!("left the Secret as it is (FAIL_OPEN): {failures}"));
}

/// The Secret and its API.
struct Target {
    api: Api,
    config: &'static SyncConfig,
}

impl Target {
    fn spec(&self) -> &'static SecretSpec {
        &self.config.secret
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout
    }

    async fn check(&self) -> Result<(), SyncError> {
        let (spec, namespace) = (self.spec(), self.api.namespace());
        let checked = retried(self.deadline(), async || {
            let existing = self.api.read(&spec.name).await?;
            existing.map_or(Ok(()), |existing| Ok(plan::check(&existing, spec, namespace)?))
        });
        checked.await.map_err(|gave_up| self.error(gave_up))
    }

    async fn write(&self, content: &Content) -> Result<(), SyncError> {
        if let Some(key) = self.spec().secret_type.json_key()
            && let Some(value) = content.get(key)
            && serde_json::from_slice::<serde::de::IgnoredAny>(value).is_err()
        {
            let secret_type = self.spec().secret_type.as_str().to_owned();
            return Err(self.error(GaveUp::Failed(SecretFault::NotJson { key, secret_type })));
        }
        // A random number and not a hash, so that nothing about the content can be derived from it.
        let version = format!("{:032x}", fastrand::u128(..));
        let written = retried(self.deadline(), async || self.write_once(content, &version).await);
        match written.await.map_err(|gave_up| self.error(gave_up))? {
            None => tracing::info!(secret = %self.name(), "secret unchanged"),
            Some(Change { is_new, written, removed }) => {
                tracing::info!(secret = %self.name(), is_new, ?written, ?removed, "secret written");
            }
        }
        Ok(())
    }

    /// Each attempt reads the Secret again, because the change depends on what exists.
    async fn write_once(&self, content: &Content, version: &str) -> Result<Option<Change>, SecretFault> {
        let spec = self.spec();
        let existing = self.api.read(&spec.name).await?;
        match plan::plan(existing.as_ref(), spec, content, self.api.namespace(), version)? {
            Plan::Unchanged => Ok(None),
            Plan::Apply { body, is_forced, change } => {
                let applied = self.api.apply(&spec.name, body, is_forced).await;
                applied.map_err(|error| error.map_message(|message| without_values(message, content)))?;
                Ok(Some(change))
            }
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.api.namespace(), self.spec().name)
    }

    fn error(&self, gave_up: GaveUp<SecretFault>) -> SyncError {
        let fault = match gave_up {
            GaveUp::Failed(fault) => fault,
            GaveUp::Late => SecretFault::Late,
        };
        SyncError::Secret { secret: self.name(), fault }
    }
}

/// The message of the API server, or of a webhook, about a Secret, with parts of its values
/// removed.
fn without_values(message: &str, content: &Content) -> String {
    let texts = content.values().map(|value| String::from_utf8_lossy(value).into_owned());
    let encoded = content.values().map(|value| BASE64_STANDARD.encode(value));
    let values: Vec<_> = texts.chain(encoded).collect();
    redact(message, &values.iter().map(String::as_str).collect::<Vec<_>>())
}

/// All values, or all failures. Temporary failures are retried until the deadline.
async fn fetch(client: &Client, outputs: &'static Outputs, deadline: Instant) -> Result<Content, Failures> {
    log_in(client, deadline).await.map_err(|failure| Failures(vec![failure]))?;
    let mut values = Values::new(outputs);
    let mut due: BTreeMap<_, _> = values.composer.keys().into_iter().map(|key| (key, first())).collect();
    while let Some(at) = due.values().filter_map(Backoff::due).min() {
        sleep_until(at).await;
        // One after the other, because each may hold a complete secret in memory.
        for (key, mut backoff) in std::mem::take(&mut due) {
            if backoff.is_waiting(Instant::now()) {
                due.insert(key, backoff);
                continue;
            }
            let answer = read(client, &key, deadline).await;
            if let Err(failure) = &answer
                && let Some(at) = backoff.failed(Instant::now(), failure.retry).filter(|at| *at < deadline)
            {
                let pause = at.saturating_duration_since(Instant::now());
                tracing::warn!(%failure, pause_seconds = pause.as_secs_f64(), "trying again");
                due.insert(key, backoff);
                continue;
            }
            let needed = values.take(&key, answer);
            due.extend(needed.into_iter().map(|key| (key, first())));
        }
    }
    values.finish()
}

fn first() -> Backoff {
    let mut backoff = Backoff::new(PAUSES);
    backoff.start(Instant::now());
    backoff
}

async fn read(client: &Client, key: &Key, deadline: Instant) -> Result<Secret, Failure> {
    match timeout_at(deadline, client.read(&key.path, key.version)).await {
        Ok(Ok(secret)) => match key.version.map(|version| u64::from(version.get())) {
            Some(asked) if asked != secret.version => Err(Failure::wrong_version(key, secret.version, asked)),
            _ => Ok(secret),
        },
        Ok(Err(error)) => Err(Failure::from_error(key, &error)),
        Err(_) => Err(Failure::late(key)),
    }
}

/// The values so far.
struct Values {
    composer: Composer,
    content: Content,
    /// The size of all values, including those that were dropped because of the limit.
    bytes: usize,
    failures: Vec<Failure>,
    taken: BTreeSet<Key>,
}

impl Values {
    fn new(outputs: &'static Outputs) -> Self {
        let (content, taken) = (Content::new(), BTreeSet::new());
        Self { composer: Composer::new(outputs), content, bytes: 0, failures: Vec::new(), taken }
    }

    /// Processes an answer. Returns the secrets that have to be read again because the limit was
    /// exceeded.
    fn take(&mut self, key: &Key, answer: Result<Secret, Failure>) -> BTreeSet<Key> {
        let Self { composer, content, bytes, failures, taken } = self;
        if let Err(failure) = &answer
            && !(failure.cause == Cause::Absent && composer.is_optional(key))
        {
            failures.push(failure.clone());
        }
        // Values that already exist are not composed again.
        let is_first = taken.insert(key.clone());
        let composed = composer.take(key, answer, is_first, |target, _, value| {
            *bytes += value.len();
            if *bytes > CONTENT_MAX_BYTES {
                content.clear();
            } else {
                content.insert(target.as_str().trim_start_matches('/').to_owned(), value.to_vec());
            }
        });
        let ComposeResult { failures: of_values, absent, not_written: _, needed } = composed;
        failures.extend(of_values);
        for key in absent {
            tracing::info!(%key, "optional secret or field does not exist, leaving its key out");
        }
        needed.into_iter().filter(|key| taken.contains(key)).collect()
    }

    fn finish(self) -> Result<Content, Failures> {
        let Self { content, bytes, mut failures, .. } = self;
        if bytes > CONTENT_MAX_BYTES {
            let reason = format!(
                "its values have {bytes} bytes together, and Kubernetes allows {CONTENT_MAX_BYTES}; write some of them to another Secret"
            );
            failures.push(Failure::new("the Secret", reason, Exit::Invalid));
        }
        if failures.is_empty() { Ok(content) } else { Err(Failures(failures)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_do_not_show_values() {
        let content = Content::from([("key".to_owned(), b"sk-swordfish".to_vec())]);
        let message = "denied: sk-swordfish, c2stc3dvcmRmaXNo and dfish";
        assert_eq!(without_values(message, &content), "denied: …, … and dfish");
    }
}
