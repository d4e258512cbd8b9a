//! The log: JSON to stderr, one line an event, only of our own packages. What libraries would say may quote a token.

use scaivault_log_queue::{Format, LogQueue};
use tracing_subscriber::filter::LevelFilter;

/// The log of this process. A thread writes it, so that a reader that stops reading does not stop mounts.
static LOG: LogQueue = LogQueue::new(64 * 1024);

/// Installs the logger and the panic hook.
pub(crate) fn init(level: LevelFilter) {
    LOG.install(level, Format::Json);
}

/// Waits until the log is written, for at most 100 ms where nothing reads it.
pub(crate) fn flush() {
    LOG.flush();
}

/// How many lines of the log were lost, because nothing read it.
pub(crate) fn dropped_lines() -> u64 {
    LOG.dropped()
}
