//! Output for users: colours only on a terminal, `NO_COLOR` respected, a closed pipe is not an
//! error.

use std::{
    io::{self, StderrLock, StdoutLock, Write},
    process::ExitCode,
};

use anstream::AutoStream;
use clap::builder::styling::{AnsiColor, Style};

/// For success and additions.
pub(crate) const ADDED: Style = AnsiColor::Green.on_default();
/// For errors and removals.
pub(crate) const REMOVED: Style = AnsiColor::Red.on_default();
/// For warnings.
pub(crate) const WARNED: Style = AnsiColor::Yellow.on_default();
/// For positions in a text.
pub(crate) const PLACE: Style = AnsiColor::Cyan.on_default();
/// For the most important word of a line.
pub(crate) const STRONG: Style = Style::new().bold();

/// The exit code for problems in the input.
pub(crate) const PROBLEMS: u8 = 1;
/// The exit code for unreadable input and for wrong usage, the same as clap's.
const UNREADABLE: u8 = 2;

/// The exit code of a command that reads manifests or a cluster.
pub(crate) fn exit_code(is_unreadable: bool, has_problems: bool) -> ExitCode {
    if is_unreadable {
        ExitCode::from(UNREADABLE)
    } else if has_problems {
        ExitCode::from(PROBLEMS)
    } else {
        ExitCode::SUCCESS
    }
}

/// Standard output, locked, for coloured text.
pub(crate) fn stdout() -> AutoStream<StdoutLock<'static>> {
    AutoStream::auto(io::stdout().lock())
}

/// Standard error, locked, for coloured text.
pub(crate) fn stderr() -> AutoStream<StderrLock<'static>> {
    AutoStream::auto(io::stderr().lock())
}

/// Writes unmodified bytes to standard output.
pub(crate) fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A closed pipe is not a failure: its reader needs no more output, and the exit code keeps its
/// meaning.
pub(crate) fn until_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Whether the reader has closed the pipe.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Reports why the program ends early. A closed pipe is not a failure.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    // If standard error is closed, the error cannot be reported.
    let _ = writeln!(stderr(), "{REMOVED}error:{REMOVED:#} {error:#}");
    ExitCode::from(UNREADABLE)
}
