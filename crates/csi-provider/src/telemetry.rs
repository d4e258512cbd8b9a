//! The log: JSON on stderr, only from this project's crates, because messages of libraries may quote a
//! token.

use scaivault_log_queue::{Format, LogQueue};
use tracing_subscriber::filter::LevelFilter;

/// The log of this process. A separate thread writes it, so that a blocked reader does not block mounts.
static LOG: LogQueue = LogQueue::new(64 * 1024);

/// Installs the logger and the panic hook.
pub(crate) fn init(level: LevelFilter) {
    LOG.install(level, Format::Json);
}

/// Waits until the log is written, for at most 100 ms if it is not being read.
pub(crate) fn flush() {
    LOG.flush();
}

/// The number of log lines that were dropped because they were not read fast enough.
pub(crate) fn dropped_lines() -> u64 {
    LOG.dropped()
}
