//! Every check that a change must pass, the cheapest first.

use std::{fmt::Write as _, time::Instant};

use anyhow::{Result, bail, ensure};
use clap::builder::PossibleValuesParser;
use xshell::Shell;

use crate::{
    docs, test, tidy,
    workspace::{self, cargo, metadata},
};

struct Step {
    name: &'static str,
    /// The returned text is shown in the table, so that a skipped check is visible.
    run: fn(&Shell) -> Result<&'static str>,
}

const PASSED: &str = "passed";

const STEPS: &[Step] = &[
    Step { name: "fmt", run: fmt },
    Step { name: "tidy", run: |_| tidy::run().map(|()| PASSED) },
    // With all targets, because examples and benchmarks are only compiled here.
    Step { name: "clippy", run: clippy },
    Step { name: "test", run: |_| test::run(&test::Args::everything()).map(|()| PASSED) },
    Step { name: "docs", run: |_| docs::run(true).map(|()| PASSED) },
    Step { name: "rustdoc", run: rustdoc },
    Step { name: "alone", run: each_package_alone },
    Step { name: "fuzz", run: fuzz_targets_on_stable },
    Step { name: "deny", run: deny },
];

/// The steps' names, for the command line.
pub(crate) fn step_names() -> PossibleValuesParser {
    STEPS.iter().map(|step| step.name).into()
}

/// Runs the named steps, or all of them. A failed step does not stop the others, so that one run
/// shows all failures.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let shell = workspace::shell()?;
    let chosen = STEPS.iter().filter(|step| names.is_empty() || names.iter().any(|name| name == step.name));
    let (mut table, mut failures) = (String::new(), Vec::new());
    for Step { name, run } in chosen {
        println!("\n== {name}");
        let started = Instant::now();
        let result = run(&shell);
        let said = result.as_ref().unwrap_or(&"FAILED");
        writeln!(table, "{name:<8} {:>8.1} s  {said}", started.elapsed().as_secs_f64())?;
        if let Err(error) = result {
            failures.push(format!("step {name} failed; run it alone with: cargo xtask ci {name}: {error:#}"));
        }
    }
    println!("\n{table}");
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

fn fmt(shell: &Shell) -> Result<&'static str> {
    cargo(shell, &["fmt", "--all", "--check"]).run()?;
    cargo(shell, &["fmt", "--manifest-path=fuzz/Cargo.toml", "--check"]).run()?;
    Ok(PASSED)
}

const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

/// Includes the tests with a cluster and PostgreSQL, which are only compiled here.
fn clippy(shell: &Shell) -> Result<&'static str> {
    let members = metadata(shell)?.packages;
    let features = [test::CLUSTER, test::POSTGRES].map(|feature| test::features(&members, feature).join(","));
    let lint = ["clippy", "--workspace", "--all-targets", "--locked", "--features", &features.join(",")];
    cargo(shell, &lint).args(DENY_WARNINGS).run()?;
    Ok(PASSED)
}

fn rustdoc(shell: &Shell) -> Result<&'static str> {
    let words = ["doc", "--workspace", "--no-deps", "--locked"];
    cargo(shell, &words).env("RUSTDOCFLAGS", "-D warnings").run()?;
    Ok(PASSED)
}

/// Built together, packages share all requested features, and a missing one is not noticed. The
/// last build is the injector as it ships.
fn each_package_alone(shell: &Shell) -> Result<&'static str> {
    for package in metadata(shell)?.packages {
        cargo(shell, &["check", "--locked", "--package", &package.name]).run()?;
    }
    let shipped =
        ["clippy", "--locked", "--package", "scaivault-injector", "--no-default-features", "--all-targets"];
    cargo(shell, &shipped).args(DENY_WARNINGS).run()?;
    Ok(PASSED)
}

/// Runs the bodies of the fuzz targets on their seeds. The thin targets are only checked without
/// libFuzzer, which would need a C++ compiler and the nightly toolchain.
fn fuzz_targets_on_stable(shell: &Shell) -> Result<&'static str> {
    // Uses the workspace's target directory, so that common dependencies are built once.
    let target = metadata(shell)?.target_directory.to_string_lossy().into_owned();
    let shared = ["--manifest-path=fuzz/Cargo.toml", "--locked", "--target-dir", &target];
    cargo(shell, &["test", "--lib"]).args(shared).run()?;
    let lint = ["clippy", "--all-targets", "--no-default-features"];
    cargo(shell, &lint).args(shared).args(DENY_WARNINGS).run()?;
    Ok(PASSED)
}

/// Advisories are not checked: they change independently of this project.
fn deny(shell: &Shell) -> Result<&'static str> {
    let version = cargo(shell, &["deny", "--version"]).quiet().ignore_stdout().ignore_stderr();
    if version.run().is_err() {
        ensure!(!workspace::is_ci(), "cargo-deny is not installed: cargo install --locked cargo-deny");
        return Ok("skipped: cargo-deny is not installed");
    }
    let checks = ["-D", "warnings", "bans", "licenses", "sources"];
    cargo(shell, &["deny", "--workspace", "--locked", "check"]).args(checks).run()?;
    Ok(PASSED)
}
