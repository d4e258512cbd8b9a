//! Errors of a control plane.

use std::{io, path::PathBuf, time::Duration};

use scaivault_certs::IssueError;
use thiserror::Error;

use super::assets::ASSETS_VARIABLE;

/// Why a control plane could not be started, or does not answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlPlaneError {
    /// The location of the programs is not configured.
    #[error(
        "{ASSETS_VARIABLE} is not set; run the tests with `cargo xtask test`, or set it to what `cargo xtask assets` prints"
    )]
    NoAssets,
    /// A program is neither in the directory nor on the `PATH`.
    #[error("no {program} in {} (of {ASSETS_VARIABLE}) nor on the PATH; `cargo xtask assets` builds it", directory.display())]
    NoProgram {
        /// The program's name.
        program: String,
        /// The directory.
        directory: PathBuf,
    },
    /// A file of the control plane cannot be written, or no port is free.
    #[error("cannot {what}; the directory for temporary files has to be writable")]
    Setup {
        /// The failed action.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// No certificate could be issued.
    #[error("cannot make the control plane's certificates")]
    Certificate(#[from] IssueError),
    /// A program exited before it was ready.
    #[error("{program} ended before it was ready; the end of its log:\n{log}")]
    Ended {
        /// The program's name.
        program: String,
        /// The end of its log.
        log: String,
    },
    /// A program runs, but an expected condition did not occur.
    #[error("{program} runs, but within {waited:?} there was no {what}; the end of its log:\n{log}")]
    NotReady {
        /// The program's name.
        program: String,
        /// The condition.
        what: String,
        /// The timeout.
        waited: Duration,
        /// The end of its log.
        log: String,
    },
    /// The kubeconfig is invalid.
    #[error("cannot make a client from the control plane's kubeconfig")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server rejects a request, or cannot be reached.
    #[error("cannot {what}: the API server did not answer as expected")]
    Api {
        /// The failed action.
        what: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
}

impl ControlPlaneError {
    /// Converts an error of the system to one with the failed action.
    pub(super) fn setup(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Setup { what, source }
    }

    /// Converts an error of the client to one with the failed action.
    pub(super) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        |source| Self::Api { what, source: Box::new(source) }
    }

    /// Whether another process took the port between its selection and the program's start.
    pub(super) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Ended { log, .. } if log.contains("address already in use"))
    }
}
