//! Failed deliveries, for the log, the termination message and the exit code.

use std::fmt;

use scaivault_client::{Class, Error, Operation, Retry};
use scaivault_render::RenderError;
use thiserror::Error as ThisError;

use crate::{exit::Exit, metrics};

/// The maximum number of failures that are listed, because the kubelet truncates termination
/// messages at 4 KiB.
const FAILURES_SHOWN: usize = 8;

/// One failed delivery. Its text never contains a secret value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    subject: String,
    reason: String,
    /// The agent's exit code for it.
    pub(crate) exit: Exit,
    /// Whether the same request may be retried.
    pub(crate) retry: Retry,
    /// The category that affects retries and reports.
    pub(crate) cause: Cause,
    /// The kind of failure, as a metric label.
    pub(crate) class: &'static str,
}

/// The category of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The secret, its version or its field does not exist.
    Absent,
    /// The login was rejected, or could not be sent.
    Login,
    /// The response has an older version than one that was read or announced.
    Outdated,
    Other,
}

impl Failure {
    /// `subject` was not delivered because of a client error.
    pub(crate) fn from_error(subject: impl fmt::Display, error: &Error) -> Self {
        let (exit, fix) = match error.class() {
            Class::Authentication => (
                Exit::Authentication,
                "check ScaiKey's trust in this cluster, the token's audience and the role that is asked for",
            ),
            Class::Denied => (Exit::Denied, "give the pod's identity a policy in ScaiVault that allows it"),
            Class::NotFound => (Exit::NotFound, "check its name and version in ScaiVault"),
            Class::Invalid => (Exit::Invalid, "check how it is named in the pod's annotations"),
            Class::Throttled => (Exit::Failed, "raise ScaiVault's rate limit or fetch less often"),
            Class::Conflict | Class::Unavailable => {
                (Exit::Failed, "check that ScaiVault is up and that the pod's network reaches it")
            }
            Class::Unexpected => (Exit::Failed, "check SCAIVAULT_URL, the CA file and the proxy"),
        };
        let reason = format!("{error}; {fix}");
        let cause = match error.operation {
            Operation::Exchange | Operation::ClientCredentials => Cause::Login,
            _ if error.is_gone() => Cause::Absent,
            _ => Cause::Other,
        };
        let class = metrics::class(error.class());
        Self { retry: error.retry(), cause, class, ..Self::new(subject, reason, exit) }
    }

    /// The response for `subject` has `version`, but `expected` or a newer one is known to exist.
    pub(crate) fn outdated(subject: impl fmt::Display, version: u64, expected: u64) -> Self {
        let reason = format!(
            "ScaiVault returned version {version}, but version {expected} exists; check for a \
             replica or cache that lags behind"
        );
        let (cause, class) = (Cause::Outdated, "outdated");
        Self { retry: Retry::Backoff, cause, class, ..Self::new(subject, reason, Exit::Failed) }
    }

    /// `subject` was requested in the version `asked`, and another one was returned.
    pub(crate) fn wrong_version(subject: impl fmt::Display, version: u64, asked: u64) -> Self {
        let reason = format!(
            "version {asked} was requested, but version {version} was returned; check \
             SCAIVAULT_URL and whether a proxy or cache ignores the query"
        );
        let class = metrics::class(Class::Unexpected);
        Self { retry: Retry::Backoff, class, ..Self::new(subject, reason, Exit::Failed) }
    }

    /// `subject` was read but cannot be written in the requested format.
    pub(crate) fn from_render_error(subject: impl fmt::Display, error: &RenderError) -> Self {
        let (cause, exit) =
            if error.is_absent() { (Cause::Absent, Exit::NotFound) } else { (Cause::Other, Exit::Invalid) };
        Self { cause, ..Self::new(subject, error, exit) }
    }

    /// `subject` had no response before the deadline.
    pub(crate) fn late(subject: impl fmt::Display) -> Self {
        let reason = "it was not answered in time; check that the pod's network reaches ScaiVault, or raise FETCH_TIMEOUT";
        let class = metrics::class(Class::Unavailable);
        Self { retry: Retry::Backoff, class, ..Self::new(subject, reason, Exit::Failed) }
    }

    /// Any other failure, which needs a fix.
    pub(crate) fn new(subject: impl fmt::Display, reason: impl fmt::Display, exit: Exit) -> Self {
        Self {
            subject: subject.to_string(),
            reason: reason.to_string(),
            exit,
            retry: Retry::Never,
            cause: Cause::Other,
            class: "content",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.reason)
    }
}

/// All failures; at least one.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub(crate) struct Failures(pub(crate) Vec<Failure>);

impl Failures {
    /// The exit code: failures that need a fix take precedence over temporary ones.
    pub(crate) fn exit(&self) -> Exit {
        let mut exits = self.0.iter().map(|failure| failure.exit);
        exits.find(|exit| *exit != Exit::Failed).unwrap_or(Exit::Failed)
    }
}

impl fmt::Display for Failures {
    /// On one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(failures) = self;
        for (index, failure) in failures.iter().take(FAILURES_SHOWN).enumerate() {
            let between = if index == 0 { "" } else { " | " };
            write!(f, "{between}{failure}")?;
        }
        match failures.len().checked_sub(FAILURES_SHOWN) {
            Some(more @ 1..) => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_need_a_fix_decide_the_exit_code() {
        let failure = |exit| Failure::new("a/b", "because", exit);
        let all = Failures(vec![failure(Exit::Failed), failure(Exit::Denied), failure(Exit::NotFound)]);
        assert_eq!(all.exit(), Exit::Denied);
        assert_eq!(Failures(vec![failure(Exit::Failed)]).exit(), Exit::Failed);
    }

    #[test]
    fn the_message_stays_short_enough_for_the_kubelet() {
        let all = Failures(vec![Failure::new("a/b", "x".repeat(400), Exit::Failed); 10]);
        let text = all.to_string();
        assert!(text.ends_with(" and 2 more") && text.len() < 4096, "{}", text.len());
    }
}
