//! The restart controller as a process, with an API server and a ScaiVault in this benchmark: memory, requests at rest, and the time
//! from a rotation to the last patch. Each figure is compared with its limit, and the benchmark fails if one is exceeded.
//!
//! It runs twice, with 20,000 native Secrets and with 20,000 secrets of ScaiVault, of which each workload uses two.
//!
//! `RESTARTER_WORKLOADS` (10,000, each with two secrets and two pods), `RESTARTER_ROTATED` (1,000 workloads whose secret is rotated),
//! `RESTARTER_CONCURRENCY` (100), `RESTARTER_REST` (60 seconds), `RESTARTER_POLL` (360 seconds between two sweeps of ScaiVault),
//! `RESTARTER_SECRETS` (`native` or `scaivault`: only this run), `RESTARTER_PROGRAM` (another build).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark says so by panicking")]
#![allow(clippy::print_stdout, reason = "a person reads the figures")]
#![expect(
    clippy::disallowed_methods,
    reason = "sizes come in by the environment, as the test runner has no flags"
)]

mod api;
mod process;
mod report;
mod vault;

use std::{
    env,
    ffi::OsString,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use api::{Api, SECRETS};
use process::{Restarter, pause, until};
use report::Report;
use serde_json::json;
use vault::Vault;

/// The maximum resident memory for 10,000 workloads, in MiB.
const MEMORY: f64 = 64.0;
/// The maximum number of requests to the API server in a minute at rest. Kinds that are not installed are
/// polled.
const API_REQUESTS: f64 = 30.0;
/// The batches of versions that ScaiVault allows an identity in a minute.
const VAULT_REQUESTS: f64 = 100.0;
/// The intervals that the benchmark sets, in seconds.
const DEBOUNCE: f64 = 2.0;
/// The time from the start of a rollout to the start of its successor: two decisions, with a pause of a
/// second each.
const TURN: f64 = 2.5;

fn size(variable: &str, default: usize) -> usize {
    env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[expect(clippy::cast_precision_loss, reason = "sizes are small")]
fn float(size: usize) -> f64 {
    size as f64
}

/// Where the secrets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secrets {
    Native,
    ScaiVault,
}

/// One run.
struct Run {
    secrets: Secrets,
    workloads: usize,
    rotated: usize,
    concurrency: usize,
    rest: Duration,
    poll: Duration,
    program: OsString,
}

#[tokio::main]
async fn main() {
    let workloads = size("RESTARTER_WORKLOADS", 10_000);
    let only = env::var("RESTARTER_SECRETS").ok();
    let mut report = Report::default();
    for (name, secrets) in [("native", Secrets::Native), ("scaivault", Secrets::ScaiVault)] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let run = Run {
            secrets,
            workloads,
            rotated: size("RESTARTER_ROTATED", 1_000).min(workloads),
            concurrency: size("RESTARTER_CONCURRENCY", 100),
            rest: Duration::from_secs(size("RESTARTER_REST", 60).try_into().unwrap()),
            poll: Duration::from_secs(size("RESTARTER_POLL", 360).try_into().unwrap()),
            program: env::var_os("RESTARTER_PROGRAM")
                .unwrap_or_else(|| env!("CARGO_BIN_EXE_scaivault-injector").into()),
        };
        println!("\n{workloads} workloads, {} secrets ({name}), {} pods", SECRETS * workloads, 2 * workloads);
        run.measure(&mut report).await;
    }
    report.end();
}

impl Run {
    async fn measure(&self, report: &mut Report) {
        let (api, address) = Api::start(self.workloads, self.secrets == Secrets::Native).await;
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": address}}], "users": [{"name": "x", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        fs::write(&kubeconfig, config.to_string()).unwrap();
        let vault = match self.secrets {
            Secrets::Native => None,
            Secrets::ScaiVault => Some(Vault::start(SECRETS * self.workloads, directory.path()).await),
        };
        let mut flags = self.flags();
        flags.extend(vault.as_ref().map_or(vec!["--native-secrets".to_owned()], Vault::flags));
        let began = Instant::now();
        let restarter = Restarter::start(&self.program, &kubeconfig, directory.path(), &flags);

        until("records", async || (api.records() >= self.workloads).then_some(())).await;
        println!(
            "all recorded after {:.1} s, {:.1} s of CPU",
            began.elapsed().as_secs_f64(),
            restarter.cpu()
        );
        if vault.is_some() {
            until("the versions", async || (restarter.metric(COMPLETE).await > 0.0).then_some(())).await;
            println!("all versions read after {:.1} s", began.elapsed().as_secs_f64());
        }
        report.at_most("memory at the start, highest", restarter.memory("VmHWM"), MEMORY, "MiB");
        self.rest(&api, vault.as_ref(), &restarter, report).await;
        self.rotate(&api, vault.as_ref(), report).await;
        report.at_most("memory after it", restarter.memory("VmRSS"), MEMORY, "MiB");
        report.at_most("memory, highest", restarter.memory("VmHWM"), MEMORY, "MiB");
        if let Some(vault) = vault {
            self.sweep(&vault, &restarter, report).await;
        }
        println!("CPU: {:.1} s in {:.0} s", restarter.cpu(), began.elapsed().as_secs_f64());
    }

