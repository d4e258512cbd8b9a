//! The fuzz targets, run by cargo-fuzz.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{process, table};

/// The longest body that the injector reads: `Limits::default().body_bytes`.
const BODY_BYTES: usize = 7 * 1024 * 1024;

/// What libFuzzer is told besides the target.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(long, default_value_t = 180)]
    seconds: u32,
    /// One target; all if it is not given
    target: Option<String>,
}

/// Runs the targets one after the other and prints how many inputs each has seen. Stops at the first crash.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !process::succeeds(nightly_cargo().args(["fuzz", "--version"])) {
        bail!(
            "cargo-fuzz on the nightly toolchain is needed; to install: \
             rustup toolchain install nightly && cargo install --locked cargo-fuzz"
        );
    }
    let all = targets()?;
    let chosen: Vec<_> = match &args.target {
        Some(target) if all.contains(target) => vec![target.clone()],
        Some(target) => bail!("no fuzz target {target:?}; there are: {}", all.join(", ")),
        None => all,
    };
    let mut rows = Vec::new();
    for target in chosen {
        let stats = run_target(&target, args.seconds)?;
        let Stats { executions, per_second } = stats;
        rows.push([target, executions.to_string(), per_second.to_string()]);
    }
    println!("\n{}", table::render(["target", "executions", "per second"], &rows));
    Ok(())
}

/// `cargo` of the nightly toolchain: the `cargo` that started this program is the pinned one, which takes no `+nightly`.
fn nightly_cargo() -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "cargo"])
        .current_dir(process::root())
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// The names of the files in `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>> {
    let dir = process::root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

fn run_target(target: &str, seconds: u32) -> Result<Stats> {
    // libFuzzer writes what it finds into the first directory and only reads the others.
    let corpus = format!("fuzz/corpus/{target}");
    let found = process::root().join(&corpus);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let seeds = format!("fuzz/seeds/{target}");
    let mut command = nightly_cargo();
    command.args(["fuzz", "run", target, &corpus, &seeds, "--"]);
    // libFuzzer's own limit is the longest seed, and what costs too much is long.
    command.args([&format!("-max_len={BODY_BYTES}"), &format!("-max_total_time={seconds}")]);
    command.arg("-print_final_stats=1");
    let dictionary = format!("fuzz/dictionaries/{target}.dict");
    if process::root().join(&dictionary).is_file() {
        command.arg(format!("-dict={dictionary}"));
    }
    let line = process::line(&command);
    println!("$ {line}");
    let mut child =
        command.stderr(Stdio::piped()).spawn().with_context(|| format!("`{line}` does not start"))?;
    let mut stats = Stats::default();
    // libFuzzer reports on standard error; it is shown while it comes.
    for said in BufReader::new(child.stderr.take().context("standard error is piped")?).lines() {
        let said = said?;
        println!("{said}");
        stats.note(&said);
    }
    let exit = child.wait()?;
    if !exit.success() {
        bail!("fuzz target {target} failed ({exit}); the input is below fuzz/artifacts/{target}");
    }
    Ok(stats)
}

/// What libFuzzer counts, as `-print_final_stats=1` prints it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stats {
    executions: u64,
    per_second: u64,
}

impl Stats {
    fn note(&mut self, line: &str) {
        let number = |name: &str| {
            let rest = line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':')?;
            rest.trim().parse().ok()
        };
        if let Some(executions) = number("number_of_executed_units") {
            self.executions = executions;
        } else if let Some(per_second) = number("average_exec_per_sec") {
            self.per_second = per_second;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_stats_are_read() {
        let output = "\
#2097152\tpulse  cov: 81 ft: 120 corp: 17/58b exec/s: 1048576 rss: 42Mb
Done 2500000 runs in 3 second(s)
stat::number_of_executed_units: 2500000
stat::average_exec_per_sec:     833333
stat::new_units_added:          11";
        let mut stats = Stats::default();
        output.lines().for_each(|line| stats.note(line));
        assert_eq!(stats, Stats { executions: 2_500_000, per_second: 833_333 });
    }

    #[test]
    fn every_target_has_a_file() -> Result<()> {
        assert!(targets()?.iter().any(|target| target == "inverse"), "{:?}", targets()?);
        Ok(())
    }
}
