//! `demo`: what the injector and the agent do, shown on this machine without a cluster.

use std::{process::ExitCode, time::Duration};

use crate::args::DemoArgs;

mod additions;
#[cfg(all(feature = "demo", target_os = "linux"))]
mod chain;
#[cfg(not(all(feature = "demo", target_os = "linux")))]
#[path = "demo/injection_alone.rs"]
mod chain;
mod https;
mod injection;
mod narrator;
mod review;

/// How long one step may take; all of it happens on this machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the demonstration.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(chain::run(args))
}

/// What this process is in place of the injector, if a demonstration started it. Asked before anything else.
pub(crate) fn instead() -> Option<ExitCode> {
    chain::instead()
}
