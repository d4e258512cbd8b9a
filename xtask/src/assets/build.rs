//! Runs Go. Its output goes to standard error.

use std::{
    fs,
    path::Path,
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

/// The go.mod of a published module. Run in a directory that belongs to no module.
pub(super) fn go_mod_of(path: &str, version: &str, directory: &Path) -> Result<String> {
    /// The part of what `go mod download -json` writes that is used here.
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Download {
        go_mod: std::path::PathBuf,
    }
    let mut command = Command::new("go");
    command.args(["mod", "download", "-json", &format!("{path}@{version}")]).current_dir(directory);
    let text = process::output(&mut command)?;
    let Download { go_mod } =
        serde_json::from_str(&text).context("`go mod download` wrote something unexpected")?;
    fs::read_to_string(&go_mod).with_context(|| format!("cannot read {}", go_mod.display()))
}

fn run(command: &mut Command) -> Result<()> {
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
