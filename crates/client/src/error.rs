//! The client's errors, their kinds, and whether to retry.

use std::{fmt, io, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use crate::{
    DataFault, IdError, LeaseId, LoginFileError,
    code::{Class, ErrorCode},
    redact::redact,
};

/// A failed request.
#[derive(Debug, Error)]
#[error("cannot {operation}: {kind}")]
pub struct Error {
    /// The failed operation. If a read fails because of its login, this is the login.
    pub operation: Operation,
    /// Why it failed. Its text is part of this error's text, so it is not a `source`.
    pub kind: ErrorKind,
}

impl Error {
    pub(crate) fn new(operation: Operation, kind: impl Into<ErrorKind>) -> Self {
        Self { operation, kind: kind.into() }
    }

    /// The kind of the failure. A rejected login is [`Class::Authentication`] or [`Class::Denied`].
    pub fn class(&self) -> Class {
        match &self.kind {
            ErrorKind::Refused(refusal) => refusal.class(),
            ErrorKind::LoginFile(_) => Class::Authentication,
            ErrorKind::Unreachable { .. }
            | ErrorKind::Tls { .. }
            | ErrorKind::Timeout { .. }
            | ErrorKind::Broken { .. } => Class::Unavailable,
            ErrorKind::Certificate { .. }
            | ErrorKind::Proxy { .. }
            | ErrorKind::Answer(_)
            | ErrorKind::OrphanedLease { .. } => Class::Unexpected,
        }
    }

    /// Whether the same request may be retried.
    pub fn retry(&self) -> Retry {
        let Self { operation, kind } = self;
        match kind {
            // A deleted subscription can be created again.
            ErrorKind::Refused(refusal) if refusal.class() == Class::NotFound && operation.is_of_events() => {
                Retry::Backoff
            }
            ErrorKind::Refused(refusal) => refusal.retry(),
            ErrorKind::Unreachable { .. }
            | ErrorKind::Tls { .. }
            | ErrorKind::Timeout { .. }
            | ErrorKind::Broken { .. }
            | ErrorKind::Certificate { is_final: false, .. }
            // A rejection by a proxy is as final as one by a server, except for its own outages and
            // limits. A proxy that does not answer may be restarting.
            | ErrorKind::Proxy { status: 0 | 408 | 429 | 500..=599, .. } => Retry::Backoff,
            // A proxy in front of ScaiVault may answer so during its replacement. A generation is
            // not retried at once, because it may have created a user.
            ErrorKind::Answer(AnswerFault::Redirect(_) | AnswerFault::NotHttp | AnswerFault::Json)
                if *operation != Operation::Generate =>
            {
                Retry::Backoff
            }
            ErrorKind::OrphanedLease { source, .. } if !matches!(**source, ErrorKind::Answer(_)) => {
                Retry::Backoff
            }
            ErrorKind::Proxy { .. }
            | ErrorKind::Certificate { .. }
            | ErrorKind::LoginFile(_)
            | ErrorKind::Answer(_)
            | ErrorKind::OrphanedLease { .. } => Retry::Never,
        }
    }

    /// A lease that was generated although its answer is invalid. The caller must revoke it,
    /// because no other component knows it.
    pub fn orphaned_lease(&self) -> Option<&LeaseId> {
        match &self.kind {
            ErrorKind::OrphanedLease { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// Whether `ScaiVault` reports, with any code, that the lease, subscription or secret in the
    /// request does not exist (any more).
    pub fn is_gone(&self) -> bool {
        // These codes concern the caller.
        let is_of_caller =
            |code: &ErrorCode| matches!(code.as_str(), "tenant_not_found" | "identity_not_found");
        self.class() == Class::NotFound && !self.code().is_some_and(is_of_caller)
    }

    /// `ScaiVault`'s code, if it answered.
    pub fn code(&self) -> Option<&ErrorCode> {
        match &self.kind {
            ErrorKind::Refused(refusal) => Some(&refusal.code),
            _ => None,
        }
    }
}

/// Whether a request may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After this pause, which the server requested.
    After(Duration),
    /// After a pause that grows with each attempt.
    Backoff,
    /// Like [`Self::Backoff`], but only once.
    Once,
    /// Not at all: the same request gets the same answer.
    Never,
}

impl Retry {
    /// For a caller that never gives up: the requested pause, but at most `limit`, or else
    /// [`Self::Backoff`].
    #[must_use]
    pub fn always(self, limit: Duration) -> Self {
        match self {
            Self::After(pause) => Self::After(pause.min(limit)),
            Self::Backoff | Self::Once | Self::Never => Self::Backoff,
        }
    }

    /// Limits a requested pause to `limit`.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        match self {
            Self::After(pause) => Self::After(pause.min(limit)),
            other => other,
        }
    }
}

/// The operation of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Exchange of a service account's token.
    Exchange,
    /// Login with client credentials.
    ClientCredentials,
    /// Read of one secret.
    Read,
    /// Read of secrets' versions, without their values.
    ReadVersions,
    /// Generation of dynamic credentials.
    Generate,
    /// Renewal of a lease.
    Renew,
    /// Revocation of a lease.
    Revoke,
    /// Creation of a subscription.
    Subscribe,
    /// Wait for a subscription's events.
    Poll,
    /// Change of a subscription's paths.
    ChangeSubscription,
    /// Acknowledgement of events.
    Acknowledge,
    /// Deletion of a subscription.
    Unsubscribe,
    /// List of subscriptions.
    ListSubscriptions,
}

