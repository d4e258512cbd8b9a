//! `audit`: the workloads of manifests or of a cluster, the secrets that they use, and what the
//! injector would do with them.
//!
//! Read-only. Values of Secrets are never read: names come from pod specs, and with
//! `--secret-metadata` only the metadata of Secrets is requested from the API server.

mod args;
mod collect;
mod drift;
mod live;
mod manifests;
mod owners;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use aws_lc_rs::digest;
use scaivault_audit::{Audit, TableOptions, html, json, markdown, table};

pub(crate) use args::{AuditArgs, HELP};

use args::AuditOutput;

use crate::output::{self, until_closed};

/// Audits and writes the report to standard output.
pub(crate) fn run(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let audit = if args.filenames.is_empty() { live::audit(args)? } else { manifests::audit(args)? };
    write(&audit, args)?;
    Ok(output::exit_code(!audit.errors.is_empty(), audit.has_problems()))
}

fn write(audit: &Audit, args: &AuditArgs) -> anyhow::Result<()> {
    let text = match args.output {
        AuditOutput::Table => {
            let text = table(audit, TableOptions { width: terminal_width(), all: args.all });
            let mut stdout = output::stdout();
            until_closed(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))?;
            return Ok(());
        }
        AuditOutput::Json => json(audit)?,
        AuditOutput::Markdown => markdown(audit),
        AuditOutput::Html => html(audit, sha256),
    };
    until_closed(output::write_stdout(text.as_bytes()))?;
    Ok(())
}

/// `None` if standard output is not a terminal, because readers of a pipe expect complete lines.
fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| terminal_size::terminal_size_of(stdout))??;
    Some(usize::from(size.0.0))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}
