//! The log: to stderr, one line an event, only of our own packages. What libraries would say may quote what they send.

use scaivault_contract::env::{LOG_FORMAT, LOG_LEVEL};
use scaivault_log_queue::{Format, LogQueue};
use tracing_subscriber::filter::LevelFilter;

use crate::{config::Problem, environment::Environment};

/// The log of this process. A thread writes it, so that a reader that stops reading does not stop the agent.
static LOG: LogQueue = LogQueue::new(64 * 1024);

/// Installs the logger and the panic hook. A malformed setting is returned, and its default holds: the log is needed to say so.
pub(crate) fn init(environment: &Environment) -> Vec<Problem> {
    let mut problems = Vec::new();
    let level = level(environment.value(LOG_LEVEL)).unwrap_or_else(|| {
        problems.push(Problem::new(LOG_LEVEL, "allowed are error, warn, info, debug and trace"));
        LevelFilter::INFO
    });
    let format = match environment.value(LOG_FORMAT) {
        "json" => Format::Json,
        "text" => Format::Text,
        _ => {
            problems.push(Problem::new(LOG_FORMAT, "allowed are json and text"));
            Format::Json
        }
    };
    LOG.install(level, format);
    problems
}

/// Waits until the log is written, for at most 100 ms where nothing reads it.
pub(crate) fn flush() {
    LOG.flush();
}

/// How many lines of the log were lost, because nothing read it.
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
