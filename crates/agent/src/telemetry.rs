//! The log: to stderr, one line an event, only of our own packages. What libraries would say may quote what they send.

use std::{io, panic};

use scaivault_contract::env::{LOG_FORMAT, LOG_LEVEL};
use scaivault_log_queue::LogQueue;
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt::{self, writer::BoxMakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{config::Problem, environment::Environment};

/// The log of this process. A thread writes it, so that a reader that stops reading does not stop the agent.
static LOG: LogQueue = LogQueue::new(64 * 1024);
/// Every package of ours starts with this.
const OURS: &str = "scaivault";

/// Installs the logger, and a panic hook that logs the place of a panic and not its text, which may quote what was being
/// read. A malformed setting is returned, and its default holds: the log is needed to say so.
pub(crate) fn init(environment: &Environment) -> Vec<Problem> {
    let mut problems = Vec::new();
    let level = level(environment.value(LOG_LEVEL)).unwrap_or_else(|| {
        problems.push(Problem::new(LOG_LEVEL, "allowed are error, warn, info, debug and trace"));
        LevelFilter::INFO
    });
    let is_json = match environment.value(LOG_FORMAT) {
        "json" => true,
        "text" => false,
        _ => {
            problems.push(Problem::new(LOG_FORMAT, "allowed are json and text"));
            true
        }
    };
    let writer = match LOG.start() {
        Ok(()) => BoxMakeWriter::new(|| &LOG),
        // At the limit of processes: a log that may block is better than none.
        Err(_) => BoxMakeWriter::new(io::stderr),
    };
    // A line that cannot be written is lost. The report of that would go to the same place.
    let layer = fmt::layer().with_writer(writer).log_internal_errors(false).with_ansi(false);
    let layer = if is_json { layer.json().flatten_event(true).boxed() } else { layer.boxed() };
    let filter = Targets::new().with_target(OURS, level);
    // Fails only where there is a logger already, and then nothing is lost.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "panic");
        // It may be the end of the process.
        flush();
    }));
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
