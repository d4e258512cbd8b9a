//! The demo without an agent: the shipped program does not contain it, and the agent only runs on
//! Linux.

use std::{io::Write, process::ExitCode};

use scaivault_inject::Settings;

use super::{injection, narrator::Narrator};
use crate::{
    args::DemoArgs,
    output::{self, ADDED, STRONG},
};

/// Runs the injection steps.
pub(super) async fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let mut narrator = Narrator::new(injection::STEPS);
    let pod = injection::example()?;
    injection::show(&mut narrator, &pod, Settings::default(), args).await?;
    let mut out = output::stdout();
    writeln!(
        out,
        "{ADDED}done{ADDED:#}; this program has no agent inside. On Linux, {STRONG}cargo run --release -- demo{STRONG:#} in\n      \
         the repository shows the files, a rotation and the end as well"
    )?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// This build starts no processes with another role.
pub(super) fn instead() -> Option<ExitCode> {
    None
}
