//! The logger of a process whose log goes through a queue.

use std::{io, panic};

use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt::{self, writer::BoxMakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::LogQueue;

/// The prefix of every package of this project. Other libraries are not logged, because their
/// messages may quote what they send.
const TARGET: &str = "scaivault";

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Text for human readers.
    Text,
}

impl LogQueue {
    /// Installs the process's logger, which writes to stderr through this queue, and a panic hook.
    /// The hook logs the location of a panic without its message, because the message may quote
    /// secret input.
    pub fn install(&'static self, level: LevelFilter, format: Format) {
        let writer = match self.start() {
            Ok(()) => BoxMakeWriter::new(move || self),
            // No thread could be started, for example at a process limit. A log that may block is
            // better than no log.
            Err(_) => BoxMakeWriter::new(io::stderr),
        };
        // A line that cannot be written is lost. Reporting the error would use the same output.
        let layer = fmt::layer().with_writer(writer).log_internal_errors(false).with_ansi(false);
        let layer = match format {
            Format::Json => layer.json().flatten_event(true).boxed(),
            Format::Text => layer.boxed(),
        };
        let filter = Targets::new().with_target(TARGET, level);
        // Fails only if a logger is already installed; then its log is used.
        let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
        panic::set_hook(Box::new(move |panic| {
            let location = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(location, "panic");
            // The process may be about to end.
            self.flush();
        }));
    }
}
