//! The restart controller as a process, with an API server in this benchmark: memory, requests at rest, and the time from a rotation to
//! the last patch.
//!
//! `RESTARTER_WORKLOADS` (10,000, each with two Secrets and two pods), `RESTARTER_ROTATED` (1,000 workloads whose secret is rotated),
//! `RESTARTER_CONCURRENCY` (100), `RESTARTER_REST` (60 seconds).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark says so by panicking")]
#![allow(clippy::print_stdout, reason = "a person reads the figures")]

mod api;

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use api::Api;
use serde_json::json;
use tokio::time::timeout;

/// How often it is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(100);

#[expect(
    clippy::disallowed_methods,
    reason = "sizes come in by the environment, as the test runner has no flags"
)]
fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

async fn pause(duration: Duration) {
    let _ = timeout(duration, std::future::pending::<()>()).await;
}

/// The controller, which ends with the benchmark.
struct Restarter(Child);

impl Drop for Restarter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Restarter {
    /// A field of `/proc/PID/status`, in MiB.
    fn memory(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024.0
    }

    /// CPU seconds.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks / 100.0
    }
}

#[tokio::main]
async fn main() {
    let workloads = size("RESTARTER_WORKLOADS", 10_000);
    let rotated = size("RESTARTER_ROTATED", 1_000).min(workloads);
    let concurrency = size("RESTARTER_CONCURRENCY", 100);
    let rest = u64::try_from(size("RESTARTER_REST", 60)).unwrap();
    let (api, address) = Api::start(workloads).await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": address}}], "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    });
    fs::write(&kubeconfig, config.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"));
    command.args(["restarter", "--ops-listen=127.0.0.1:0", "--native-secrets", "--clock-skew=0s"]);
    command.args(["--debounce=2s", "--jitter=0s", "--minimum-interval=0s", "--wave-pause=0s"]);
    command.arg(format!("--concurrency={concurrency}")).arg(format!("--namespace-concurrency={concurrency}"));
    command.env("KUBECONFIG", &kubeconfig).stdin(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let restarter = Restarter(command.spawn().unwrap());
    while api.records() < workloads {
        pause(LOOK).await;
    }
    println!("{workloads} workloads, {} Secrets, {} pods", 2 * workloads, 2 * workloads);
    println!("all recorded after {:.1} s, {:.1} s of CPU", began.elapsed().as_secs_f64(), restarter.cpu());
    println!("memory: {:.1} MiB, at most {:.1} MiB", restarter.memory("VmRSS"), restarter.memory("VmHWM"));
    println!("requests: {:?}", api.take_requests());

    // What was written answers for a moment.
    pause(Duration::from_secs(5)).await;
    api.take_requests();
    let cpu = restarter.cpu();
    pause(Duration::from_secs(rest)).await;
    println!("{rest} s at rest: requests {:?}, {:.2} s of CPU", api.take_requests(), restarter.cpu() - cpu);
    println!("memory at rest: {:.1} MiB", restarter.memory("VmRSS"));

    let began = Instant::now();
    for number in 0..rotated {
        api.rotate(number);
    }
    let last = loop {
        pause(LOOK).await;
        if let (Some(last), patches) = api.patches()
            && patches >= rotated
        {
            break last;
        }
    };
    println!(
        "{rotated} rotations: {} patches, the last after {:.1} s, at most {concurrency} at once",
        api.patches().1,
        last.duration_since(began).as_secs_f64()
    );
    pause(Duration::from_secs(5)).await;
    println!("patches in the end: {}; requests: {:?}", api.patches().1, api.take_requests());
    println!("memory: {:.1} MiB, at most {:.1} MiB", restarter.memory("VmRSS"), restarter.memory("VmHWM"));
}
