//! The demonstration where there is no agent to run: what is shipped has none inside, and the agent is made for Linux.

use std::{io::Write, process::ExitCode};

use scaivault_inject::Settings;

use super::{injection, narrator::Narrator};
use crate::{
    args::DemoArgs,
    output::{self, ADDED, STRONG},
};

/// Shows the injection.
pub(super) async fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let mut narrator = Narrator::new(injection::STEPS);
    let pod = injection::example()?;
    injection::tell(&mut narrator, &pod, Settings::default(), args).await?;
    let mut out = output::stdout();
    writeln!(
        out,
        "{ADDED}done{ADDED:#}; this program has no agent inside. On Linux, {STRONG}cargo run --release -- demo{STRONG:#} in\n      \
         the repository shows the files, a rotation and the end as well"
    )?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Nothing is started that would be anything else.
pub(super) fn instead() -> Option<ExitCode> {
    None
}
