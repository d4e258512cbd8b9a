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

/// Every package of this project starts with this. Libraries are not logged: what they would say may quote what they send.
const TARGET: &str = "scaivault";

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}

impl LogQueue {
    /// Installs the logger of this process, which writes to stderr through this queue, and a panic hook that logs the place of a
    /// panic and not its text, which may quote what was being read.
    pub fn install(&'static self, level: LevelFilter, format: Format) {
        let writer = match self.start() {
            Ok(()) => BoxMakeWriter::new(move || self),
            // At the limit of processes: a log that may block is better than none.
            Err(_) => BoxMakeWriter::new(io::stderr),
        };
        // A line that cannot be written is lost. The report of that would go to the same place.
        let layer = fmt::layer().with_writer(writer).log_internal_errors(false).with_ansi(false);
        let layer = match format {
            Format::Json => layer.json().flatten_event(true).boxed(),
            Format::Text => layer.boxed(),
        };
        let filter = Targets::new().with_target(TARGET, level);
        // Fails only where there is a logger already, and then nothing is lost.
        let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
        panic::set_hook(Box::new(move |panic| {
            let location = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(location, "panic");
            // It may be the end of the process.
            self.flush();
        }));
    }
}
