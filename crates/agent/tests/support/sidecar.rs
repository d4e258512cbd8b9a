//! A sidecar whose log is read while it runs. The log is a file, which cannot block like a full
//! pipe.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
    thread::{panicking, yield_now},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{Pod, RunResult, TIMEOUT, until};

/// A running sidecar. Killed on drop.
pub(crate) struct Sidecar {
    child: Child,
    log: PathBuf,
}

impl Sidecar {
    pub(crate) fn start(pod: &Pod, variables: &[(&str, &str)]) -> Self {
        Self::run(pod, &mut pod.agent("sidecar", variables))
    }

    /// Starts a command that is a sidecar or becomes one.
    pub(crate) fn run(pod: &Pod, command: &mut Command) -> Self {
        let log = pod.path("log");
        let stderr = fs::File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        Self { child, log }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().unwrap().try_into().unwrap()
    }

    /// The number of log lines that contain this text.
    pub(crate) fn said(&self, text: &str) -> usize {
        log(&self.log).lines().filter(|line| line.contains(text)).count()
    }

    /// Waits for the first line that contains this text, and returns its fields.
    pub(crate) async fn line(&self, text: &str) -> Value {
        // A line that is still being written is ignored.
        let whole = || {
            let log = log(&self.log);
            let line = log.split_inclusive('\n').find(|line| line.contains(text))?;
            line.ends_with('\n').then(|| serde_json::from_str(line).unwrap())
        };
        until(|| whole().is_some()).await;
        whole().unwrap()
    }

    /// Sends SIGKILL after this time.
    pub(crate) async fn kill_after(mut self, life: Duration) {
        if let Ok(ended) = timeout(life, self.child.wait()).await {
            panic!("it ended by itself, {}: {}", ended.unwrap(), log(&self.log));
        }
        self.child.kill().await.unwrap();
    }

    /// Sends SIGKILL as soon as a condition is true.
    pub(crate) async fn kill_when(mut self, is_so: impl Fn() -> bool + Send + 'static) {
        let pid = Pid::from_raw(self.pid()).unwrap();
        // In a dedicated thread, because the condition may only hold for a short time.
        let watch = move || {
            let deadline = Instant::now() + TIMEOUT;
            while !is_so() {
                assert!(Instant::now() < deadline, "it takes too long");
                // The observed process may need this core.
                yield_now();
            }
            kill_process(pid, Signal::KILL).unwrap();
        };
        tokio::task::spawn_blocking(watch).await.unwrap();
        self.child.wait().await.unwrap();
    }

    /// Sends SIGTERM and waits for the exit.
    pub(crate) async fn end(self) -> RunResult {
        self.end_within(TIMEOUT).await
    }

    /// Sends SIGTERM; it has to exit within `limit`.
    pub(crate) async fn end_within(mut self, limit: Duration) -> RunResult {
        kill_process(Pid::from_raw(self.pid()).unwrap(), Signal::TERM).unwrap();
        let Ok(ended) = timeout(limit, self.child.wait()).await else {
            panic!("it has not ended within {limit:?}: {}", log(&self.log));
        };
        RunResult::new(ended.unwrap().code(), log(&self.log))
    }
}

/// Prints the agent's log if the test fails.
impl Drop for Sidecar {
    fn drop(&mut self) {
        if panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            // A failed write cannot be reported.
            let _ = io::stderr().write_all(format!("the log of the agent:\n{log}").as_bytes());
        }
    }
}

fn log(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}
