//! Logs: to stderr, as text or JSON, filtered by `LOG_LEVEL` or `RUST_LOG`.

mod admission_line;
mod throttle;

use std::{
    env,
    io::{self, IsTerminal as _},
    panic,
};

use admission_line::AdmissionLine;
use anyhow::Context as _;
use clap::{Arg, Args, ValueEnum, builder::Resettable};
use scaivault_log_queue::LogQueue;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

pub(crate) use throttle::LogThrottle;

/// The log of `serve`. A separate thread writes it, so that a blocked reader of the log does not
/// block admissions.
static LOG: LogQueue = LogQueue::new(1024 * 1024);

/// How to log.
#[derive(Args, Clone, Debug)]
#[command(mut_args(ignore_empty_env))]
pub(crate) struct LogArgs {
    /// Least severe level that is logged.
    #[arg(
        long = "log-level",
        env = "LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL",
        ignore_case = true,
        global = true
    )]
    pub(crate) level: LogLevel,

    /// Levels by module, for example `scaivault=debug,warn`; goes before --log-level.
    #[arg(long = "log-filter", env = "RUST_LOG", value_name = "FILTER", global = true)]
    pub(crate) filter: Option<String>,

    /// How a line is written.
    #[arg(
        long = "log-format",
        env = "LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT",
        global = true
    )]
    pub(crate) format: LogFormat,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum LogLevel {
    /// Failures that need attention.
    Error,
    /// Also warnings and rejected requests.
    Warn,
    /// Also every decision.
    Info,
    /// Also every connection that ends early.
    Debug,
    /// Also messages of libraries.
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Treats an empty environment variable as unset, because manifest templates write it so.
pub(crate) fn ignore_empty_env(arg: Arg) -> Arg {
    #[expect(clippy::disallowed_methods, reason = "clap does not return this variable")]
    let is_empty = arg.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
    if is_empty { arg.env(Resettable::Reset) } else { arg }
}

/// Installs the logger of the process, and a panic hook that logs the location of a panic but not
/// its message, which may quote input.
pub(crate) fn init(args: &LogArgs) -> anyhow::Result<()> {
    let LogArgs { level, filter, format } = args;
    let level = LevelFilter::from(*level);
    let filter = match filter.as_deref().filter(|filter| !filter.is_empty()) {
        None => EnvFilter::default().add_directive(level.into()),
        Some(filter) => EnvFilter::builder().parse(filter).with_context(|| {
            format!("{filter:?} is not a log filter; expected a level such as info, or module=level pairs")
        })?,
    };
    LOG.start().context("cannot start the thread that writes the log")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A line that cannot be written is lost. Reporting that would write to the same stream, and
        // panic.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(|| &LOG);
    let installed = match format {
        LogFormat::Text => {
            builder.map_event_format(|others| AdmissionLine { others, format: LogFormat::Text }).try_init()
        }
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .map_event_format(|others| AdmissionLine { others, format: LogFormat::Json })
            .try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("cannot install the logger: {error}"))?;
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "panic");
        // The process may end now.
        LOG.flush();
    }));
    Ok(())
}

/// Waits until the log is written, for at most 100 ms if it is not being read.
pub(crate) fn flush() {
    LOG.flush();
}

/// The number of log lines that were dropped because the log was not read.
pub(crate) fn dropped_lines() -> u64 {
    LOG.dropped()
}
