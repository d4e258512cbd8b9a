//! What the tests of chart and cluster need: etcd, Kubernetes, helm, kwok and promtool, built from Go modules into a cache,
//! and beside them what the API of each supported Kubernetes knows.

#![allow(
    clippy::print_stderr,
    reason = "standard output is the directory alone, for KUBEBUILDER_ASSETS=$(...)"
)]

mod build;
mod cache;
mod csi_driver;
mod kubernetes;
mod module;
mod openapi;
mod readers;

use std::{env, fs, path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail};

pub(crate) use csi_driver::build_csi_driver;
pub(crate) use kubernetes::Release;
pub(crate) use readers::readers;

use cache::Cache;
use module::{MODULES, Module, Source};

/// What is built.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Another Kubernetes release than the pinned one, by its minor version: 1.31
    #[arg(long, value_name = "MINOR")]
    kube: Option<Release>,
}

/// Makes what is missing and prints the directory with it.
pub(crate) fn run(args: &Args) -> Result<()> {
    println!("{}", directory(args.kube)?.display());
    Ok(())
}

/// The names of all programs and documents.
pub(crate) fn names() -> impl Iterator<Item = String> {
    let programs = MODULES.iter().flat_map(|module| module.programs);
    programs.map(|(_, name)| (*name).to_owned()).chain(openapi::names())
}

/// The directory with all of them, if they have been made.
pub(crate) fn cached(kube: Option<Release>) -> Result<Option<PathBuf>> {
    let Some(go) = build::go_version() else { return Ok(None) };
    let set = Set::of(kube, &go)?;
    let directory = cache()?.set(&set.key());
    Ok(set.is_in(&directory).then_some(directory))
}

/// Whether what is missing can be built at all.
pub(crate) fn can_be_built() -> bool {
    build::go_version().is_some()
}

/// The directory with all programs and documents; what is missing is made first, one module at a time.
pub(crate) fn directory(kube: Option<Release>) -> Result<PathBuf> {
    let go = build::go_version()
        .context("Go builds the programs and is not on the PATH: https://go.dev/doc/install")?;
    let set = Set::of(kube, &go)?;
    let cache = cache()?;
    let directory = cache.set(&set.key());
    if set.is_in(&directory) {
        return Ok(directory);
    }
    // Held until the end: another task that wants the same waits, and then finds it built.
    let _lock = cache.lock()?;
    if set.is_in(&directory) {
        return Ok(directory);
    }
    let mut built = vec![openapi::fetch(&cache)?];
    for keyed in &set.modules {
        built.push(build_module(&cache, keyed)?);
    }
    cache.link(&built, &directory)?;
    Ok(directory)
}

fn build_module(cache: &Cache, keyed: &Keyed) -> Result<PathBuf> {
    let Keyed { module, source, key } = keyed;
    let directory = cache.module(module.name, key);
    if module.is_in(&directory) {
        return Ok(directory);
    }
    let started = Instant::now();
    eprintln!(
        "building {} ({}): minutes, if Go has not built it before",
        module.name,
        source.version(module)?
    );
    let out = cache.fresh(module.name)?;
    let sources = source.write(cache)?;
    build::build(&sources, &source.flags(module)?, &out)?;
    for (built_as, name) in module.programs.iter().filter(|(built_as, name)| built_as != name) {
        fs::rename(out.join(built_as), out.join(name))
            .with_context(|| format!("go did not build {built_as}"))?;
    }
    if !module.is_in(&out) {
        bail!("{} did not build all of its programs into {}", module.name, out.display());
    }
    cache.put(&out, &directory)?;
    eprintln!("built {} in {:.0} s", module.name, started.elapsed().as_secs_f64());
    Ok(directory)
}

fn cache() -> Result<Cache> {
    Cache::find(|name| env::var_os(name)).context(
        "no place for built programs: set HOME, XDG_CACHE_HOME or SCAIVAULT_ASSETS_CACHE to a directory",
    )
}

/// The modules that are built together, each with the key of what goes into it.
struct Set {
    modules: Vec<Keyed>,
}

struct Keyed {
    module: &'static Module,
    source: Source,
    key: String,
}

impl Set {
    fn of(kube: Option<Release>, go_version: &str) -> Result<Self> {
        let keyed = |module: &'static Module| {
            let source = Source::of(module, kube)?;
            let key = cache::key(&[&source.fingerprint()?, &source.flags(module)?.join("\0"), go_version]);
            Ok(Keyed { module, source, key })
        };
        Ok(Self { modules: MODULES.iter().map(keyed).collect::<Result<_>>()? })
    }

    fn key(&self) -> String {
        let openapi = openapi::key();
        let modules = self.modules.iter().map(|keyed| keyed.key.as_str());
        cache::key(&modules.chain([openapi.as_str()]).collect::<Vec<_>>())
    }

    fn is_in(&self, directory: &std::path::Path) -> bool {
        self.modules.iter().all(|keyed| keyed.module.is_in(directory)) && openapi::are_in(directory)
    }
}
