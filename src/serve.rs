//! Stub.

use std::net::SocketAddr;

use anyhow::bail;
use scaivault_inject::{KubeVersion, Settings};

/// Stub.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServeArgs {}

/// Stub.
pub(crate) fn run(_args: &ServeArgs) -> anyhow::Result<()> {
    bail!("serve is not built")
}

/// Stub.
pub(crate) struct InProcess {
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: String,
}

#[expect(clippy::unused_async, reason = "the signature of what takes its place")]
impl InProcess {
    /// Stub.
    pub(crate) async fn start(_settings: Settings, _kube_version: KubeVersion) -> anyhow::Result<Self> {
        bail!("serve is not built")
    }

    /// Stub.
    pub(crate) async fn stop(self) {}
}
