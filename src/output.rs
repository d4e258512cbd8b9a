//! Where text for people goes: colours on a terminal only, `NO_COLOR` honoured, a closed pipe no error.

use std::{
    io::{self, StderrLock, StdoutLock, Write},
    process::ExitCode,
};

use anstream::AutoStream;
use clap::builder::styling::{AnsiColor, Style};

/// Something that went well or is new.
pub(crate) const ADDED: Style = AnsiColor::Green.on_default();
/// Something that is wrong or gone.
pub(crate) const REMOVED: Style = AnsiColor::Red.on_default();
/// Something worth a look.
pub(crate) const WARNED: Style = AnsiColor::Yellow.on_default();
/// A place in a text.
pub(crate) const PLACE: Style = AnsiColor::Cyan.on_default();
/// The one word of a line that is looked for.
pub(crate) const STRONG: Style = Style::new().bold();

/// The exit code for a problem in what was read.
pub(crate) const PROBLEMS: u8 = 1;
/// The exit code for what cannot be read and for wrong usage; clap's own.
pub(crate) const UNREADABLE: u8 = 2;

/// Standard output, locked, for text with colours.
pub(crate) fn stdout() -> AutoStream<StdoutLock<'static>> {
    AutoStream::auto(io::stdout().lock())
}

/// Standard error, locked, for text with colours.
pub(crate) fn stderr() -> AutoStream<StderrLock<'static>> {
    AutoStream::auto(io::stderr().lock())
}

/// Writes bytes to standard output as they are.
pub(crate) fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Whoever closed the pipe has read enough: that is no failure, and the exit code stays what was found out.
pub(crate) fn until_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Whether the reader of the output went away.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Reports why the program ends early. Whoever closed the pipe has read enough: that is no failure.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    // Nobody is left to hear that standard error is closed.
    let _ = writeln!(stderr(), "{REMOVED}error:{REMOVED:#} {error:#}");
    ExitCode::from(UNREADABLE)
}
