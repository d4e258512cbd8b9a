//! The benchmarks. They are never timed tests: a person reads the numbers, on a quiet machine.

use anyhow::{Result, bail};

use crate::{process, workspace};

/// Which benchmarks run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this one, by its package's name without `scaivault-` or its own: webhook, review, injector, serve, agent
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Passed on to each, for example a filter or `--save-baseline before`; each takes other words
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs the benchmarks of the workspace.
///
/// Each is named to cargo by itself: a plain `cargo bench` would also start the test harness of every library, which
/// does not know criterion's arguments.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { only, args } = args;
    let members = workspace::members()?;
    let is_wanted = |package: &str, bench: &str| {
        let short = package.trim_start_matches("scaivault-");
        only.as_ref().is_none_or(|only| [package, short, bench].contains(&only.as_str()))
    };
    let benches: Vec<_> = members
        .iter()
        .flat_map(|package| package.targets.iter().map(move |target| (package, target)))
        .filter(|(_, target)| target.kind.iter().any(|kind| kind == "bench"))
        .filter(|(package, target)| is_wanted(&package.name, &target.name))
        .collect();
    if benches.is_empty() {
        bail!("no package of the workspace has such a benchmark (a `[[bench]]` in its Cargo.toml)");
    }
    for (package, target) in benches {
        let fixed = ["bench", "--locked", "--package", &package.name, "--bench", &target.name, "--"];
        let args = fixed.into_iter().chain(args.iter().map(String::as_str));
        process::run(&mut process::cargo(args))?;
    }
    Ok(())
}
