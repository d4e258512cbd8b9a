//! The built injector with a real control plane.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, ExitStatus},
    time::SystemTime,
};

use scaivault_certs::Authority;
use scaivault_testkit::control_plane::{Directory, Program};
use serde_json::Value;

use super::{TIMEOUT, eventually, ops, run, until_logged};

/// `scaivault-injector serve` on free ports. Killed on drop, and when the test is killed.
pub(crate) struct Injector {
    program: Program,
    /// The admission port.
    pub(crate) address: SocketAddr,
    /// The port of /readyz and /metrics.
    pub(crate) ops_address: SocketAddr,
    _directory: Directory,
}

impl Injector {
    /// Starts it with additional flags, and waits until it is ready.
    ///
    /// The kubeconfig determines its permissions; without one it uses no cluster.
    pub(crate) async fn start(
        kubeconfig: Option<&Path>,
        flags: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
    ) -> Self {
        let injector = Self::start_unready(kubeconfig, flags).await;
        eventually("/readyz", async || injector.is_ready().await.then_some(())).await;
        injector
    }

    /// Starts it and waits until it listens, but not until it is ready.
    pub(crate) async fn start_unready(
        kubeconfig: Option<&Path>,
        flags: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
    ) -> Self {
        let directory = Directory::new("scaivault-injector-test-").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"));
        command.args(["serve", "--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0"]);
        // Set by variables, so that flags take precedence.
        command.args(flags).env("LOG_FORMAT", "json").env("SCAIVAULT_INJECTOR_DRAIN_DELAY", "0s");
        if let Some(kubeconfig) = kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let mut program = Program::start("injector", &command, directory.path()).unwrap();
        let listening = eventually("the event `listening`", async || {
            assert!(program.ended().unwrap().is_none(), "the injector has ended:\n{}", program.log_tail());
            event(&program.log(), "listening")
        })
        .await;
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        let (address, ops_address) = (address("address"), address("ops_address"));
        Self { program, address, ops_address, _directory: directory }
    }

    /// Whether it reports to be ready.
    pub(crate) async fn is_ready(&self) -> bool {
        self.get("/readyz").await.starts_with("HTTP/1.1 200 ")
    }

    /// The value of a metric, with its labels as written: `name{a="b"}`; 0 if it is missing.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        ops::metric(self.ops_address, name).await
    }

    /// The number of its admissions, without those of policies. Policies are cluster-scoped, so
    /// every release also receives those of other tests.
    pub(crate) async fn admissions_without_policies(&self) -> u64 {
        let text = self.get("/metrics").await;
        let counters =
            text.lines().filter_map(|line| line.strip_prefix("scaivault_injector_admissions_total{"));
        let counters = counters.filter(|counter| !counter.contains("entry=\"policy\""));
        counters.map(|counter| counter.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// An answer of the ops port, with head and body.
    pub(crate) async fn get(&self, path: &str) -> String {
        ops::get(self.ops_address, path).await
    }

    /// The first event of the log with this message.
    pub(crate) fn event(&self, message: &str) -> Option<Value> {
        event(&self.program.log(), message)
    }

    /// The complete log.
    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// Waits for the first log line that contains `words`, and returns it.
    #[track_caller]
    pub(crate) fn until_logged(&self, words: &str) -> impl Future<Output = String> {
        until_logged(async || self.log(), words)
    }

    /// Sends SIGTERM, waits for the exit, and returns its status and the complete log. Drop it to
    /// send SIGKILL.
    pub(crate) async fn terminate(mut self) -> (ExitStatus, String) {
        let process_id = self.program.process_id().expect("it listens, so it has been started");
        run(Command::new("kill").args(["-TERM", &process_id]));
        let ended = eventually("the injector's end", async || self.program.ended().unwrap());
        (tokio::time::timeout(TIMEOUT, ended).await.unwrap(), self.program.log())
    }
}

fn event(log: &str, message: &str) -> Option<Value> {
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.into_iter().find(|event| event["message"] == message)
}

/// A directory for `--tls-dir` with a certificate for these names, and the CA certificate for the
/// API server, PEM.
pub(crate) fn tls_directory(names: &[&str]) -> (Directory, String) {
    let (now, lifetime) = (SystemTime::now(), std::time::Duration::from_hours(1));
    let authority = Authority::new("scaivault cluster tests", now, lifetime).unwrap();
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let leaf = authority.issue(&names, now, lifetime).unwrap();
    let directory = Directory::new("scaivault-injector-tls-").unwrap();
    directory.write("tls.crt", &leaf.certificate_pem()).unwrap();
    directory.write("tls.key", &leaf.key_pem()).unwrap();
    (directory, authority.certificate_pem().to_owned())
}