    fn flags(&self) -> Vec<String> {
        let Self { concurrency, .. } = self;
        let fixed = ["--clock-skew=0s", "--jitter=0s", "--minimum-interval=0s", "--wave-pause=0s"];
        let mut flags = fixed.map(str::to_owned).to_vec();
        flags.push(format!("--debounce={DEBOUNCE:.0}s"));
        flags.push(format!("--concurrency={concurrency}"));
        flags.push(format!("--namespace-concurrency={concurrency}"));
        flags.push(format!("--poll-interval={}s", self.poll.as_secs()));
        flags
    }

    /// A period without changes.
    async fn rest(&self, api: &Api, vault: Option<&Vault>, restarter: &Restarter, report: &mut Report) {
        // Writes are visible for a moment.
        pause(Duration::from_secs(15)).await;
        api.take_requests();
        let (cpu, before) = (restarter.cpu(), vault.map(Vault::requests));
        pause(self.rest).await;
        let minutes = self.rest.as_secs_f64() / 60.0;
        let requests = api.take_requests();
        println!(
            "at rest: requests {requests:?}, {:.2} s of CPU a minute",
            (restarter.cpu() - cpu) / minutes
        );
        let count: usize = requests.values().sum();
        report.at_most("requests to the API server", float(count) / minutes, API_REQUESTS, "a minute");
        if let (Some(vault), Some(before)) = (vault, before) {
            let after = vault.requests();
            let count = |route: &str| float(after[route] - before[route]) / minutes;
            report.at_most("batches of versions", count("versions"), VAULT_REQUESTS, "a minute");
            println!("polls for events: {:.1} a minute; others: {:.1}", count("polls"), count("others"));
        }
        let parts = ["RssAnon", "RssFile"].map(|part| restarter.memory(part));
        println!("memory at rest: {:.1} MiB anonymous, {:.1} MiB pages of the program", parts[0], parts[1]);
        report.at_most("memory at rest", restarter.memory("VmRSS"), MEMORY, "MiB");
    }

    /// Rotates a secret of many workloads at once.
    async fn rotate(&self, api: &Arc<Api>, vault: Option<&Vault>, report: &mut Report) {
        let Self { rotated, concurrency, .. } = *self;
        let began = Instant::now();
        for number in 0..rotated {
            match vault {
                Some(vault) => vault.rotate(SECRETS * number),
                None => api.rotate(number),
            }
        }
        let last = until("the last patch", async || {
            let (last, patches) = api.patches();
            last.filter(|_| patches >= rotated)
        })
        .await;
        let turns = float(rotated.div_ceil(concurrency));
        // Each call looks up 100 secrets, once a second.
        let look_up = if vault.is_some() { float(rotated.div_ceil(100)) + 30.0 } else { 0.0 };
        let limit = DEBOUNCE + TURN * turns + look_up + 5.0;
        let what = format!("{rotated} rotations, {concurrency} restarts at once: last patch");
        report.at_most(&what, last.duration_since(began).as_secs_f64(), limit, "s");
        pause(Duration::from_secs(10)).await;
        let patches = api.patches().1;
        assert_eq!(patches, rotated, "each workload is restarted once");
        println!("patches: {patches}; requests: {:?}", api.take_requests());
    }

    /// A complete round over all secrets.
    async fn sweep(&self, vault: &Vault, restarter: &Restarter, report: &mut Report) {
        let complete = restarter.metric(COMPLETE).await;
        let calls = vault.requests()["versions"];
        until("a sweep", async || (vault.requests()["versions"] > calls).then_some(())).await;
        let began = Instant::now();
        until("its end", async || (restarter.metric(COMPLETE).await > complete).then_some(())).await;
        let calls = vault.requests()["versions"] - calls;
        println!("sweep: {calls} calls");
        let limit = self.poll.as_secs_f64().max(float(calls) * 60.0 / VAULT_REQUESTS) * 1.1;
        report.at_most("sweep", began.elapsed().as_secs_f64(), limit, "s");
    }
}

/// When the versions of all secrets of ScaiVault were read last.
const COMPLETE: &str = "scaivault_restarter_vault_complete_timestamp_seconds";
