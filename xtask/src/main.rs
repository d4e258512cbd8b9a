//! The tasks of the project, as `cargo xtask <task>`; `cargo xtask help` lists them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a task reports to the person who started it")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod assets;
mod ci;
mod docs;
mod fuzz;
mod test;
mod tidy;
mod workspace;

/// The tasks of the ScaiVault injector.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every test of the workspace, doc tests and those on a real control plane included
    Test(test::Args),
    /// Build what the cluster tests start (etcd, Kubernetes, helm, kwok) and print the directory
    Assets(assets::Args),
    /// Build the Secrets Store CSI driver and its sidecars for a cluster that cannot pull their images, and print the directory
    CsiDriver,
    /// Run every check that a change must pass, or only the named ones
    Ci {
        /// Names of steps; all in order if none is given
        #[arg(value_name = "STEP", value_parser = ci::step_names())]
        steps: Vec<String>,
    },
    /// Write the generated files: pages of docs/, the fuzz dictionary
    Docs {
        /// Write nothing; fail if one is out of date
        #[arg(long)]
        check: bool,
    },
    /// Check the rules of ARCHITECTURE.md and of deny.toml
    Tidy,
    /// Run the benchmarks
    Bench {
        /// Only this one, by its package's name without `scaivault-` or its own: webhook, review, injector, serve, agent
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
        /// Passed on to each, for example a filter or `--save-baseline before`; each takes other words
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run the fuzz targets with cargo-fuzz on the nightly toolchain
    Fuzz(fuzz::Args),
    /// Test images and charts on the cluster of KUBECONFIG, with injected pods that really run
    #[command(disable_help_flag = true)]
    E2e {
        /// Those of `scaivault-e2e`; `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Args::parse().task {
        Task::Test(args) => test::run(&args),
        Task::Assets(args) => assets::run(&args),
        Task::CsiDriver => assets::build_csi_driver(),
        Task::Ci { steps } => ci::run(&steps),
        Task::Docs { check } => docs::run(check),
        Task::Tidy => tidy::run(),
        Task::Bench { only, args } => bench(only.as_deref(), &args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::E2e { args } => end_to_end(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the benchmarks of the workspace. Each is named explicitly: a plain `cargo bench` would also
/// start the test harness of every library, which does not know criterion's arguments.
fn bench(only: Option<&str>, args: &[String]) -> Result<()> {
    let shell = workspace::shell()?;
    let mut is_any = false;
    for package in workspace::metadata(&shell)?.packages {
        let name = &package.name;
        for target in package.targets.iter().filter(|target| target.kind == ["bench"]) {
            let names = [name.as_str(), name.trim_start_matches("scaivault-"), target.name.as_str()];
            if only.is_none_or(|only| names.contains(&only)) {
                let words = ["bench", "--locked", "--package", name, "--bench", &target.name, "--"];
                workspace::cargo(&shell, &words).args(args).run()?;
                is_any = true;
            }
        }
    }
    anyhow::ensure!(
        is_any,
        "no package of the workspace has such a benchmark (a `[[bench]]` in its Cargo.toml)"
    );
    Ok(())
}

fn end_to_end(args: &[String]) -> Result<()> {
    let shell = workspace::shell()?;
    let words = ["run", "--quiet", "--locked", "--package", "scaivault-e2e", "--"];
    Ok(workspace::cargo(&shell, &words).args(args).run()?)
}
