//! One call to the API server: bounded in time, its failure in words.

use std::time::Duration;

use kube::core::Status;
use thiserror::Error;

/// How long one call may take. A healthy API server answers in milliseconds; the next look is seconds away.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// No answer in time.
    #[error("no answer from the API server within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// An answer, but not the wanted one.
    #[error("the API server answers {}: {}", .0.code, .0.message)]
    Refused(Box<Status>),
    /// No connection, or an answer that cannot be understood.
    #[error("cannot talk to the API server")]
    Transport(#[source] Box<kube::Error>),
}

impl CallError {
    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(status) if status.is_not_found())
    }

    /// Whether somebody else has written the object since it was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(status) if status.is_conflict())
    }
}

/// Waits for `call`, though not for ever.
pub(crate) async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(CallError::Refused(status)),
        Ok(Err(error)) => Err(CallError::Transport(Box::new(error))),
        Err(_) => Err(CallError::Timeout),
    }
}
