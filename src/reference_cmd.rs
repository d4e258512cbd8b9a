//! `annotations` and `completions`: the annotation reference and shell completions.

use std::{io::Write, process::ExitCode};

use clap::Command;
use scaivault_inject::annotations;

use crate::{
    args::{AnnotationsArgs, AnnotationsFormat, CompletionsArgs},
    output,
};

/// Prints the reference of all annotations.
pub(crate) fn annotations(args: &AnnotationsArgs) -> anyhow::Result<ExitCode> {
    let mut text = match args.format {
        AnnotationsFormat::Table => annotations::table(),
        AnnotationsFormat::Md => annotations::markdown(),
        AnnotationsFormat::Json => annotations::json(),
        AnnotationsFormat::Schema => annotations::schema(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    output::write_stdout(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a shell's completion script for the program.
pub(crate) fn completions(args: &CompletionsArgs, program: &mut Command) -> anyhow::Result<ExitCode> {
    // Not written directly to standard output, because the generator panics if the pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, program, "scaivault-injector", &mut script);
    script.flush()?;
    output::write_stdout(&script)?;
    Ok(ExitCode::SUCCESS)
}
