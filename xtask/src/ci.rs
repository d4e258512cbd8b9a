//! Every check that a change must pass, the cheapest first.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;

use crate::{docs, process, table, test, tidy, workspace};

struct Step {
    name: &'static str,
    run: fn() -> Result<Outcome>,
}

enum Outcome {
    Passed,
    /// Not run, and why: said in the table, so that a check cannot vanish unseen.
    Skipped(&'static str),
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: fmt },
    Step { name: "tidy", run: || tidy::run().map(|()| Outcome::Passed) },
    // All targets: examples and benchmarks are compiled here, and nowhere else.
    Step { name: "clippy", run: clippy },
    Step { name: "test", run: || test::run(&test::Args::everything()).map(|()| Outcome::Passed) },
    Step { name: "docs", run: || docs::run(true).map(|()| Outcome::Passed) },
    Step { name: "rustdoc", run: rustdoc },
    Step { name: "alone", run: each_package_alone },
    Step { name: "fuzz", run: fuzz_targets_on_stable },
    Step { name: "deny", run: deny },
];

/// The steps' names, for the command line.
pub(crate) fn step_names() -> PossibleValuesParser {
    STEPS.iter().map(|step| step.name).into()
}

/// Runs the named steps, or all of them. All are run, so that one run shows all that is wrong.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let chosen = STEPS.iter().filter(|step| names.is_empty() || names.iter().any(|name| name == step.name));
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for step in chosen {
        println!("\n== {}", step.name);
        let started = Instant::now();
        let result = (step.run)();
        let took = seconds(started.elapsed());
        let said = match &result {
            Ok(Outcome::Passed) => "passed".to_owned(),
            Ok(Outcome::Skipped(why)) => format!("skipped: {why}"),
            Err(_) => "FAILED".to_owned(),
        };
        println!("== {} {said} ({took})", step.name);
        rows.push([step.name.to_owned(), took, said]);
        if let Err(error) = result {
            failures.push(format!(
                "step {0} failed; run it alone with: cargo xtask ci {0}: {error:#}",
                step.name
            ));
        }
    }
    println!("\n{}", table::render(["step", "time", "result"], &rows));
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn cargo(args: &[&str]) -> Result<Outcome> {
    process::run(&mut process::cargo(args.iter().copied())).map(|()| Outcome::Passed)
}

fn fmt() -> Result<Outcome> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["fmt", "--manifest-path=fuzz/Cargo.toml", "--check"])
}

/// With the tests on a cluster and on PostgreSQL, for which nothing has to be started here.
fn clippy() -> Result<Outcome> {
    let features = [&test::CLUSTER_FEATURES[..], &test::POSTGRES_FEATURES[..]].concat().join(",");
    let lint = ["clippy", "--workspace", "--all-targets", "--locked", "--features", &features];
    cargo(&[&lint[..], &["--", "-D", "warnings"]].concat())
}

fn rustdoc() -> Result<Outcome> {
    let mut command = process::cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    process::run(command.env("RUSTDOCFLAGS", "-D warnings")).map(|()| Outcome::Passed)
}

/// Built together, packages share the features that any of them asks for, and a missing one goes unnoticed. The last is
/// the injector as it ships.
fn each_package_alone() -> Result<Outcome> {
    for package in workspace::members()? {
        cargo(&["check", "--locked", "--package", &package.name])?;
    }
    let shipped = ["--package", "scaivault-injector", "--no-default-features", "--all-targets"];
    cargo(&[&["clippy", "--locked"], &shipped[..], &["--", "-D", "warnings"]].concat())
}

/// The bodies of the fuzz targets run over their seeds; the thin targets are only checked, without libFuzzer, which
/// would need a C++ compiler and the nightly toolchain.
fn fuzz_targets_on_stable() -> Result<Outcome> {
    // The workspace's own target directory: dependencies that are the same ones are built once.
    let target = workspace::target_directory()?;
    let shared = ["--manifest-path=fuzz/Cargo.toml", "--locked", "--target-dir", &target];
    cargo(&[&["test", "--lib"], &shared[..]].concat())?;
    let lint = ["clippy", "--all-targets", "--no-default-features"];
    cargo(&[&lint, &shared[..], &["--", "-D", "warnings"]].concat())
}

/// Advisories are left out: they need a download, and they change without a change of ours.
fn deny() -> Result<Outcome> {
    let mut ask = process::cargo(["deny", "--version"]);
    if !process::succeeds(&mut ask) {
        return Ok(Outcome::Skipped(
            "cargo-deny is not installed (tidy checks the crates that must not come back)",
        ));
    }
    cargo(&["deny", "--locked", "--offline", "check", "bans", "licenses", "sources"])
}
