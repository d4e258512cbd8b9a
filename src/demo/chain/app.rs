//! The demo's application: reads its file at start and at every SIGHUP, and reports the content.

use std::{fmt, fs, path::Path, process::ExitCode};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::{output, runtime};

/// A report of the application, one line of JSON.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Report {
    pub(super) reason: Reason,
    /// The content of the file.
    pub(super) content: Value,
}

/// Why the application read its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum Reason {
    /// It started.
    Start,
    /// It got SIGHUP.
    Hangup,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "its start",
            Self::Hangup => "SIGHUP",
        })
    }
}

/// Runs until a signal ends it.
pub(super) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    runtime::run(async {
        // Installed before the first report, because its reader may send the signal at once.
        let mut hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        report(Reason::Start, file)?;
        while hangups.recv().await.is_some() {
            report(Reason::Hangup, file)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn report(reason: Reason, file: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let content = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
    let mut line = serde_json::to_string(&Report { reason, content })?;
    line.push('\n');
    Ok(output::write_stdout(line.as_bytes())?)
}
