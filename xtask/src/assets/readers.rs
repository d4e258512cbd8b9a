//! What reads the agent's text formats in its tests: libraries of npm, `PyPI` and Go, in pinned versions.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use super::{build, cache};
use crate::process;

/// Where the pins and the programs around the libraries are, below the workspace's directory.
const DIRECTORY: &str = "tests/assets/readers";
/// What decides which versions there are.
const PINS: [&str; 6] =
    ["go.mod", "go.sum", "main.go", "package.json", "package-lock.json", "requirements.txt"];

/// The directory with `node/node_modules`, `python` and `go/readers`; made where it is missing.
pub(crate) fn readers() -> Result<PathBuf> {
    let source = process::root().join(DIRECTORY);
    let mut parts = Vec::new();
    for name in PINS {
        let path = source.join(name);
        parts.push(fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    parts.push(
        build::go_version()
            .context("Go builds the readers of Compose and YAML: https://go.dev/doc/install")?,
    );
    // A wheel is for one version of Python.
    parts.push(
        process::output(Command::new("python3").arg("--version")).context("python3 is one of the readers")?,
    );
    let key = cache::key(&parts.iter().map(String::as_str).collect::<Vec<_>>());
    let cache = cache()?;
    let directory = cache.module("readers", &key);
    if directory.is_dir() {
        return Ok(directory);
    }
    let _lock = cache.lock()?;
    if directory.is_dir() {
        return Ok(directory);
    }
    let out = cache.fresh("readers")?;
    fs::create_dir(out.join("node"))?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(source.join(name), out.join("node").join(name))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(out.join("node"));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    pip.arg("--target").arg(out.join("python")).arg("--requirement").arg(source.join("requirements.txt"));
    let mut go = Command::new("go");
    go.args(["build", "-buildvcs=false", "-o"]).arg(out.join("go/readers")).arg(".").current_dir(&source);
    for command in [&mut npm, &mut pip, &mut go] {
        build::run(command)?;
    }
    if !out.join("go/readers").is_file() {
        bail!("go built no program into {}", out.display());
    }
    cache.put(&out, &directory)?;
    Ok(directory)
}
