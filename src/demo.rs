//! `demo`: shows injector and agent on this machine, without a cluster.

use std::{process::ExitCode, time::Duration};

use crate::{args::DemoArgs, runtime};

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

/// The timeout of one step, all of which run on this machine.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the demonstration.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    runtime::run(chain::run(args))
}

/// Runs the agent or the application, if a demo started this process as one of them. Must be called
/// first.
pub(crate) fn instead() -> Option<ExitCode> {
    chain::instead()
}
