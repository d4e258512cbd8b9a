//! The requirements of the tests: etcd, Kubernetes, helm, kwok and promtool, built from Go modules
//! into a cache, and the API documents of each supported Kubernetes. Other tests need readers of
//! text formats, and the end-to-end test needs the Secrets Store CSI driver.

mod cache;
mod kubernetes;
mod module;
mod openapi;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

pub(crate) use kubernetes::Release;

use crate::workspace;
use cache::Cache;
use module::{Build, CSI_DRIVER, MODULES};

/// What is built.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Another Kubernetes release than the pinned one, by its minor version: 1.31
    #[arg(long, value_name = "MINOR")]
    kube: Option<Release>,
}

/// Builds what is missing and prints the directory.
pub(crate) fn run(args: &Args) -> Result<()> {
    println!("{}", directory(args.kube)?.display());
    Ok(())
}

/// The names of all programs and documents.
pub(crate) fn names() -> impl Iterator<Item = String> {
    let programs = MODULES.iter().flat_map(|module| module.programs);
    programs.map(|(_, name)| (*name).to_owned()).chain(openapi::names())
}

/// The directory with all programs and documents; missing ones are built first, one module at a
/// time.
pub(crate) fn directory(kube: Option<Release>) -> Result<PathBuf> {
    let (shell, go) = shell_with_go()?;
    let builds =
        MODULES.iter().map(|module| Build::new(&shell, module, kube, &go)).collect::<Result<Vec<_>>>()?;
    let openapi = openapi::key();
    let keys: Vec<_> = builds.iter().map(|build| build.key.as_str()).chain([openapi.as_str()]).collect();
    let cache = cache()?;
    cache.get_or_make(&shell, &cache.set(&cache::key(&keys)), |out| {
        let mut parts = vec![openapi::fetch(&shell, &cache)?];
        for build in &builds {
            parts.push(build_module(&shell, &cache, build)?);
        }
        parts.iter().try_for_each(|part| link_files(&shell, part, out))
    })
}

fn link_files(shell: &Shell, from: &Path, to: &Path) -> Result<()> {
    for file in shell.read_dir(from)? {
        shell.hard_link(&file, to.join(file.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// Builds `secrets-store-csi-driver` and `sidecars` as static programs and prints their directory.
pub(crate) fn build_csi_driver() -> Result<()> {
    let (shell, go) = shell_with_go()?;
    let (cache, build) = (cache()?, Build::new(&shell, &CSI_DRIVER, None, &go)?);
    println!("{}", build_module(&shell, &cache, &build)?.display());
    Ok(())
}

/// The directory of a module's programs. A build uses all cores with low priority.
fn build_module(shell: &Shell, cache: &Cache, build: &Build) -> Result<PathBuf> {
    let Build { module, version, key, .. } = build;
    cache.get_or_make(shell, &cache.module(module.name, key), |out| {
        let started = Instant::now();
        eprintln!("building {} ({version}): minutes, if Go has not built it before", module.name);
        let flags = build.flags();
        let sources = build.sources(shell, cache)?;
        let _directory = shell.push_dir(sources);
        let command = cmd!(shell, "nice -n 10 go build -o {out} {flags...} tool");
        // Without the C library, which their images do not contain.
        if module.is_static { command.env("CGO_ENABLED", "0") } else { command }.run()?;
        for (built_as, name) in module.programs {
            fs::rename(out.join(built_as), out.join(name))
                .with_context(|| format!("go did not build {built_as}"))?;
        }
        eprintln!("built {} in {:.0} s", module.name, started.elapsed().as_secs_f64());
        Ok(())
    })
}

/// The readers of the agent's text formats for its tests: libraries from npm, `PyPI` and Go, in
/// pinned versions. Returns the directory with `node/node_modules`, `python` and `go/readers`,
/// which is created if it is missing.
pub(crate) fn readers() -> Result<PathBuf> {
    let (shell, go) = shell_with_go()?;
    let source = module::assets().join("readers");
    // A wheel is specific to a version of Python.
    let python = cmd!(shell, "python3 --version").quiet().read().context("python3 is one of the readers")?;
    let key = cache::key(&[&module::fingerprint(&shell, &source)?, &go, &python]);
    let cache = cache()?;
    cache.get_or_make(&shell, &cache.module("readers", &key), |out| {
        let _directory = shell.push_dir(&source);
        let (node, python, program) = (out.join("node"), out.join("python"), out.join("go/readers"));
        shell.create_dir(&node)?;
        for name in ["package.json", "package-lock.json"] {
            shell.copy_file(name, &node)?;
        }
        cmd!(shell, "npm ci --prefix {node} --ignore-scripts --no-audit --no-fund").run()?;
        let pip =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"];
        cmd!(shell, "python3 {pip...} --target {python} --requirement requirements.txt").run()?;
        cmd!(shell, "go build -buildvcs=false -o {program} .").run()?;
        if !program.is_file() {
            bail!("go built no {}", program.display());
        }
        Ok(())
    })
}

/// A shell for Go, with the output of `go version`.
fn shell_with_go() -> Result<(Shell, String)> {
    let shell = workspace::shell()?;
    shell.set_var("GOWORK", "off");
    let version = cmd!(shell, "go version").quiet().read();
    let version =
        version.context("Go builds the programs and is not on the PATH: https://go.dev/doc/install")?;
    Ok((shell, version))
}

fn cache() -> Result<Cache> {
    Cache::find(|name| env::var_os(name)).context(
        "no place for built programs: set HOME, XDG_CACHE_HOME or SCAIVAULT_ASSETS_CACHE to a directory",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_linked_into_one_directory() -> Result<()> {
        let (shell, directory) = (Shell::new()?, tempfile::tempdir()?);
        let [etcd, kubernetes, all] = ["etcd", "kubernetes", "all"].map(|name| directory.path().join(name));
        shell.create_dir(&all)?;
        for (part, name) in [(&etcd, "etcd"), (&kubernetes, "kubectl"), (&kubernetes, "kube-apiserver")] {
            shell.write_file(part.join(name), name)?;
        }
        link_files(&shell, &etcd, &all)?;
        link_files(&shell, &kubernetes, &all)?;
        for name in ["etcd", "kubectl", "kube-apiserver"] {
            assert_eq!(shell.read_file(all.join(name))?, name);
        }
        Ok(())
    }
}
