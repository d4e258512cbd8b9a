//! The maximum cost of a review: CPU time by size for reviews built to be expensive, for random
//! reviews and for the fuzz corpora. Fails if a review costs more than its size allows: 5 ms of CPU
//! at 256 KiB, 100 ms at 7 MiB.
//!
//! ```text
//! cargo bench -p scaivault-webhook --bench cost                   # every shape, 10,000 random reviews, all corpora
//! cargo bench -p scaivault-webhook --bench cost -- --random 500   # fewer random ones
//! ```

use std::{
    collections::BTreeMap, fs, hint::black_box, path::Path, process::ExitCode, sync::Arc, time::Duration,
};

use scaivault_inject::{KubeVersion, Settings};
use scaivault_testkit::{
    SplitMix,
    hostile::{SHAPES, random_review},
};
use scaivault_webhook::{AdmissionContext, Endpoint, NoCluster, review_to_response};

const KIB: usize = 1024;
/// The longest body that the server reads.
const LONGEST: usize = 7 * KIB * KIB;
const SIZES: [usize; 6] = [4 * KIB, 32 * KIB, 256 * KIB, KIB * KIB, 3 * KIB * KIB, LONGEST - 4 * KIB];
/// The minimum of this many runs is taken as the cost, because everything else only adds to it.
const RUNS: usize = 3;
const RANDOM: usize = 10_000;

/// The cost of one review.
#[derive(Clone, Debug)]
struct Cost {
    name: String,
    bytes: usize,
    cpu: Duration,
}

impl Cost {
    fn is_allowed(&self) -> bool {
        self.cpu <= allowed(self.bytes)
    }
}

/// The limit for a review of this size: 20 µs per KiB up to 256 KiB, then linear up to 100 ms at
/// 7 MiB. It is at least 2 ms, because the answer to a small review can be much longer.
fn allowed(bytes: usize) -> Duration {
    let line = if bytes <= 256 * KIB {
        5_000 * bytes / (256 * KIB)
    } else {
        5_000 + 95_000 * (bytes - 256 * KIB) / (LONGEST - 256 * KIB)
    };
    Duration::from_micros(line.max(2_000) as u64)
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for a person")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let random = match &args[..] {
        [flag, count] if flag == "--random" => count.parse().unwrap_or(RANDOM),
        _ => RANDOM,
    };
    let context = AdmissionContext::new(Settings::default(), KubeVersion::FILE_KEY_REF, Arc::new(NoCluster));
    let mut costs = Vec::new();
    println!("| shape | {} |", SIZES.map(|size| format!("{} KiB", size / KIB)).join(" | "));
    println!("|---|{}", "---:|".repeat(SIZES.len()));
    for (name, shape) in SHAPES {
        let row = SIZES.map(|size| {
            let (review, path) = shape(size).review();
            let worst = cost(name, path, review.as_bytes(), &context);
            let shown = format!("{:.2}", worst.cpu.as_secs_f64() * 1e3);
            costs.push(worst);
            shown
        });
        println!("| {name} | {} |", row.join(" | "));
    }
    let mut numbers = SplitMix::new(1);
    for n in 0..random {
        let (review, path) = random_review(&mut numbers, LONGEST);
        costs.push(cost(&format!("random {n}"), path, review.as_bytes(), &context));
    }
    for (name, bytes) in corpora() {
        costs.push(cost(&name, "/mutate", &bytes, &context));
    }
    report(&costs);
    let beyond: Vec<&Cost> = costs.iter().filter(|cost| !cost.is_allowed()).collect();
    for Cost { name, bytes, cpu } in &beyond {
        eprintln!("{name}: {bytes} bytes cost {cpu:?}, and {:?} are allowed", allowed(*bytes));
    }
    if beyond.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// By size: count, median, maximum, and the maximum relative to the limit.
#[expect(clippy::print_stdout, reason = "a report for a person")]
fn report(costs: &[Cost]) {
    let mut groups: BTreeMap<u32, Vec<&Cost>> = BTreeMap::new();
    for cost in costs {
        groups.entry(cost.bytes.max(KIB).ilog2()).or_default().push(cost);
    }
    println!("\n| bytes up to | reviews | median, ms | worst, ms | which |\n|---:|---:|---:|---:|---|");
    for (power, mut group) in groups {
        group.sort_by_key(|cost| cost.cpu);
        let millis = |cost: &Cost| cost.cpu.as_secs_f64() * 1e3;
        let (median, worst) = (group[group.len() / 2], group[group.len() - 1]);
        println!(
            "| {} KiB | {} | {:.3} | {:.3} | {} |",
            (2_usize << power) / KIB,
            group.len(),
            millis(median),
            millis(worst),
            worst.name
        );
    }
}

/// The cost at the most expensive endpoint.
fn cost(name: &str, path: &str, review: &[u8], context: &AdmissionContext) -> Cost {
    let entries: Vec<Endpoint> =
        Endpoint::ALL.into_iter().filter(|entry| path != "/mutate" || *entry == Endpoint::Mutate).collect();
    let run = |entry| {
        let once = || {
            let started = cpu_time();
            black_box(review_to_response(entry, black_box(review), context));
            cpu_time().saturating_sub(started)
        };
        (0..RUNS).map(|_| once()).min().unwrap_or_default()
    };
    let cpu = entries.into_iter().map(run).max().unwrap_or_default();
    Cost { name: name.to_owned(), bytes: review.len(), cpu }
}

/// The CPU time of this thread. The kernel updates its accounting when the thread yields.
fn cpu_time() -> Duration {
    std::thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel accounts for threads");
    let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the first number is the time on a CPU"))
}

/// The corpora found by fuzzing so far with their seeds, and the captured reviews.
fn corpora() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for directory in ["fuzz/corpus/review", "fuzz/corpus/cost", "fuzz/seeds/review", "tests/captures"] {
        let Ok(entries) = fs::read_dir(root.join(directory)) else { continue };
        for entry in entries.flatten() {
            if let Ok(bytes) = fs::read(entry.path()) {
                found.push((format!("{directory}/{}", entry.file_name().to_string_lossy()), bytes));
            }
        }
    }
    found
}
