//! Stub.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::bail;
use scaivault_inject::{KubeVersion, Settings};

/// Stub.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {}

/// Stub.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    bail!("serve is not built")
}

/// Stub.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: String,
}

impl Running {
    /// Stub.
    pub(crate) async fn shutdown(self) {}
}

/// Stub.
#[expect(clippy::unused_async, reason = "the signature of what takes its place")]
pub(crate) async fn start_in_process(_settings: Settings, _version: KubeVersion) -> anyhow::Result<Running> {
    bail!("serve is not built")
}
