//! Stub.

/// Stub.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LogArgs {}

/// Stub.
#[expect(clippy::unnecessary_wraps, reason = "the signature of what takes its place")]
pub(crate) fn init(_args: &LogArgs) -> anyhow::Result<()> {
    Ok(())
}
