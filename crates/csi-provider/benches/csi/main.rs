//! The built provider as a process, with the development server over TLS on loopback, called through its socket as the
//! driver calls it: calls per second, their latency, and the provider's memory.
//!
//! ```text
//! cargo bench -p scaivault-csi-provider                              # 1.2 million calls, some minutes
//! cargo bench -p scaivault-csi-provider -- --calls 20000             # fewer
//! cargo bench -p scaivault-csi-provider -- --provider PATH/TO/BINARY # another build
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../../../agent/benches/agent/figures.rs"]
#[allow(dead_code, reason = "shared with the benchmark of the agent")]
mod figures;
#[path = "../../src/generated.rs"]
mod generated;
mod node;

use std::{
    error::Error,
    fs,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use figures::{Sample, mebibytes};
use generated::MountRequest;
use node::{Call, Node, PODS};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The calls under way at once. The driver calls for each volume on its own.
const AT_ONCE: usize = 8;
/// How many calls there are by default.
const CALLS: usize = 1_200_000;
/// How often the memory is read.
const ROWS: usize = 6;
/// The kubelet's first pause before it repeats a mount that has failed.
const KUBELET_PAUSE: Duration = Duration::from_millis(500);
/// How many calls another tenant makes at the same time as a hostile one.
const OTHER_CALLS: usize = 200;

fn main() -> ExitCode {
    match run(std::env::args().skip(1).filter(|arg| arg != "--bench")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> Result<()> {
    let mut provider = PathBuf::from(env!("CARGO_BIN_EXE_scaivault-csi-provider"));
    let mut calls = CALLS;
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} takes a value"));
        match arg.as_str() {
            "--provider" => provider = value()?.into(),
            "--calls" => calls = value()?.parse()?,
            other => return Err(format!("{other:?} is none of: --provider PATH, --calls NUMBER").into()),
        }
    }
    println!("The program: {} bytes.", fs::metadata(&provider)?.len());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        mounts(&Node::start(&provider).await?, calls).await?;
        hostile(&Node::start(&provider).await?).await
    })
}

/// The duration of mounts, and the provider's memory for them.
async fn mounts(node: &Node, calls: usize) -> Result<()> {
    println!("\n## Mounts, {AT_ONCE} at once\n");
    println!(
        "| calls | number | errors | per second | p50 ms | p99 ms | max ms |\n|---|---:|---:|---:|---:|---:|---:|"
    );
    let idle = node.memory()?;
    let own: Vec<_> =
        (0..PODS).map(|pod| node.request(pod, &format!("account-{pod}"))).collect::<Result<_>>()?;
    row("first mount of a service account: a login and two reads", &measure(node, &own, PODS).await?);
    let shared: Vec<_> = (0..PODS).map(|pod| node.request(PODS + pod, "web")).collect::<Result<_>>()?;
    row("first mount of a pod: a login", &measure(node, &shared, PODS).await?);
    let mounted = node.memory()?;
    let mut rows = vec![("idle".to_owned(), idle), (format!("with {} pods", 2 * PODS), mounted)];
    let mut all = Measurement::default();
    for part in 1..=ROWS {
        all.add(&measure(node, &shared, calls / ROWS).await?);
        rows.push((format!("after {} further calls", part * (calls / ROWS)), node.memory()?));
    }
    row("mounted volume: from memory", &all);
    println!("\nRequests to ScaiVault: {}", node.requests());
    println!("\n| memory, MiB | anonymous | resident | highest |\n|---|---:|---:|---:|");
    for (name, [anonymous, resident, highest]) in rows {
        println!("| {name} | {} | {} | {} |", mebibytes(anonymous), mebibytes(resident), mebibytes(highest));
    }
    Ok(())
}

/// The memory under one tenant's largest volumes, and how long another tenant's call takes then.
async fn hostile(node: &Node) -> Result<()> {
    println!("\n## With a hostile tenant\n");
    let other = vec![node.request(0, "web")?];
    measure(node, &other, 1).await?;
    let hostile = (0..10).map(|pod| node.hostile_request(pod)).collect::<Result<Vec<_>>>()?;
    let refused = Arc::new(AtomicUsize::new(0));
    let attackers: Vec<_> = (0..10 * node::CALLS_OF_HOSTILE_POD)
        .map(|call| {
            let (mut driver, request) = (node.driver(), hostile[call % hostile.len()].clone());
            let refused = Arc::clone(&refused);
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(KUBELET_PAUSE);
                // A call that takes longer is not made up for.
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    if driver.mount(request.clone()).await.is_err() {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let measured = measure(node, &other, OTHER_CALLS).await?;
    let probes = node.probe(20).await?;
    attackers.iter().for_each(tokio::task::JoinHandle::abort);
    println!(
        "| calls | number | errors | per second | p50 ms | p99 ms | max ms |\n|---|---:|---:|---:|---:|---:|---:|"
    );
    row("another namespace's volume", &measured);
    println!(
        "\nOf the tenant's calls {} failed. Slowest of 20 probes (/healthz): {:.1} ms.",
        refused.load(Ordering::Relaxed),
        probes.quantile(1.0).as_secs_f64() * 1e3
    );
    let [anonymous, resident, highest] = node.memory()?.map(mebibytes);
    println!("Memory, MiB: {anonymous} anonymous, {resident} resident, {highest} at most.");
    Ok(())
}

/// The results of calls.
#[derive(Default)]
struct Measurement {
    latencies: Sample,
    errors: usize,
    number: usize,
    time: Duration,
}

impl Measurement {
    fn add(&mut self, other: &Self) {
        self.latencies.extend(&other.latencies);
        self.errors += other.errors;
        self.number += other.number;
        self.time += other.time;
    }
}

/// Sends `number` calls, the requests in turn, some at once.
async fn measure(node: &Node, requests: &[MountRequest], number: usize) -> Result<Measurement> {
    let requests: Arc<[_]> = requests.into();
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let callers = (0..AT_ONCE).map(|_| {
        let (driver, requests, next) = (node.driver(), Arc::clone(&requests), Arc::clone(&next));
        tokio::spawn(call_until(driver, requests, next, number))
    });
    let mut measured = Measurement { number, ..Measurement::default() };
    for caller in callers.collect::<Vec<_>>() {
        let (latencies, errors) = caller.await?;
        measured.latencies.extend(&latencies);
        measured.errors += errors;
    }
    measured.time = began.elapsed();
    Ok(measured)
}

async fn call_until(
    mut driver: Call,
    requests: Arc<[MountRequest]>,
    next: Arc<AtomicUsize>,
    number: usize,
) -> (Sample, usize) {
    let (mut latencies, mut errors) = (Sample::default(), 0);
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= number {
            return (latencies, errors);
        }
        let began = Instant::now();
        match driver.mount(requests[index % requests.len()].clone()).await {
            Ok(response) if response.get_ref().files.len() == 2 => {}
            answer => {
                if errors == 0 {
                    println!("first error: {:?}", answer.err());
                }
                errors += 1;
            }
        }
        latencies.push(began.elapsed());
    }
}

fn row(name: &str, Measurement { latencies, errors, number, time }: &Measurement) {
    #[expect(clippy::cast_precision_loss)]
    let rate = *number as f64 / time.as_secs_f64();
    let cells = [0.5, 0.99, 1.0].map(|share| format!("{:.2}", latencies.quantile(share).as_secs_f64() * 1e3));
    println!("| {name} | {number} | {errors} | {rate:.0} | {} |", cells.join(" | "));
}
