//! The log: JSON to stderr, one line an event, only of our own packages. What libraries would say may quote a token.

use std::{io, panic};

use scaivault_log_queue::LogQueue;
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt::{self, writer::BoxMakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// The log of this process. A thread writes it, so that a reader that stops reading does not stop mounts.
static LOG: LogQueue = LogQueue::new(64 * 1024);
/// Every package of ours starts with this.
const OURS: &str = "scaivault";

/// Installs the logger, and a panic hook that logs the place of a panic and not its text, which may quote what was being
/// read.
pub(crate) fn init(level: LevelFilter) {
    let writer = match LOG.start() {
        Ok(()) => BoxMakeWriter::new(|| &LOG),
        // At the limit of processes: a log that may block is better than none.
        Err(_) => BoxMakeWriter::new(io::stderr),
    };
    let layer = fmt::layer().with_writer(writer).log_internal_errors(false).json().flatten_event(true);
    let filter = Targets::new().with_target(OURS, level);
    // Fails only where there is a logger already, and then nothing is lost.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "panic");
        flush();
    }));
}

/// Waits until the log is written, for at most 100 ms where nothing reads it.
pub(crate) fn flush() {
    LOG.flush();
}

/// How many lines of the log were lost, because nothing read it.
pub(crate) fn dropped_lines() -> u64 {
    LOG.dropped()
}
