//! The Secrets Store CSI driver: its chart, and for clusters that cannot pull its images its program and the sidecars of its
//! pod.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use super::{build, cache, module};
use crate::process;

/// Where the Go module is, below the workspace's directory.
const DIRECTORY: &str = "tests/assets/csi-driver";
const DRIVER: &str = "sigs.k8s.io/secrets-store-csi-driver";
/// What decides what is built.
const SOURCES: [&str; 5] = ["go.mod", "go.sum", "sidecars/main.go", "mlog/go.mod", "mlog/mlog.go"];
const PROGRAMS: [&str; 2] = ["secrets-store-csi-driver", "sidecars"];

/// Builds `secrets-store-csi-driver` and `sidecars` as static programs and prints their directory.
pub(crate) fn build_csi_driver() -> Result<()> {
    let go = build::go_version().context("Go builds the driver: https://go.dev/doc/install")?;
    let source = process::root().join(DIRECTORY);
    let mut parts = vec![go];
    for name in SOURCES {
        parts.push(read(&source.join(name))?);
    }
    let key = cache::key(&parts.iter().map(String::as_str).collect::<Vec<_>>());
    let cache = cache()?;
    let directory = cache.module("csi-driver", &key);
    if !directory.is_dir() {
        let _lock = cache.lock()?;
        let out = cache.fresh("csi-driver")?;
        let version = format!("-s -w -X {DRIVER}/pkg/version.BuildVersion={}", version()?);
        let mut command = Command::new("nice");
        command.args(["-n", "10", "go", "build", "-buildvcs=false", "-ldflags", &version, "-o"]);
        // Without the C library: the image has none.
        build::run(command.arg(&out).arg("tool").current_dir(&source).env("CGO_ENABLED", "0"))?;
        if let Some(missing) = PROGRAMS.iter().find(|name| !out.join(name).is_file()) {
            bail!("go did not build {missing} into {}", out.display());
        }
        cache.put(&out, &directory)?;
    }
    println!("{}", directory.display());
    Ok(())
}

fn version() -> Result<String> {
    let go_mod = read(&process::root().join(DIRECTORY).join("go.mod"))?;
    let version = module::required_version(&go_mod, DRIVER).map(str::to_owned);
    version.with_context(|| format!("{DIRECTORY}/go.mod does not require {DRIVER}"))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_pinned() -> Result<()> {
        assert!(version()?.starts_with("v1."), "{}", version()?);
        for name in SOURCES {
            assert!(process::root().join(DIRECTORY).join(name).is_file(), "{name}");
        }
        Ok(())
    }
}
