//! Logs: to stderr, as text or JSON, filtered by `LOG_LEVEL` or `RUST_LOG`.

use std::{
    io::{self, IsTerminal as _},
    panic,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How to log.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogArgs {
    /// Least severe level that is logged: error, warn, info, debug or trace.
    #[arg(
        long = "log-level",
        env = "LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL",
        global = true
    )]
    pub(crate) level: String,

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

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Installs the logger of the process, and a panic hook that logs the place of a panic and not its text, which may
/// quote what was being read.
pub(crate) fn init(args: &LogArgs) -> anyhow::Result<()> {
    let LogArgs { level, filter, format } = args;
    let filter = filter.as_deref().filter(|filter| !filter.is_empty()).unwrap_or(level);
    let filter = EnvFilter::builder().parse(filter).with_context(|| {
        format!("{filter:?} is no log filter; write a level (info) or module=level pairs")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    let installed = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("cannot install the logger: {error}"))?;
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "panic");
    }));
    Ok(())
}
