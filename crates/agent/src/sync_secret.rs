//! `sync-secret`: writes secrets to one Kubernetes Secret, and exits.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use scaivault_client::{Client, Retry, redact};
use thiserror::Error;
use tokio::time::Instant;

use crate::{
    config::{SecretSpec, SyncConfig},
    exit::{Exit, Fatal, leave_message, sigterm},
    failure::Failures,
    retry::{GaveUp, Retryable, retried},
};

mod api;
mod fetch;
mod plan;

use api::{Api, ApiError, ApiFileError};
use plan::{Change, Content, Plan, Refusal};

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
    let content = match fetch::fetch(&client, &config.wanted, target.deadline()).await {
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
