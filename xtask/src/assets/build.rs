//! Runs Go. Its output goes to standard error.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process;

/// What `go version` says; none where there is no Go.
pub(super) fn go_version() -> Option<String> {
    let output = Command::new("go").arg("version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Builds the tools of the module in `directory` into `out`. One build takes all cores, and gives way to everything else.
pub(super) fn build(directory: &Path, flags: &[String], out: &Path) -> Result<()> {
    let mut command = Command::new("nice");
    command.args(["-n", "10", "go", "build", "-o"]).arg(out).args(flags).arg("tool").current_dir(directory);
    run(&mut command)
}

/// Writes go.sum, and into go.mod what it requires in turn.
pub(super) fn tidy(directory: &Path) -> Result<()> {
    run(Command::new("go").args(["mod", "tidy"]).current_dir(directory))
}

/// A published module, as `go mod download -json` tells of it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Download {
    /// Its go.mod.
    pub(super) go_mod: PathBuf,
    /// Its files.
    pub(super) dir: PathBuf,
    /// What go.sum says of its files, `h1:…`.
    pub(super) sum: String,
}

/// Fetches a module, into `into` instead of Go's own place if that is given. Run in a directory that belongs to no module.
pub(super) fn download(path: &str, version: &str, directory: &Path, into: Option<&Path>) -> Result<Download> {
    let mut command = Command::new("go");
    command.args(["mod", "download", "-json"]).current_dir(directory).env("GOWORK", "off");
    if let Some(into) = into {
        // What Go keeps may not be changed or removed, unless it is told.
        command.arg("-modcacherw").env("GOMODCACHE", into);
    }
    let text = process::output(command.arg(format!("{path}@{version}")))?;
    serde_json::from_str(&text).context("`go mod download` wrote something unexpected")
}

pub(super) fn run(command: &mut Command) -> Result<()> {
    let line = process::line(command);
    let status = command
        // Go writes what it does to standard error; what else a tool says is not the answer either.
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .env("GOWORK", "off")
        .status()
        .with_context(|| format!("`{line}` does not start"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}
