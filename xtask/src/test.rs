//! The test command of the README.

mod choice;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    assets::{self, Release},
    process, workspace,
};
use choice::{Choice, Machine, Wanted, choose};

/// What the tests of cluster and chart are built with.
pub(crate) const CLUSTER_FEATURE: &str = "scaivault-injector/cluster-tests";
/// The variable by which the tests find the programs; the name is that of controller-runtime's envtest.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// Which tests run.
#[derive(Default, clap::Args)]
pub(crate) struct Args {
    /// Run only the tests of cluster and chart, with another Kubernetes release: 1.31
    #[arg(long, value_name = "MINOR")]
    kube: Option<Release>,
    /// Passed on to `cargo test`, for example `-p scaivault-inject detach`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs every test of every package, doc tests included. What is passed on goes to `cargo test` as it is; packages chosen
/// there (`-p`) take the place of the whole workspace.
///
/// The cluster tests need programs of Kubernetes: found, or built where there is Go. Where neither is possible they are left
/// out, which is said at the end, and is a failure where `CI=true`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { kube, args } = args;
    let programs = cluster_tests()?;
    if kube.is_some() {
        return with_release(*kube, &programs, args);
    }
    let wanted = Wanted::by(args, &programs);
    let scope = if choice::chooses_packages(args) { None } else { Some("--workspace") };
    let base = ["test", "--locked"].into_iter().chain(scope);
    if wanted == Wanted::WithoutCluster {
        return process::run(&mut process::cargo(base.chain(args.iter().map(String::as_str))));
    }
    match Programs::find() {
        Ok(programs) => {
            let words = base.chain(["--features", CLUSTER_FEATURE]).chain(args.iter().map(String::as_str));
            process::run(programs.show_to(&mut process::cargo(words))?)
        }
        Err(error) if wanted == Wanted::ClusterByName => Err(error),
        Err(error) => {
            process::run(&mut process::cargo(base.chain(args.iter().map(String::as_str))))?;
            let left_out = format!(
                "the test programs {} were left out: {error:#}; \
                 with Go on the PATH, `cargo xtask assets` builds what they need",
                programs.join(", ")
            );
            if env::var_os("CI").is_some_and(|value| value == "true") {
                bail!("{left_out}");
            }
            println!("\nnote: {left_out}");
            Ok(())
        }
    }
}

/// The names of the test programs that need something built.
fn cluster_tests() -> Result<Vec<String>> {
    let (package, feature) = CLUSTER_FEATURE.split_once('/').expect("a package and its feature");
    workspace::tests_behind(package, feature)
}

/// Runs the cluster tests with a release of Kubernetes.
fn with_release(kube: Option<Release>, tests: &[String], extra: &[String]) -> Result<()> {
    let programs = Programs { directory: assets::directory(kube)?, more: Vec::new() };
    let words = ["test", "--locked", "--package", "scaivault-injector", "--features", CLUSTER_FEATURE];
    let tests = tests.iter().flat_map(|test| ["--test", test]);
    let words = words.into_iter().chain(tests).chain(extra.iter().map(String::as_str));
    process::run(programs.show_to(&mut process::cargo(words))?)
}

/// Where the programs are.
struct Programs {
    directory: PathBuf,
    /// Where those are that the directory has not, and that are not on the PATH.
    more: Vec<PathBuf>,
}

impl Programs {
    fn find() -> Result<Self> {
        let named = env::var_os(ASSETS_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path: Vec<_> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
        let cached = assets::cached(None)?;
        let is_in = |directory: &Path, name: &str| directory.join(name).is_file();
        let machine = Machine { named: named.as_deref(), path: &path, cached: cached.as_deref() };
        match choose(&machine, assets::can_be_built(), is_in) {
            Choice::Named { directory, more } => {
                let more = more.map(Path::to_owned).into_iter().collect();
                Ok(Self { directory: directory.to_owned(), more })
            }
            Choice::Cached(directory) => Ok(Self { directory: directory.to_owned(), more: Vec::new() }),
            Choice::Build => Ok(Self { directory: assets::directory(None)?, more: Vec::new() }),
            Choice::Nothing => bail!(
                "{ASSETS_VARIABLE} names no directory with {}, and there is no Go to build them",
                assets::names().collect::<Vec<_>>().join(", ")
            ),
        }
    }

    /// Tells the tests where to look.
    fn show_to<'a>(&self, command: &'a mut std::process::Command) -> Result<&'a mut std::process::Command> {
        let Self { directory, more } = self;
        let path = env::var_os("PATH").unwrap_or_default();
        let path: OsString = env::join_paths(more.iter().cloned().chain(env::split_paths(&path)))
            .context("a directory with a colon in its name cannot be put on the PATH")?;
        println!("{ASSETS_VARIABLE}={}", directory.display());
        Ok(command.env(ASSETS_VARIABLE, directory).env("PATH", path))
    }
}
