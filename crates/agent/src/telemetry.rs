//! The log: to stderr, one line per event, only from the project's own packages, because libraries
//! might log what they send.

use scaivault_contract::env::{LOG_FORMAT, LOG_LEVEL};
use scaivault_log_queue::{Format, LogQueue};
use tracing_subscriber::filter::LevelFilter;

use crate::environment::{Environment, VariableProblem};

/// The log of this process. A separate thread writes it, so that a blocked reader of the log does
/// not block the agent.
static LOG: LogQueue = LogQueue::new(64 * 1024);

/// Installs the logger and the panic hook. A malformed setting is returned, and its default is
/// used, because the log is needed to report it.
pub(crate) fn init(environment: &Environment) -> Vec<VariableProblem> {
    let mut problems = Vec::new();
    let level = level(environment.value(LOG_LEVEL)).unwrap_or_else(|| {
        problems.push(VariableProblem::new(LOG_LEVEL, "allowed are error, warn, info, debug and trace"));
        LevelFilter::INFO
    });
    let format = match environment.value(LOG_FORMAT) {
        "json" => Format::Json,
        "text" => Format::Text,
        _ => {
            problems.push(VariableProblem::new(LOG_FORMAT, "allowed are json and text"));
            Format::Json
        }
    };
    LOG.install(level, format);
    problems
}

/// Waits until the log is written, for at most 100 ms if it is not being read.
pub(crate) fn flush() {
    LOG.flush();
}

/// The number of log lines that were dropped because the log was not read.
pub(crate) fn dropped_lines() -> u64 {
    LOG.dropped()
}

fn level(text: &str) -> Option<LevelFilter> {
    match text.to_ascii_lowercase().as_str() {
        "error" => Some(LevelFilter::ERROR),
        "warn" => Some(LevelFilter::WARN),
        "info" => Some(LevelFilter::INFO),
        "debug" => Some(LevelFilter::DEBUG),
        "trace" => Some(LevelFilter::TRACE),
        _ => None,
    }
}
