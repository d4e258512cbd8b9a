//! The controller as a process.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// The polling interval.
const LOOK: Duration = Duration::from_millis(100);
/// How long a phase may take.
const PHASE: Duration = Duration::from_mins(20);

/// Waits.
pub(crate) async fn pause(duration: Duration) {
    let _ = timeout(duration, std::future::pending::<()>()).await;
}

/// Polls until there is a result.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            pause(LOOK).await;
        }
    };
    timeout(PHASE, looking).await.unwrap_or_else(|_| panic!("waited {PHASE:?} for {what}"))
}

/// The controller, which ends with the benchmark.
pub(crate) struct Restarter {
    process: Child,
    log: PathBuf,
}

impl Drop for Restarter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Restarter {
    /// Starts it for the cluster of a kubeconfig. Its log is a file in `directory`.
    pub(crate) fn start(program: &OsStr, kubeconfig: &Path, directory: &Path, flags: &[String]) -> Self {
        let log = directory.join("log");
        let mut command = Command::new(program);
        command.args(["restarter", "--ops-listen=127.0.0.1:0"]).args(flags);
        command.env("KUBECONFIG", kubeconfig).env("LOG_FORMAT", "json").stdin(Stdio::null());
        // As in the chart, whose default can be replaced, too.
        command
            .env("MIMALLOC_PURGE_DELAY", env::var("MIMALLOC_PURGE_DELAY").unwrap_or_else(|_| "0".to_owned()));
        command.stderr(File::create(&log).unwrap());
        Self { process: command.spawn().unwrap(), log }
    }

    /// A field of `/proc/PID/status`, in MiB.
    pub(crate) fn memory(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024.0
    }

    /// CPU seconds.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks / 100.0
    }

    /// The value of a metric without labels; 0 if it does not exist.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let log = fs::read_to_string(&self.log).unwrap();
        let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let Some(address) = events.find_map(|event| event["ops_address"].as_str().map(str::to_owned)) else {
            return 0.0;
        };
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}
