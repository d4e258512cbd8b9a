//! The server as a process: CPU time per request compared with a server of the same stack that
//! sends a constant answer, reviews per second on one core, latencies, and memory after a million
//! reviews.
//!
//! The server runs on core 0, the load on core 1 (`taskset` of util-linux). The two servers are
//! measured alternately in one run and compared pair by pair, so that a drift of the machine's
//! speed does not favour one of them.
//!
//! ```text
//! cargo bench --bench serve                         # all of it, some minutes
//! cargo bench --bench serve -- --reviews 100000     # fewer reviews for the memory figure
//! cargo bench --bench serve -- --hostile            # an ordinary client with 64 hostile ones
//! ```

mod client;
mod constant;
mod hostile;
mod process;

use std::{error::Error, io::Write as _, process::ExitCode};

use client::{Load, Target};
use mimalloc::MiMalloc;
use process::Server;

/// The injector's allocator, so that the constant server uses it too.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A review of about 4 KB as the API server sent it.
const REVIEW: &str = include_str!("../../tests/captures/0005-Pod-CREATE-multi-annotated.json");
/// The number of keep-alive connections; an API server has a few.
const CONNECTIONS: usize = 4;
const LOAD_CORE: usize = 1;
/// The number of measurements of each server.
const PAIRS: usize = 11;
/// The number of requests of one measurement.
const TURN: usize = 20_000;
/// The number of reviews before the memory figure.
const REVIEWS: usize = 1_000_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let done = match args.first().map(String::as_str) {
        Some(constant::MODE) => constant::serve(&args[1..]),
        Some(hostile::MODE) => hostile::attack(&args[1..]),
        Some(hostile::ONLY) => attacked(),
        Some(process::PINNED) => measure(&args[1..]),
        // Not pinned to one core, so that the hostile clients can use the rest of both.
        _ => process::on_core(LOAD_CORE, &args).and_then(|()| attacked()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs only the measurement with hostile clients.
fn attacked() -> Result<()> {
    hostile::measure(&mut std::io::stdout().lock(), tempfile::tempdir()?.path())
}

fn measure(args: &[String]) -> Result<()> {
    let reviews = match args {
        [] => REVIEWS,
        [flag, count] if flag == "--reviews" => count.parse()?,
        _ => return Err("usage: [--reviews COUNT]".into()),
    };
    let directory = tempfile::tempdir()?;
    let injector = Server::injector(directory.path(), "info")?;
    let quiet = Server::injector(directory.path(), "warn")?;
    let first = Load::new(&Target::new(&injector)?, REVIEW, 1)?.run(1)?;
    let constant = Server::constant(directory.path(), &first.body)?;
    let fresh = injector.resident_kib()?;

    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "review of {} bytes, answer of {} bytes, {CONNECTIONS} connections",
        REVIEW.len(),
        first.body.len()
    )?;
    writeln!(out, "\n| figure | median | min | max |\n|---|---|---|---|")?;
    let [mut logging, mut silent, mut plain] = [&injector, &quiet, &constant].map(|server| {
        let mut load = Load::new(&Target::new(server)?, REVIEW, CONNECTIONS)?;
        // The server would close a connection that waits for its measurement without any request.
        load.run(CONNECTIONS)?;
        Result::Ok(load)
    });
    let (mut cpu, mut ratios, mut quiet_ratios, mut rates) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut latencies = Vec::new();
    for turn in 0..=PAIRS {
        let (one, run) = turn_of(&injector, logging.as_mut().map_err(|e| e.to_string())?)?;
        let (two, _) = turn_of(&quiet, silent.as_mut().map_err(|e| e.to_string())?)?;
        let (base, _) = turn_of(&constant, plain.as_mut().map_err(|e| e.to_string())?)?;
        if turn == 0 {
            continue; // warm-up
        }
        cpu.push(one);
        ratios.push(one / base);
        quiet_ratios.push(two / base);
        rates.push(run.rate());
        latencies.extend(run.latencies);
    }
    row(&mut out, "CPU time a request, µs", &mut cpu)?;
    row(&mut out, "CPU time, ratio to a constant answer", &mut ratios)?;
    row(&mut out, "the same without the log line a decision", &mut quiet_ratios)?;
    row(&mut out, "reviews a second on one core", &mut rates)?;
    latencies.sort_unstable();
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let index = ((latencies.len() - 1) as f64 * share) as usize;
        latencies[index].as_secs_f64() * 1e6
    };
    writeln!(out, "\n| latency at that rate, µs | |\n|---|---|")?;
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        writeln!(out, "| {name} | {:.0} |", at(share))?;
    }
    let mut load = Load::new(&Target::new(&injector)?, REVIEW, CONNECTIONS)?;
    load.run(reviews)?;
    writeln!(out, "\n| resident memory, MiB | |\n|---|---|")?;
    #[expect(clippy::cast_precision_loss)]
    let mebibytes = |kib: u64| kib as f64 / 1024.0;
    writeln!(out, "| after the first review | {:.1} |", mebibytes(fresh))?;
    writeln!(
        out,
        "| after {} reviews | {:.1} |",
        reviews + (PAIRS + 1) * TURN + 1,
        mebibytes(injector.resident_kib()?)
    )?;
    Ok(())
}

/// CPU microseconds per request of the server, and the run.
fn turn_of(server: &Server, load: &mut Load) -> Result<(f64, client::Run)> {
    let before = server.cpu()?;
    let run = load.run(TURN)?;
    let spent = server.cpu()?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss)]
    Ok((spent.as_secs_f64() * 1e6 / TURN as f64, run))
}

fn row(out: &mut impl std::io::Write, name: &str, values: &mut [f64]) -> Result<()> {
    values.sort_by(f64::total_cmp);
    let shown = |value: f64| if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    let (first, median, last) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    writeln!(out, "| {name} | {} | {} | {} |", shown(median), shown(first), shown(last))?;
    Ok(())
}
