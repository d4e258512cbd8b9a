//! `migrate` and `verify`: from native Secrets and from the annotations of other injectors to the
//! injector's annotations.
//!
//! A workload is migrated completely or not at all. The core decides on each result, as in `check`,
//! before it is written.

mod args;
mod bank_vaults;
mod go_template;
mod known;
mod layout;
mod lines;
mod map;
mod native;
mod output_dir;
mod plan;
mod report;
mod rewrite;
mod settings;
mod vault;
mod verify;
mod wants;
mod work;

use std::{io::Write as _, path::Path, process::ExitCode};

use anyhow::Context as _;

pub(crate) use self::args::{MigrateArgs, VerifyArgs};
use self::{
    args::SourceArgs,
    map::PathMap,
    plan::Plan,
    report::Report,
    work::{Job, Migration},
};
use crate::{
    document::emit_yaml,
    input::{self, InputFiles},
    manifest_cmd,
    output::{self, until_closed},
    yaml_stream,
};

/// Runs `migrate`.
pub(crate) fn run(args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let MigrateArgs { source, output_dir, batch_size, first, diff } = args;
    if let Some(directory) = output_dir {
        output_dir::check_is_empty(directory)?;
    }
    let migration = migrate(source, *diff)?;
    let Some(directory) = output_dir else {
        return write_manifests(&migration);
    };
    let is_readable = migration.report.errors.is_empty();
    if is_readable {
        let plan = Plan::new(&migration, (*batch_size).into(), first);
        output_dir::write(directory, &migration, &plan)
            .with_context(|| format!("cannot write {}", directory.display()))?;
    }
    write_report(&migration.report, is_readable.then_some(directory))?;
    Ok(output::exit_code(!migration.report.errors.is_empty(), migration.report.has_problems()))
}

/// Runs `verify`.
pub(crate) fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let VerifyArgs { source } = args;
    let migration = migrate(source, false)?;
    let mut text = String::new();
    if migration.report.errors.is_empty() {
        for job in migration.workloads.iter().filter_map(|workload| workload.job.as_ref()) {
            text.push_str("---\n");
            text.push_str(&emit_yaml(job)?);
        }
    }
    until_closed(output::write_stdout(text.as_bytes()))?;
    let mut stderr = output::stderr();
    until_closed(migration.report.write_left(&mut stderr))?;
    Ok(output::exit_code(!migration.report.errors.is_empty(), migration.report.has_problems()))
}

fn migrate(args: &SourceArgs, with_diff: bool) -> anyhow::Result<Migration> {
    let found = find(args)?;
    let map = PathMap::read(args)?;
    let (cluster, namespaces) = manifest_cmd::cluster(&args.layers)?;
    let mut migration = Job { args, map: &map, with_diff }.run(&found, cluster)?;
    let findings = manifest_cmd::namespace_findings(namespaces, &migration.namespaces);
    migration.report.others.splice(..0, findings);
    Ok(migration)
}

/// Finds the manifests and rejects repeated use of standard input before anything is read.
fn find(args: &SourceArgs) -> anyhow::Result<InputFiles> {
    let found = manifest_cmd::find(&args.files.filenames, Some(&args.layers))?;
    let manifests = found.files.iter().map(|path| ("the manifests", path.as_path()));
    input::stdin_once(manifests.chain(args.map.as_deref().map(|path| ("--map", path))))?;
    Ok(found)
}

/// Writes all manifests, including those that are not migrated, to standard output, and the report
/// to standard error.
fn write_manifests(migration: &Migration) -> anyhow::Result<ExitCode> {
    if migration.report.errors.is_empty() {
        let streams: Vec<String> = migration.files.iter().map(|file| file.migrated.clone()).collect();
        until_closed(output::write_stdout(yaml_stream::join(&streams).as_bytes()))?;
    }
    let mut stderr = output::stderr();
    until_closed(migration.report.write_text(&mut stderr))?;
    if !migration.report.errors.is_empty() {
        until_closed(writeln!(
            stderr,
            "nothing is written to standard output until all manifests can be read"
        ))?;
    }
    Ok(output::exit_code(!migration.report.errors.is_empty(), migration.report.has_problems()))
}

fn write_report(report: &Report, directory: Option<&Path>) -> anyhow::Result<()> {
    let mut stdout = output::stdout();
    until_closed(report.write_text(&mut stdout))?;
    let written = match directory {
        Some(directory) => writeln!(stdout, "written: {}; begin with plan.md", directory.display()),
        None => writeln!(stdout, "nothing is written until all manifests can be read"),
    };
    until_closed(written.and_then(|()| stdout.flush()))?;
    Ok(())
}
