//! How the agent ends: its exit codes, which are those of ScaiVault's own command line, the message that it leaves, and the
//! signals that it obeys.

use std::{fs::OpenOptions, io::Write as _, path::Path, process::ExitCode};

use scaivault_client::SetupError;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{config::Problems, failure::Failures, sink::SinkError, state::StateError};

/// Where the kubelet reads the termination message: the default of `terminationMessagePath`.
const MESSAGE_FILE: &str = "/dev/termination-log";
/// The kubelet cuts what is longer.
const MESSAGE_MAX_BYTES: usize = 4096;

/// Why the agent ends, as a number that a pod's status shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Exit {
    /// All was done.
    Done,
    /// Anything that is none of the others: ScaiVault cannot be reached, the volume is full.
    Failed,
    /// ScaiVault does not accept the login.
    Authentication,
    /// The identity may not read a secret.
    Denied,
    /// A secret, a version, a field, an engine or a role is not there.
    NotFound,
    /// A variable is malformed, or a secret cannot be written as it is asked for.
    Invalid,
}

impl Exit {
    /// The number.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Authentication => 2,
            Self::Denied => 3,
            Self::NotFound => 4,
            Self::Invalid => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// Why a subcommand did not do what it is for.
#[derive(Debug)]
pub(crate) struct Ending {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What a person reads, with the cure.
    pub(crate) message: String,
}

impl Ending {
    /// Stopped before its files were there.
    pub(crate) fn stopped() -> Self {
        Self { exit: Exit::Failed, message: "stopped by SIGTERM before all was fetched".to_owned() }
    }

    /// Leaves the message for `kubectl describe pod`. Called before anything that takes time, such as revoking leases: the
    /// kubelet may kill the process meanwhile.
    pub(crate) fn leave(&self) {
        leave_message(&self.message);
    }
}

impl From<Problems> for Ending {
    fn from(problems: Problems) -> Self {
        Self { exit: Exit::Invalid, message: problems.to_string() }
    }
}

impl From<SetupError> for Ending {
    fn from(error: SetupError) -> Self {
        Self { exit: Exit::Invalid, message: error.to_string() }
    }
}

impl From<StateError> for Ending {
    fn from(error: StateError) -> Self {
        Self { exit: Exit::Failed, message: error.to_string() }
    }
}

impl From<SinkError> for Ending {
    fn from(error: SinkError) -> Self {
        Self { exit: Exit::Failed, message: error.to_string() }
    }
}

impl From<Failures> for Ending {
    fn from(failures: Failures) -> Self {
        Self { exit: failures.exit(), message: failures.to_string() }
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

fn receive(kind: SignalKind, name: &str) -> Result<Signal, Ending> {
    signal(kind)
        .map_err(|error| Ending { exit: Exit::Failed, message: format!("cannot wait for {name}: {error}") })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

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