impl Operation {
    fn is_of_events(self) -> bool {
        matches!(self, Self::Subscribe | Self::Poll | Self::ChangeSubscription | Self::Acknowledge)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exchange => "exchange the service account's token",
            Self::ClientCredentials => "log in with client credentials",
            Self::Read => "read the secret",
            Self::ReadVersions => "read the versions of secrets",
            Self::Generate => "generate credentials",
            Self::Renew => "renew the lease",
            Self::Revoke => "revoke the lease",
            Self::Subscribe => "subscribe to events",
            Self::Poll => "wait for events",
            Self::ChangeSubscription => "change the subscription's paths",
            Self::Acknowledge => "acknowledge events",
            Self::Unsubscribe => "delete the subscription",
            Self::ListSubscriptions => "list subscriptions",
        })
    }
}

/// Why a request failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server answered with an error.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A file of the login cannot be used.
    #[error(transparent)]
    LoginFile(#[from] LoginFileError),
    /// No connection could be opened.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// Host and port, of the proxy if there is one.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// The proxy does not open a connection.
    #[error(
        "the proxy {proxy} answered {status} to a connection to {address}; check HTTPS_PROXY and \
         NO_PROXY"
    )]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// Host and port of the server.
        address: String,
        /// The HTTP status, 0 for an answer that is not HTTP.
        status: u16,
    },
    /// The server's certificate is rejected.
    #[error("the certificate of {address} is not accepted: {fault}")]
    Certificate {
        /// Host and port.
        address: String,
        /// The problem with the certificate, and the fix.
        fault: String,
        /// Whether a later attempt cannot succeed without a fix. Otherwise the CA file may be about
        /// to change.
        is_final: bool,
    },
    /// The TLS handshake failed for another reason, for example because the server is starting.
    #[error("the TLS handshake with {address} failed: {source}; check the port and the server's TLS")]
    Tls {
        /// Host and port.
        address: String,
        /// The error.
        source: rustls::Error,
    },
    /// The timeout was exceeded.
    #[error("{address} has not answered within {} s", .after.as_secs_f32())]
    Timeout {
        /// Host and port.
        address: String,
        /// The timeout.
        after: Duration,
    },
    /// The connection was closed during the exchange. The server may have processed the request.
    #[error("the connection to {address} was interrupted: {source}")]
    Broken {
        /// Host and port.
        address: String,
        /// The error of the HTTP library.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer that is not `ScaiVault`'s.
    #[error("the answer cannot be used: {0}; check that the address is ScaiVault's")]
    Answer(#[from] AnswerFault),
    /// A lease was generated, but its answer is invalid.
    #[error("the lease {lease} was generated, but {source}")]
    OrphanedLease {
        /// The lease.
        lease: LeaseId,
        /// Why its answer is invalid.
        source: Box<ErrorKind>,
    },
}

impl ErrorKind {
    /// Removes what was sent with the request from the server's message.
    pub(crate) fn without(mut self, sent: &[&SecretString]) -> Self {
        if let Self::Refused(refusal) = &mut self {
            let sent: Vec<_> = sent.iter().map(|secret| secret.expose_secret()).collect();
            refusal.message = redact(&refusal.message, &sent);
        }
        self
    }
}

/// The problem with an answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnswerFault {
    /// A redirect. It is never followed, because the token would be sent to its target.
    #[error("it is a redirect (status {0}), and redirects are not followed")]
    Redirect(u16),
    /// Another protocol.
    #[error("it is not HTTP/1.1")]
    NotHttp,
    /// Larger than the limit.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not JSON, or not the format of the route. Neither position nor text is reported, because
    /// both could reveal a value.
    #[error("it is not the JSON of this route")]
    Json,
    /// A secret's data is invalid.
    #[error(transparent)]
    Data(#[from] DataFault),
    /// An identifier that is not allowed in a URL.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A member is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A duration or time in an unknown format.
    #[error(
        "its member {0} is not a time; expected seconds, such as 3600, or text, such as 1h30m, \
         PT1H30M or a timestamp"
    )]
    Time(&'static str),
    /// The credentials of a lease are invalid.
    #[error("its member {0} cannot be used: {1}")]
    Credentials(&'static str, DataFault),
    /// A lease without remaining time.
    #[error("its lease has ended already by this host's clock; compare the clocks and the role's lifetime")]
    Ended,
}

impl From<DataFault> for ErrorKind {
    fn from(fault: DataFault) -> Self {
        Self::Answer(fault.into())
    }
}

/// An error in the server's answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message:?} ({code}, status {status}{})", .request_id.as_deref().map(|id| format!(", request {id}")).unwrap_or_default())]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The code.
    pub code: ErrorCode,
    /// The server's message, at most [`Self::MESSAGE_CHARS`] characters. Shown escaped.
    pub message: String,
    /// The server's identifier of this request, for its log.
    pub request_id: Option<String>,
    /// The pause that the server requests.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// The maximum length of a message that is kept, in characters.
    pub const MESSAGE_CHARS: usize = 300;

    /// The kind of the failure.
    pub fn class(&self) -> Class {
        self.code.classify(self.status).0
    }

    /// Whether the same request may be retried.
    pub fn retry(&self) -> Retry {
        match (self.code.classify(self.status).1, self.retry_after) {
            (Retry::Backoff, Some(after)) => Retry::After(after),
            (retry, _) => retry,
        }
    }
}

#[cfg(test)]
mod tests;
