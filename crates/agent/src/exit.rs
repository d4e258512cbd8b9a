//! How the agent ends: its exit codes, which are those of ScaiVault's own command line, the message that it leaves, and the
//! signals that it obeys.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
};

use scaivault_client::SetupError;
use scaivault_contract::names::{
    HEALTHZ_COMMAND, INIT_COMMAND, SIDECAR_COMMAND, SYNC_SECRET_COMMAND, VERIFY_COMMAND, WAIT_COMMAND,
};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    config::Problems, failure::Failures, sink::SinkError, state::StateError, sync_secret::SyncError,
};

/// Where the kubelet reads the termination message: the default of `terminationMessagePath`.
const MESSAGE_FILE: &str = "/dev/termination-log";
/// The kubelet cuts what is longer.
const MESSAGE_MAX_BYTES: usize = 4096;

/// Why the agent ends, as a number that a pod's status shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Exit {
    /// All was done.
    Done = 0,
    /// Anything that is none of the others: ScaiVault cannot be reached, the volume is full.
    Failed = 1,
    /// ScaiVault does not accept the login.
    Authentication = 2,
    /// The identity may not read a secret.
    Denied = 3,
    /// A secret, a version, a field, an engine or a role is not there.
    NotFound = 4,
    /// A variable is malformed, or a secret cannot be written as it is asked for.
    Invalid = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a subcommand did not do what it is for, with the cure.
#[derive(Debug, Error)]
pub(crate) enum Ending {
    #[error(
        "the agent takes one word: {INIT_COMMAND}, {SIDECAR_COMMAND}, {WAIT_COMMAND}, {HEALTHZ_COMMAND}, {SYNC_SECRET_COMMAND} or {VERIFY_COMMAND}, the last one with or without pairs of files; all else is said by environment variables"
    )]
    Command,
    #[error(transparent)]
    Environment(#[from] Problems),
    #[error(transparent)]
    Client(#[from] SetupError),
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot wait for {0}: {1}")]
    Signal(&'static str, #[source] io::Error),
    #[error("cannot listen on SCAIVAULT_METRICS_LISTEN={0}: {1}; choose a free port")]
    Metrics(SocketAddr, #[source] io::Error),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Volume(#[from] SinkError),
    #[error(transparent)]
    Fetch(#[from] Failures),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error("stopped by SIGTERM before all was fetched")]
    Stopped,
    #[error("the secrets are not there in time; see the log of the sidecar")]
    NotInTime,
    #[error("the secrets are not there yet")]
    NotYet,
    #[error("{wrong} of {compared} files differ or are missing; the lines above name them")]
    Different { wrong: usize, compared: usize },
    #[error("the system has no random numbers for the key of a comparison")]
    Random,
    #[error("the result of the comparison cannot be written: {0}")]
    Output(#[source] io::Error),
}

impl Ending {
    /// How the process ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Command | Self::Environment(_) | Self::Client(_) => Exit::Invalid,
            Self::Fetch(failures) => failures.exit(),
            Self::Sync(error) => error.exit(),
            _ => Exit::Failed,
        }
    }

    /// Leaves the message for `kubectl describe pod`. Called before anything that takes time, such as revoking leases: the
    /// kubelet may kill the process meanwhile.
    pub(crate) fn leave(&self) {
        leave_message(&self.to_string());
    }
}

/// Leaves a termination message. Without the file, nothing would read it.
pub(crate) fn leave_message(message: &str) {
    leave_at(Path::new(MESSAGE_FILE), message);
}

fn leave_at(file: &Path, message: &str) {
    // Not created: outside of a container it would be a stray file.
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(file) {
        let end = message.floor_char_boundary(MESSAGE_MAX_BYTES);
        let _ = file.write_all(&message.as_bytes()[..end]);
    }
}

/// SIGTERM: the pod ends. The first process of a container ignores it without a handler.
pub(crate) fn end_signal() -> Result<Signal, Ending> {
    receive(SignalKind::terminate(), "SIGTERM")
}

/// SIGHUP: refresh now. From this call on it does not end the process, as it would by default.
pub(crate) fn refresh_signal() -> Result<Signal, Ending> {
    receive(SignalKind::hangup(), "SIGHUP")
}

fn receive(kind: SignalKind, name: &'static str) -> Result<Signal, Ending> {
    signal(kind).map_err(|error| Ending::Signal(name, error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use scaivault_contract::names::FAILURE_EXIT_CODES;

    use super::*;

    /// The injector warns of rules in a Job's `podFailurePolicy` that count these codes.
    #[test]
    fn failures_have_the_exit_codes_of_the_contract() {
        let failures = |exit| match exit {
            Exit::Done => None,
            Exit::Failed | Exit::Authentication | Exit::Denied | Exit::NotFound | Exit::Invalid => {
                Some(i64::from(exit as u8))
            }
        };
        let codes =
            [Exit::Done, Exit::Failed, Exit::Authentication, Exit::Denied, Exit::NotFound, Exit::Invalid];
        assert!(codes.into_iter().filter_map(failures).eq(FAILURE_EXIT_CODES));
    }

    #[test]
    fn a_message_takes_the_place_of_the_one_before_and_is_cut_between_characters() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        leave_at(&file, "nobody reads it");
        assert!(!file.exists());
        fs::write(&file, "an older and longer message").unwrap();
        leave_at(&file, "new");
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        leave_at(&file, &format!("x{}", "é".repeat(4096)));
        assert_eq!(fs::read_to_string(&file).unwrap().len(), 4095);
    }
}
