//! The end of the agent: exit codes, which are those of ScaiVault's own command line, the
//! termination message, and signal handlers.

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
    atomic_writer::WriteError, environment::EnvironmentProblems, failure::Failures, state::StateError,
    sync_secret::SyncError,
};

/// The file from which the kubelet reads the termination message: the default of
/// `terminationMessagePath`.
const MESSAGE_FILE: &str = "/dev/termination-log";
/// The kubelet truncates longer messages.
const MESSAGE_MAX_BYTES: usize = 4096;

/// The exit code, which is shown in a pod's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Exit {
    Done = 0,
    /// Any other failure: ScaiVault cannot be reached, the volume is full.
    Failed = 1,
    /// ScaiVault rejects the login.
    Authentication = 2,
    /// The identity has no permission to read a secret.
    Denied = 3,
    /// A secret, a version, a field, an engine or a role does not exist.
    NotFound = 4,
    /// A variable is malformed, or a secret cannot be written in the requested format.
    Invalid = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a subcommand failed, with the fix.
#[derive(Debug, Error)]
pub(crate) enum Fatal {
    #[error(
        "expected one argument: {INIT_COMMAND}, {SIDECAR_COMMAND}, {WAIT_COMMAND}, \
         {HEALTHZ_COMMAND}, {SYNC_SECRET_COMMAND} or {VERIFY_COMMAND}, the last one with or \
         without pairs of files; everything else is set by environment variables"
    )]
    Command,
    #[error(transparent)]
    Environment(#[from] EnvironmentProblems),
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
    Volume(#[from] WriteError),
    #[error(transparent)]
    Fetch(#[from] Failures),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error("stopped by SIGTERM before all was fetched")]
    Stopped,
    #[error("the secrets were not fetched in time; see the log of the sidecar")]
    NotInTime,
    #[error("the secrets are not fetched yet")]
    NotYet,
    #[error("{wrong} of {compared} files differ or are missing; the lines above name them")]
    Different { wrong: usize, compared: usize },
    #[error("the system has no random numbers for the key of a comparison")]
    Random,
    #[error("the result of the comparison cannot be written: {0}")]
    Output(#[source] io::Error),
}

impl Fatal {
    /// The exit code of the process.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Command | Self::Environment(_) | Self::Client(_) => Exit::Invalid,
            Self::Fetch(failures) => failures.exit(),
            Self::Sync(error) => error.exit(),
            _ => Exit::Failed,
        }
    }

    /// Writes the message for `kubectl describe pod`. Called before slow steps such as revoking
    /// leases, because the kubelet may kill the process during them.
    pub(crate) fn leave(&self) {
        leave_message(&self.to_string());
    }
}

/// Writes a termination message. If the file does not exist, nothing is written, because nothing
/// would read it.
pub(crate) fn leave_message(message: &str) {
    leave_at(Path::new(MESSAGE_FILE), message);
}

fn leave_at(file: &Path, message: &str) {
    // Not created: outside a container it would be a stray file.
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(file) {
        let end = message.floor_char_boundary(MESSAGE_MAX_BYTES);
        let _ = file.write_all(&message.as_bytes()[..end]);
    }
}

/// SIGTERM: the pod ends. Without a handler, the first process of a container ignores it.
pub(crate) fn sigterm() -> Result<Signal, Fatal> {
    receive(SignalKind::terminate(), "SIGTERM")
}

/// SIGHUP: refresh now. From this call on it no longer ends the process, as it would by default.
pub(crate) fn refresh_signal() -> Result<Signal, Fatal> {
    receive(SignalKind::hangup(), "SIGHUP")
}

fn receive(kind: SignalKind, name: &'static str) -> Result<Signal, Fatal> {
    signal(kind).map_err(|error| Fatal::Signal(name, error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use scaivault_contract::names::FAILURE_EXIT_CODES;

    use super::*;

    /// The injector warns about rules in a Job's `podFailurePolicy` that match these codes.
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
    fn a_termination_message_is_replaced_and_truncated() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        leave_at(&file, "a message without a file");
        assert!(!file.exists());
        fs::write(&file, "an older and longer message").unwrap();
        leave_at(&file, "new");
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        leave_at(&file, &format!("x{}", "é".repeat(4096)));
        assert_eq!(fs::read_to_string(&file).unwrap().len(), 4095);
    }
}
