//! The complete demo: a ScaiVault, the injector, the agent as the process of the injected
//! container, and an application that gets its files and the signal. Each effect is checked, and a
//! missing one is an error.

use std::{
    env,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use rustix::process::{Signal as RawSignal, set_parent_process_death_signal};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::TIMEOUT;
use crate::{
    args::DemoArgs,
    output::{self, ADDED, STRONG},
};
use sandbox::Sandbox;

mod app;
mod container;
mod processes;
mod sandbox;
mod story;
mod vault;

/// The base name of the agent's program: a process started under this name is the agent.
const AGENT: &str = "scaivault-agent";
/// The prefix of the application's name.
const APP_PREFIX: &str = "scaivault-demo-app-";

/// Runs the demo and cleans up in every case.
pub(super) async fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let mut interruption = Interruption::listen()?;
    let mut sandbox = Sandbox::new()?;
    let outcome = tokio::select! {
        outcome = story::show(&mut sandbox, args) => outcome,
        interrupted = interruption.next() => Err(interrupted.into()),
    };
    if let Err(error) = &outcome
        && !output::is_closed_pipe(error)
        && let Some(log) = sandbox.last_log_lines()
    {
        // If standard error is closed, the error cannot be reported.
        let _ = writeln!(output::stderr(), "the end of the agent's log:\n{log}");
    }
    sandbox.remove().await?;
    outcome?;
    let mut out = output::stdout();
    writeln!(
        out,
        "{ADDED}done{ADDED:#}; next: {STRONG}scaivault-injector annotations{STRONG:#} lists all annotations,\n      \
         {STRONG}scaivault-injector check -f DIR{STRONG:#} for your own manifests"
    )?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the agent or the application, if this process was started under its name.
pub(super) fn instead() -> Option<ExitCode> {
    let mut arguments = env::args_os();
    let program = arguments.next()?;
    let name = Path::new(&program).file_name()?.to_str()?;
    if name != AGENT && !name.starts_with(APP_PREFIX) {
        return None;
    }
    // The process must not outlive the demo. If the kernel rejects the call, only that protection
    // is missing.
    let _ = set_parent_process_death_signal(Some(RawSignal::KILL));
    if name == AGENT {
        return Some(scaivault_agent::run(arguments));
    }
    Some(
        app::run(arguments.next().unwrap_or_default().as_ref())
            .unwrap_or_else(|error| output::failure(&error)),
    )
}

/// The signals by which a user or the terminal ends the demo.
struct Interruption {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interruption {
    /// From here on, these signals no longer end the process by default.
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> io::Error {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
        io::Error::new(io::ErrorKind::Interrupted, "interrupted; what was started has been ended")
    }
}

/// Waits for an event, with the step timeout.
async fn within<T>(what: &str, happens: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    match tokio::time::timeout(TIMEOUT, happens).await {
        Ok(happened) => happened.with_context(|| format!("{what}: failed")),
        Err(_) => bail!("{what}: not within {} s", TIMEOUT.as_secs()),
    }
}
