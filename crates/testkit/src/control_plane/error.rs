//! What goes wrong when a control plane is started.

use std::{io, path::PathBuf, time::Duration};

use scaivault_certs::IssueError;
use thiserror::Error;

use super::assets::ASSETS_VARIABLE;

/// Why there is no control plane, or why it does not answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlPlaneError {
    /// Nothing says where the programs are.
    #[error(
        "{ASSETS_VARIABLE} is not set; run the tests with `cargo xtask test`, or set it to what `cargo xtask assets` prints"
    )]
    NoAssets,
    /// A program is neither in the directory nor on the path.
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
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// No certificate.
    #[error("cannot make the control plane's certificates")]
    Certificate(#[from] IssueError),
    /// A program ended before it was ready.
    #[error("{program} ended before it was ready; the end of its log:\n{log}")]
    Ended {
        /// The program's name.
        program: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// A program runs but does not do what is waited for.
    #[error("{program} runs, but within {waited:?} there was no {what}; the end of its log:\n{log}")]
    NotReady {
        /// The program's name.
        program: String,
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// The last lines that the program wrote.
        log: String,
    },
    /// The kubeconfig is not one.
    #[error("cannot make a client from the control plane's kubeconfig")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server refuses a request, or it cannot be reached.
    #[error("cannot {what}: the API server did not answer as expected")]
    Api {
        /// What was tried.
        what: String,
        /// What the client said.
        source: Box<kube::Error>,
    },
}

impl ControlPlaneError {
    /// Turns an error of the system into one that says what was tried.
    pub(super) fn setup(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Setup { what, source }
    }

    /// Turns an error of the client into one that says what was tried.
    pub(super) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        |source| Self::Api { what, source: Box::new(source) }
    }

    /// Whether somebody else took the port between the moment it was chosen and the program's start.
    pub(super) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Ended { log, .. } if log.contains("address already in use"))
    }
}
