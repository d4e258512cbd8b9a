//! The subcommands and their exit codes.

use std::{ffi::OsString, path::PathBuf, pin::Pin, process::ExitCode, time::Duration};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use scaivault_contract::{
    env::{SECRETS, WATCH_PATHS},
    names::{
        GATE_SPARE_SECONDS, HEALTHZ_COMMAND, INIT_COMMAND, SIDECAR_COMMAND, SYNC_SECRET_COMMAND,
        VERIFY_COMMAND, WAIT_COMMAND,
    },
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    config::{Config, Container, SyncConfig},
    delivery,
    environment::{Environment, EnvironmentProblems},
    exit::{Exit, Fatal, refresh_signal},
    init, sidecar, sync_secret, telemetry, verify,
};

/// The agent's subcommand.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    Init,
    Sidecar,
    Wait,
    Healthz,
    SyncSecret,
    /// Compares the files of this pod with ScaiVault.
    VerifyPod,
    /// Compares pairs of files, given one after the other.
    VerifyFiles(Vec<PathBuf>),
}

/// Runs the subcommand of the arguments. It must be the only user of the process, because it
/// installs the logger, the panic hook and signal handlers. `docs/agent.md` lists the exit codes.
///
/// `arguments` exclude the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Must be first: in a shared process namespace a process of the same user could otherwise read
    // the token through /proc. If the kernel rejects the call, the process is only as exposed as
    // without it.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let environment = Environment::from_process();
    let problems = telemetry::init(&environment);
    let command = command(arguments);
    // Hooks that run in the container of another process leave the termination message to that
    // process.
    let is_hook = matches!(command, Ok(Command::Wait | Command::Healthz | Command::VerifyPod));
    let ended = EnvironmentProblems::or(problems, ())
        .map_err(Fatal::from)
        .and(command)
        .and_then(|command| execute(&command, &environment));
    let exit = match ended {
        Ok(()) => Exit::Done,
        Err(ending) => {
            if !is_hook {
                ending.leave();
            }
            let exit = ending.exit();
            tracing::error!(exit_code = exit as u8, reason = %ending, "failed");
            exit
        }
    };
    telemetry::flush();
    exit.into()
}

fn command(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Fatal> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    if let [word, pairs @ ..] = arguments.as_slice()
        && word == VERIFY_COMMAND
        && pairs.len().is_multiple_of(2)
    {
        let pairs: Vec<PathBuf> = pairs.iter().map(PathBuf::from).collect();
        return Ok(if pairs.is_empty() { Command::VerifyPod } else { Command::VerifyFiles(pairs) });
    }
    match arguments.iter().map(|word| word.to_str().unwrap_or_default()).collect::<Vec<_>>().as_slice() {
        [INIT_COMMAND] => Ok(Command::Init),
        [SIDECAR_COMMAND] => Ok(Command::Sidecar),
        [WAIT_COMMAND] => Ok(Command::Wait),
        [HEALTHZ_COMMAND] => Ok(Command::Healthz),
        [SYNC_SECRET_COMMAND] => Ok(Command::SyncSecret),
        _ => Err(Fatal::Command),
    }
}

fn execute(command: &Command, environment: &Environment) -> Result<(), Fatal> {
    match command {
        Command::VerifyFiles(pairs) => verify::files(pairs),
        Command::SyncSecret => run_to_end(Box::pin(sync_secret::run(SyncConfig::read(environment)?))),
        Command::Init => run_to_end(Box::pin(init::run(Config::read(environment, Container::Init)?))),
        Command::Sidecar => {
            run_to_end(Box::pin(sidecar::run(Config::read(environment, Container::Sidecar)?)))
        }
        Command::Wait => {
            let config = Config::read(environment, Container::Sidecar)?;
            run_to_end(Box::pin(wait(&config)))
        }
        Command::Healthz => {
            let config = Config::read(environment, Container::Sidecar)?;
            run_to_end(Box::pin(async { healthz(&config) }))
        }
        Command::VerifyPod => {
            // The hook may run in either container.
            let is_init = environment.value(WATCH_PATHS).is_empty() && !environment.value(SECRETS).is_empty();
            let container = if is_init { Container::Init } else { Container::Sidecar };
            run_to_end(Box::pin(verify::pod(Config::read(environment, container)?)))
        }
    }
}

/// A single-threaded runtime is sufficient and small. The future is boxed, so that the runtime is
/// not instantiated for each subcommand.
fn run_to_end(subcommand: Pin<Box<dyn Future<Output = Result<(), Fatal>> + '_>>) -> Result<(), Fatal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Fatal::Runtime)?;
    let ended = runtime.block_on(async {
        // The sidecar refreshes on SIGHUP. The other subcommands have nothing to refresh, but
        // SIGHUP must not end them.
        let _refresh = refresh_signal()?;
        subcommand.await
    });
    // A hanging name lookup blocks a thread that cannot be stopped. The exit does not wait for it.
    runtime.shutdown_background();
    ended
}

/// The polling interval: a check takes a few system calls, and the interval delays the pod's start.
const INTERVAL: Duration = Duration::from_millis(20);

/// `wait`: returns when every file exists. It delays the pod's other containers.
async fn wait(config: &Config) -> Result<(), Fatal> {
    let writer = delivery::writer(config);
    let deadline = Instant::now() + config.fetch_timeout + Duration::from_secs(GATE_SPARE_SECONDS);
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if writer.is_ready(config.fail_open) {
            return Ok(());
        }
        if ticks.tick().await >= deadline {
            return Err(Fatal::NotInTime);
        }
    }
}

/// `healthz`: checks whether every file exists.
fn healthz(config: &Config) -> Result<(), Fatal> {
    let writer = delivery::writer(config);
    if writer.is_ready(config.fail_open) { Ok(()) } else { Err(Fatal::NotYet) }
}
