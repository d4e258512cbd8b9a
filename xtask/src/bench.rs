//! The benchmarks. They are never timed tests: a person reads the numbers, on a quiet machine.

use anyhow::{Result, bail};

use crate::{process, workspace};

/// Runs every criterion benchmark of the workspace.
///
/// Each is named to cargo by itself: a plain `cargo bench` would also start the test harness of every library, which
/// does not know criterion's arguments.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let members = workspace::members()?;
    let benches: Vec<_> = members
        .iter()
        .flat_map(|package| package.targets.iter().map(move |target| (package, target)))
        .filter(|(_, target)| target.kind.iter().any(|kind| kind == "bench"))
        .collect();
    if benches.is_empty() {
        bail!("no package of the workspace has a benchmark (a `[[bench]]` in its Cargo.toml)");
    }
    for (package, target) in benches {
        let fixed = ["bench", "--locked", "--package", &package.name, "--bench", &target.name, "--"];
        let args = fixed.into_iter().chain(args.iter().map(String::as_str));
        process::run(&mut process::cargo(args))?;
    }
    Ok(())
}
