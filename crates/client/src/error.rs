//! What can go wrong, what kind of failure it is, and whether to try again.

use std::{fmt, io, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use crate::{
    DataFault, IdError, LeaseId, LoginFileError,
    code::{Class, ErrorCode},
    redact::redact,
};

/// A request that did not do what it was sent for.
#[derive(Debug, Error)]
#[error("cannot {operation}: {kind}")]
pub struct Error {
    /// What was tried. A login that a read needed is a login here.
    pub operation: Operation,
    /// Why it failed. Its text stands in this error's text already; it is no `source`.
    pub kind: ErrorKind,
}

impl Error {
    pub(crate) fn new(operation: Operation, kind: impl Into<ErrorKind>) -> Self {
        Self { operation, kind: kind.into() }
    }

    /// What kind of failure it is. A refused login is [`Class::Authentication`] or [`Class::Denied`].
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

    /// Whether the same request is worth another try.
    pub fn retry(&self) -> Retry {
        let Self { operation, kind } = self;
        match kind {
            // A subscription that is gone can be made again.
            ErrorKind::Refused(refusal) if refusal.class() == Class::NotFound && operation.is_of_events() => {
                Retry::Backoff
            }
            ErrorKind::Refused(refusal) => refusal.retry(),
            ErrorKind::Unreachable { .. }
            | ErrorKind::Tls { .. }
            | ErrorKind::Timeout { .. }
            | ErrorKind::Broken { .. }
            | ErrorKind::Certificate { is_final: false, .. }
            // A proxy that refuses is as final as a server that does, except for its own outages and limits. One that does
            // not answer may be restarting.
            | ErrorKind::Proxy { status: 0 | 408 | 429 | 500..=599, .. } => Retry::Backoff,
            // Whatever stands before ScaiVault answers so while it is being replaced. A generation is not repeated at once: it may
            // have made a user.
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

    /// A lease that was generated but whose answer cannot be used. The caller must revoke it: nobody else knows it.
    pub fn orphaned_lease(&self) -> Option<&LeaseId> {
        match &self.kind {
            ErrorKind::OrphanedLease { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// Whether `ScaiVault` says that the lease, subscription or secret that the request names does not exist (any more),
    /// by whatever code.
    pub fn is_gone(&self) -> bool {
        // These are about the caller.
        let is_of_caller =
            |code: &ErrorCode| matches!(code.as_str(), "tenant_not_found" | "identity_not_found");
        self.class() == Class::NotFound && !self.code().is_some_and(is_of_caller)
    }

    /// `ScaiVault`'s code, where it answered at all.
    pub fn code(&self) -> Option<&ErrorCode> {
        match &self.kind {
            ErrorKind::Refused(refusal) => Some(&refusal.code),
            _ => None,
        }
    }
}

/// Whether a request is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After this long, which the server asked for.
    After(Duration),
    /// After a pause that grows with each try.
    Backoff,
    /// As [`Self::Backoff`], but once: then it is final.
    Once,
    /// No: the same request gets the same answer.
    Never,
}

impl Retry {
    /// For a caller that never gives up: the requested pause, but at most `limit`, or else [`Self::Backoff`].
    #[must_use]
    pub fn always(self, limit: Duration) -> Self {
        match self {
            Self::After(pause) => Self::After(pause.min(limit)),
            Self::Backoff | Self::Once | Self::Never => Self::Backoff,
        }
    }

    /// Itself, with a requested pause of at most `limit`.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        match self {
            Self::After(pause) => Self::After(pause.min(limit)),
            other => other,
        }
    }
}

/// What the client was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Exchange of a service account's token.
    Exchange,
    /// Login with client credentials.
    ClientCredentials,
    /// Read of one secret.
    Read,
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
    /// The server answered, with an error.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A file of the login cannot be used.
    #[error(transparent)]
    LoginFile(#[from] LoginFileError),
    /// No connection.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// Host and port, the proxy's where one is in between.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The proxy does not let through.
    #[error(
        "the proxy {proxy} answers {status} to a connection to {address}; check HTTPS_PROXY and NO_PROXY"
    )]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// Host and port behind it.
        address: String,
        /// The HTTP status, 0 for an answer that is not HTTP.
        status: u16,
    },
    /// The server's certificate is not accepted.
    #[error("the certificate of {address} is not accepted: {fault}")]
    Certificate {
        /// Host and port.
        address: String,
        /// What is wrong with it, and what to do.
        fault: String,
        /// Whether it stays so until a person mends it. Otherwise the file of authorities may be about to change.
        is_final: bool,
    },
    /// The TLS handshake failed for another reason, such as a server that is just starting.
    #[error("the TLS handshake with {address} failed: {source}; check the port and the server's TLS")]
    Tls {
        /// Host and port.
        address: String,
        /// What happened.
        source: rustls::Error,
    },
    /// Not in time.
    #[error("{address} has not answered within {} s", .after.as_secs_f32())]
    Timeout {
        /// Host and port.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection ended in the middle. The server may have done what was asked.
    #[error("the connection to {address} broke: {source}")]
    Broken {
        /// Host and port.
        address: String,
        /// What HTTP said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer that is not `ScaiVault`'s.
    #[error("the answer cannot be used: {0}; check that the address is ScaiVault's")]
    Answer(#[from] AnswerFault),
    /// A lease was generated, but its answer cannot be used.
    #[error("the lease {lease} was generated, but {source}")]
    OrphanedLease {
        /// The lease.
        lease: LeaseId,
        /// Why its answer cannot be used.
        source: Box<ErrorKind>,
    },
}

impl ErrorKind {
    /// Takes what was sent with the request out of what the server says about it.
    pub(crate) fn without(mut self, sent: &[&SecretString]) -> Self {
        if let Self::Refused(refusal) = &mut self {
            let sent: Vec<_> = sent.iter().map(|secret| secret.expose_secret()).collect();
            refusal.message = redact(&refusal.message, &sent);
        }
        self
    }
}

/// What is wrong with an answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnswerFault {
    /// A redirect, which is never followed: it would carry the token to wherever it points.
    #[error("it is a redirect (status {0}), and redirects are not followed")]
    Redirect(u16),
    /// Another protocol.
    #[error("it is not HTTP/1.1")]
    NotHttp,
    /// More bytes than are read.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes.
        limit: usize,
    },
    /// Not JSON, or not the JSON that the route answers. Neither place nor text: both could be a value's.
    #[error("it is not the JSON of this route")]
    Json,
    /// A secret's data is not what data may be.
    #[error(transparent)]
    Data(#[from] DataFault),
    /// An identifier that cannot stand in a URL.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Something is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A length of time, or an end, in a form that is not read.
    #[error(
        "its member {0} is no time; expected seconds, such as 3600, or text, such as 1h30m, PT1H30M or a timestamp"
    )]
    Time(&'static str),
    /// The credentials of a lease are not what data may be.
    #[error("its member {0} cannot be used: {1}")]
    Credentials(&'static str, DataFault),
    /// A lease that has no time left.
    #[error("its lease has ended already by this host's clock; compare the clocks and the role's lifetime")]
    Ended,
}

impl From<DataFault> for ErrorKind {
    fn from(fault: DataFault) -> Self {
        Self::Answer(fault.into())
    }
}

/// An error that the server answered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message:?} ({code}, status {status}{})", .request_id.as_deref().map(|id| format!(", request {id}")).unwrap_or_default())]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The code.
    pub code: ErrorCode,
    /// What the server says to people, at most [`Self::MESSAGE_CHARS`] characters. Shown escaped.
    pub message: String,
    /// The server's name for this request, to be found in its log.
    pub request_id: Option<String>,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// The most characters of a message that are kept.
    pub const MESSAGE_CHARS: usize = 300;

    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        self.code.classify(self.status).0
    }

    /// Whether the same request is worth another try.
    pub fn retry(&self) -> Retry {
        match (self.code.classify(self.status).1, self.retry_after) {
            (Retry::Backoff, Some(after)) => Retry::After(after),
            (retry, _) => retry,
        }
    }
}

#[cfg(test)]
mod tests;
