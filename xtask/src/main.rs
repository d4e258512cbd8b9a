//! The tasks of the project, as `cargo xtask <task>`; `cargo xtask help` lists them.
#![allow(
    clippy::print_stdout,
    reason = "a task talks to the person who started it; nothing reads its output"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod assets;
mod bench;
mod ci;
mod corpus;
mod docs;
mod fuzz;
mod process;
mod table;
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
    /// Write the generated files anew: pages of docs/, the fuzz dictionary
    Docs {
        /// Write nothing; fail if one is out of date
        #[arg(long)]
        check: bool,
    },
    /// Check the rules of ARCHITECTURE.md
    Tidy,
    /// Run the benchmarks
    Bench(bench::Args),
    /// Run the fuzz targets with cargo-fuzz on the nightly toolchain
    Fuzz(fuzz::Args),
    /// Inject into and detach from every workload in a directory of manifests, and check the laws
    Corpus(corpus::Args),
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
        Task::Bench(args) => bench::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Corpus(args) => corpus::run(&args),
        Task::E2e { args } => end_to_end(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // On standard output, like all the rest: the two streams are not written in order.
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn end_to_end(args: &[String]) -> anyhow::Result<()> {
    let fixed = ["run", "--quiet", "--locked", "--package", "scaivault-e2e", "--"];
    process::run(process::cargo(fixed).args(args))
}
