//! Calls to the API server with a timeout and readable errors.

use std::time::Duration;

use kube::core::Status;
use thiserror::Error;

/// The timeout of one call. A healthy API server answers in milliseconds, and the next sync follows
/// within seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// No answer in time.
    #[error("no answer from the API server within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The API server answered with an error.
    #[error("the API server answered {}: {}", .0.code, .0.message)]
    Refused(Box<Status>),
    /// The connection failed, or the answer cannot be parsed.
    #[error("the request to the API server failed")]
    Transport(#[source] Box<kube::Error>),
}

impl CallError {
    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(status) if status.is_not_found())
    }

    /// Whether another client has written the object since it was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(status) if status.is_conflict())
    }
}

/// Waits for `call` until the timeout.
pub(crate) async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(CallError::Refused(status)),
        Ok(Err(error)) => Err(CallError::Transport(Box::new(error))),
        Err(_) => Err(CallError::Timeout),
    }
}
