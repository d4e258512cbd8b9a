//! The child processes of the demo: the agent and the application, both of which run this program.
//! The name under which it is started selects the role: `scaivault-agent`, or the name of the
//! application. The name is checked before the command line.

use std::{
    env,
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::{app::Report, container::Container, within};

/// The running processes, killed on drop.
#[derive(Default)]
pub(super) struct Processes {
    /// The sidecar.
    pub(super) agent: Option<Agent>,
    /// The application.
    pub(super) app: Option<App>,
}

impl Processes {
    /// Kills the running processes and waits for their exit.
    pub(super) async fn kill(self) {
        let Self { agent, app } = self;
        for mut child in agent.map(|agent| agent.child).into_iter().chain(app.map(|app| app.child)) {
            // It fails only if the process has already exited.
            let _ = child.kill().await;
        }
    }
}

/// The running agent.
pub(super) struct Agent {
    child: Child,
    container: Container,
    log: PathBuf,
}

impl Agent {
    /// Starts the container's program with only the container's environment.
    pub(super) fn start(container: Container, log: PathBuf) -> anyhow::Result<Self> {
        let child = agent(&container.program, &container, &log)?.spawn().context("cannot start the agent")?;
        Ok(Self { child, container, log })
    }

    /// Waits until the container's `postStart` hook returns.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        let mut gate = agent(&self.container.post_start, &self.container, &self.log)?;
        let opened = async {
            tokio::select! {
                status = gate.status() => expect_success(status?),
                status = self.child.wait() => bail!("the agent ended too early, {}", status?),
            }
        };
        within("the agent's gate", opened).await
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Terminates it as a kubelet does.
    pub(super) async fn terminate(&mut self) -> anyhow::Result<()> {
        terminate(&self.child)?;
        let ended = async { expect_success(self.child.wait().await?) };
        within("the agent's end", ended).await
    }
}

/// The running application.
pub(super) struct App {
    child: Child,
    reports: Lines<BufReader<ChildStdout>>,
}

impl App {
    /// Starts it under a name, with the file that it reads.
    pub(super) fn start(name: &str, file: &Path) -> anyhow::Result<Self> {
        let mut child = this_program(name)?
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the application")?;
        let stdout = child.stdout.take().context("the application has no pipe")?;
        Ok(Self { child, reports: BufReader::new(stdout).lines() })
    }

    /// Its next report.
    pub(super) async fn report(&mut self) -> anyhow::Result<Report> {
        let line = self.reports.next_line().await?.context("the application has ended")?;
        Ok(serde_json::from_str(&line)?)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Terminates it as a kubelet does, and returns the number of unread reports.
    pub(super) async fn terminate(&mut self) -> anyhow::Result<usize> {
        terminate(&self.child)?;
        let ended = async {
            let mut rest = 0;
            while self.reports.next_line().await?.is_some() {
                rest += 1;
            }
            self.child.wait().await?;
            Ok(rest)
        };
        within("the application's end", ended).await
    }
}

/// A program of the agent's container.
fn agent(words: &[String], container: &Container, log: &Path) -> anyhow::Result<Command> {
    let (program, arguments) = words.split_first().context("the container names no program")?;
    let log = File::options().create(true).append(true).open(log).context("cannot open the agent's log")?;
    let mut command = this_program(program)?;
    command
        .args(arguments)
        .env_clear()
        .envs(container.variables.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::null())
        .stderr(log);
    Ok(command)
}

/// This program under another name, which selects its role. It runs in its own process group, so
/// that a signal from the terminal only reaches the demo, which then stops its children in order.
fn this_program(name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(env::current_exe().context("cannot find this program")?);
    command.arg0(name).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    Ok(command)
}

fn terminate(child: &Child) -> anyhow::Result<()> {
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    kill_process(pid.context("it has ended too early")?, Signal::TERM)?;
    Ok(())
}

fn expect_success(status: ExitStatus) -> anyhow::Result<()> {
    if !status.success() {
        bail!("it ended with {status}");
    }
    Ok(())
}
