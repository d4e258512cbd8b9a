//! Stub.
use crate::args::DemoArgs;
use std::process::ExitCode;
/// Stub.
pub(crate) fn run(_args: &DemoArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("no demo yet")
}
