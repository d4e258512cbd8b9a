//! Errors of mounts, and their gRPC statuses.

use std::fmt::{self, Write as _};

use scaivault_client::{Class, Error, ErrorKind, Operation, Refusal, Retry};
use tonic::{Code, Status};

use crate::config::LoginTarget;

/// The maximum number of problems in a message, because an event of a pod has at most 1 KiB.
const PROBLEMS_SHOWN: usize = 6;

/// Why a mount fails. Never quotes a token or a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    text: String,
    /// ScaiVault's identifiers of the failed requests. They are logged but not in events: the API server
    /// does not combine events with different texts, and a pod has a limited number of them.
    request_ids: Vec<String>,
    /// Whether the mount may be retried before it is answered.
    retry: Retry,
}

/// The kind of a failure: a label of the metrics and a gRPC status.
///
/// No kind has the status `Unavailable`, `DeadlineExceeded`, `Canceled`, `ResourceExhausted` or `Aborted`,
/// because the driver mounts an **empty directory** after these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FailureKind {
    /// The class, the pod's attributes or the data cannot be used.
    Invalid,
    /// The token is missing, belongs to another pod, or was refused.
    Unauthenticated,
    /// ScaiVault or the operator's allow-list forbids it.
    Denied,
    /// An `InjectionPolicy` forbids it.
    Policy,
    /// A secret, a version or a field does not exist.
    NotFound,
    /// The default `ScaiVault` cannot be reached, or does not answer logins. No class can cause this, so a
    /// critical alert uses it.
    Unreachable,
    /// Another `ScaiVault` cannot be reached; or `ScaiVault` has a temporary error; or an object is not in
    /// the cache yet.
    Transient,
    /// Too many other mounts are in progress.
    Busy,
    /// The deadline of the mount has passed.
    Late,
    /// The provider has a bug, or cannot write its state.
    Internal,
}

impl FailureKind {
    pub(crate) const ALL: [Self; 10] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::Denied,
        Self::Policy,
        Self::NotFound,
        Self::Unreachable,
        Self::Transient,
        Self::Busy,
        Self::Late,
        Self::Internal,
    ];

    /// The label of the metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::Policy => "policy",
            Self::NotFound => "not_found",
            Self::Unreachable => "unreachable",
            Self::Transient => "transient",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Internal => "internal",
        }
    }

    const fn code(self) -> Code {
        match self {
            Self::Invalid => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Denied | Self::Policy => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::Unreachable | Self::Transient | Self::Busy => Code::FailedPrecondition,
            Self::Late | Self::Internal => Code::Internal,
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), request_ids: Vec::new(), retry: Retry::Never }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(FailureKind::Invalid, text)
    }

    /// The failure after a panic.
    pub(crate) fn internal() -> Self {
        Self::new(FailureKind::Internal, "the provider has an internal error; see its log")
    }

    /// Fails with the problems, if there are any.
    pub(crate) fn unless(problems: Vec<String>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self::all_invalid(problems)) }
    }

    /// Several problems as one failure.
    pub(crate) fn all_invalid(problems: Vec<String>) -> Self {
        Self::listed(FailureKind::Invalid, problems)
    }

    /// Several problems as one failure of this kind.
    pub(crate) fn listed(kind: FailureKind, problems: Vec<String>) -> Self {
        Self::new(kind, listed(problems))
    }

    /// The failure if reading `subject` from the server of `target` failed with the client's error.
    pub(crate) fn from_error(target: &LoginTarget, subject: impl fmt::Display, error: &Error) -> Self {
        let (kind, fix) = match error.class() {
            Class::Authentication => (
                FailureKind::Unauthenticated,
                "check that ScaiKey trusts this cluster, and check the audience and the requested role",
            ),
            Class::Denied => (
                FailureKind::Denied,
                "add a policy in ScaiVault that allows it to the identity of the pod's service account",
            ),
            Class::NotFound => (FailureKind::NotFound, "check its name and version in ScaiVault"),
            Class::Invalid => (FailureKind::Invalid, "check `objects` in the SecretProviderClass"),
            Class::Throttled => (FailureKind::Transient, "raise ScaiVault's rate limit"),
            Class::Conflict | Class::Unavailable => (
                FailureKind::Transient,
                "check that ScaiVault is up and that the provider's network reaches it",
            ),
            Class::Unexpected => (FailureKind::Transient, "check base_url and the CA file of the provider"),
        };
        let request_ids = match &error.kind {
            ErrorKind::Refused(refusal) => refusal.request_id.iter().cloned().collect(),
            _ => Vec::new(),
        };
        let kind =
            if target.is_default_server() && is_unreachable(error) { FailureKind::Unreachable } else { kind };
        Self { request_ids, retry: error.retry(), ..Self::new(kind, format!("{subject}: {error}; {fix}")) }
    }

    /// Combines failures; the kind is the first one in the order of [`FailureKind`].
    pub(crate) fn joined(failures: Vec<Self>) -> Option<Self> {
        let kind = failures.iter().map(|failure| failure.kind).min()?;
        let request_ids = failures.iter().flat_map(|failure| failure.request_ids.clone()).collect();
        let retry = failures.iter().map(|failure| failure.retry).reduce(later)?;
        let mut texts: Vec<_> = failures.into_iter().map(|failure| failure.text).collect();
        texts.sort();
        texts.dedup();
        Some(Self { request_ids, retry, ..Self::new(kind, listed(texts)) })
    }

    pub(crate) fn retry(&self) -> Retry {
        self.retry
    }

    /// The same failure, without a retry of the mount.
    pub(crate) fn without_retry(self) -> Self {
        Self { retry: Retry::Never, ..self }
    }

    /// The same failure with a note.
    pub(crate) fn followed_by(self, note: &str) -> Self {
        Self { text: format!("{}; {note}", self.text), ..self }
    }

    /// The gRPC status. Its text becomes an event of the pod.
    pub(crate) fn status(&self) -> Status {
        let without_ids = |text: String, id: &String| text.replace(&format!(", request {id}"), "");
        Status::new(self.kind.code(), self.request_ids.iter().fold(self.text.clone(), without_ids))
    }
}

