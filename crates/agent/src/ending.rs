//! How a subcommand ends that does not do what it is for, and the signal that ends any.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{config::Problems, delivery::DeliveryError, exit::Exit, failure::Failures};

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
}

impl From<Problems> for Ending {
    fn from(problems: Problems) -> Self {
        Self { exit: Exit::Invalid, message: problems.to_string() }
    }
}

impl From<DeliveryError> for Ending {
    fn from(error: DeliveryError) -> Self {
        Self { exit: error.exit(), message: error.to_string() }
    }
}

impl From<Failures> for Ending {
    fn from(failures: Failures) -> Self {
        Self { exit: failures.exit(), message: failures.to_string() }
    }
}

/// The signal to end. The first process of a container ignores it where it has no handler.
pub(crate) fn end_signal() -> Result<Signal, Ending> {
    signal(SignalKind::terminate())
        .map_err(|error| Ending { exit: Exit::Failed, message: format!("cannot wait for SIGTERM: {error}") })
}
