//! The whole demonstration: a ScaiVault, the injector, the agent as the process that the injected container is, and an
//! application that gets its files and the signal. Every effect is looked at, and one that is missing is an error.

use std::{
    env,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use rustix::process::{Signal as RawSignal, set_parent_process_death_signal};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::PATIENCE;
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

/// The base name of the agent's program: what is started under it is the agent.
const AGENT: &str = "scaivault-agent";
/// What the application's name begins with.
const APP_PREFIX: &str = "scaivault-demo-app-";

/// Shows it all, and leaves nothing behind, however it ends.
pub(super) async fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let mut interruption = Interruption::listen()?;
    let mut sandbox = Sandbox::new()?;
    let told = tokio::select! {
        told = story::tell(&mut sandbox, args) => told,
        interrupted = interruption.next() => Err(interrupted.into()),
    };
    if let Err(error) = &told
        && !output::is_closed_pipe(error)
        && let Some(log) = sandbox.last_log_lines()
    {
        // Nobody is left to hear that standard error is closed.
        let _ = writeln!(output::stderr(), "the end of the agent's log:\n{log}");
    }
    sandbox.remove().await?;
    told?;
    let mut out = output::stdout();
    writeln!(
        out,
        "{ADDED}done{ADDED:#}; next: {STRONG}scaivault-injector annotations{STRONG:#} for all that can be written,\n      \
         {STRONG}scaivault-injector check -f DIR{STRONG:#} for your own manifests"
    )?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The agent or the application, where this process was started under its name.
pub(super) fn instead() -> Option<ExitCode> {
    let mut arguments = env::args_os();
    let program = arguments.next()?;
    let name = Path::new(&program).file_name()?.to_str()?;
    if name != AGENT && !name.starts_with(APP_PREFIX) {
        return None;
    }
    // Whatever ends the demonstration, nothing of it stays. A refusal of the kernel leaves what there was without it.
    let _ = set_parent_process_death_signal(Some(RawSignal::KILL));
    if name == AGENT {
        return Some(scaivault_agent::run(arguments));
    }
    Some(
        app::run(arguments.next().unwrap_or_default().as_ref())
            .unwrap_or_else(|error| output::failure(&error)),
    )
}

/// What a person or the terminal sends to end the demonstration.
struct Interruption {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interruption {
    /// From here on these signals do not end the process by themselves.
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

/// Waits for what must happen.
async fn within<T>(what: &str, happens: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    match tokio::time::timeout(PATIENCE, happens).await {
        Ok(happened) => happened.with_context(|| format!("{what}: failed")),
        Err(_) => bail!("{what}: not within {} s", PATIENCE.as_secs()),
    }
}