/// Whether the server answers no requests at all. Errors of reads also depend on the secret, because one
/// that ScaiVault reads from another system may be slow or fail. However, a 502 or 503 without ScaiVault's
/// error code comes from a proxy whose backend is down. A 504 may be a slow secret.
fn is_unreachable(error: &Error) -> bool {
    let has_no_connection = matches!(
        error.kind,
        ErrorKind::Unreachable { .. } | ErrorKind::Tls { .. } | ErrorKind::Certificate { .. }
    );
    let has_no_server =
        matches!(&error.kind, ErrorKind::Refused(Refusal { status: 502 | 503, code, .. }) if code.is_empty());
    has_no_connection
        || has_no_server
        || error.operation == Operation::Exchange && error.class() == Class::Unavailable
}

/// The later retry of two requests.
fn later(a: Retry, b: Retry) -> Retry {
    match (a, b) {
        (Retry::Never, _) | (_, Retry::Never) => Retry::Never,
        (Retry::After(a), Retry::After(b)) => Retry::After(a.max(b)),
        (Retry::After(pause), _) | (_, Retry::After(pause)) => Retry::After(pause),
        (Retry::Once, _) | (_, Retry::Once) => Retry::Once,
        (Retry::Backoff, Retry::Backoff) => Retry::Backoff,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn listed(mut problems: Vec<String>) -> String {
    let more = problems.len().saturating_sub(PROBLEMS_SHOWN);
    problems.truncate(PROBLEMS_SHOWN);
    let mut text = problems.join("; ");
    if more > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, "; {more} more problems are not shown");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_status_makes_the_driver_mount_an_empty_volume() {
        let harmful = [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Cancelled,
            Code::ResourceExhausted,
            Code::Aborted,
        ];
        for kind in FailureKind::ALL {
            let code = Failure::new(kind, "x").status().code();
            assert!(!harmful.contains(&code) && code != Code::Ok, "{kind:?}");
        }
    }

    #[test]
    fn of_many_problems_some_are_shown() {
        let failures = (0..9).map(|index| Failure::new(FailureKind::NotFound, format!("secret {index}")));
        let mut failures: Vec<_> = failures.collect();
        failures.push(Failure::new(FailureKind::Denied, "secret 0"));
        let joined = Failure::joined(failures).unwrap();
        assert_eq!(joined.kind, FailureKind::Denied);
        assert!(joined.to_string().ends_with("; secret 5; 3 more problems are not shown"), "{joined}");
        assert_eq!(Failure::joined(Vec::new()), None);
    }
}
