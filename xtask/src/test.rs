//! The test command of the README.

mod choice;
mod postgres;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    assets::{self, Release},
    process, workspace,
};
use choice::{Choice, Machine, Wanted, choose};

/// What the tests with a control plane, and those of the charts, are built with.
pub(crate) const CLUSTER_FEATURES: [&str; 3] =
    [INJECTOR_CLUSTER_FEATURE, "scaivault-agent/cluster-tests", "scaivault-csi-provider/cluster-tests"];
/// Of these, what can run with any release of Kubernetes.
const INJECTOR_CLUSTER_FEATURE: &str = "scaivault-injector/cluster-tests";
/// What the tests with a PostgreSQL server are built with.
pub(crate) const POSTGRES_FEATURES: [&str; 2] =
    ["scaivault-agent/postgres-tests", "scaivault-devserver/postgres-tests"];
/// The variable by which the tests find the programs; the name is that of controller-runtime's envtest.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// Which tests run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the tests of cluster and chart, with another Kubernetes release: 1.31
    #[arg(long, value_name = "MINOR")]
    kube: Option<Release>,
    /// Passed on to `cargo test`, for example `-p scaivault-inject detach`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Args {
    /// All tests, also those after a failure.
    pub(crate) fn everything() -> Self {
        Self { kube: None, args: vec!["--no-fail-fast".to_owned()] }
    }
}

/// Runs every test of every package, doc tests included. What is passed on goes to `cargo test` as it is; packages chosen
/// there (`-p`) take the place of the whole workspace.
///
/// The cluster tests need programs of Kubernetes: found, or built where there is Go. Others need those of PostgreSQL. Where
/// there are none the tests are left out, which is said at the end, and is a failure where `CI=true`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { kube, args } = args;
    if kube.is_some() {
        return with_release(*kube, &tests_behind(&[INJECTOR_CLUSTER_FEATURE])?, args);
    }
    let is_chosen = |feature: &&str| choice::is_chosen(args, feature);
    let (mut features, mut left_out) = (Vec::new(), Vec::new());
    let mut surroundings = Surroundings::default();
    let find = || Programs::find().context("with Go on the PATH, `cargo xtask assets` builds what they need");
    let cluster_tests = tests_behind(&CLUSTER_FEATURES)?;
    if let Some(programs) = wanted(args, &cluster_tests, "cluster-tests", find, &mut left_out)? {
        surroundings.take(programs);
        features.extend(CLUSTER_FEATURES.into_iter().filter(is_chosen));
    }
    let postgres_tests = tests_behind(&POSTGRES_FEATURES)?;
    let directory = wanted(args, &postgres_tests, "postgres-tests", postgres::find, &mut left_out)?;
    if let Some(directory) = directory {
        surroundings.path.push(directory);
        features.extend(POSTGRES_FEATURES.into_iter().filter(is_chosen));
    }
    let formats = ["formats".to_owned()];
    // Their program runs without them, and leaves out the readers that are missing.
    let mut missing = Vec::new();
    surroundings.readers = wanted(args, &formats, "formats", assets::readers, &mut missing)?;
    left_out.extend(
        missing.into_iter().map(|error| {
            format!("the tests of text formats left out the readers of npm, PyPI and Go: {error}")
        }),
    );
    let features = features.join(",");
    let with_features = if features.is_empty() { None } else { Some(["--features", &features]) };
    let scope = if choice::chooses_packages(args) { None } else { Some("--workspace") };
    let words = ["test", "--locked"].into_iter().chain(scope);
    let words = words.chain(with_features.into_iter().flatten()).chain(args.iter().map(String::as_str));
    process::run(surroundings.show_to(&mut process::cargo(words))?)?;
    if left_out.is_empty() {
        return Ok(());
    }
    let left_out = left_out.join("\n");
    if env::var_os("CI").is_some_and(|value| value == "true") {
        bail!("{left_out}");
    }
    println!("\nnote: {left_out}");
    Ok(())
}

/// What these tests need, if they are among those that run. Where it is not there, the tests are left out, unless they are
/// the ones that were asked for.
fn wanted<T>(
    args: &[String],
    tests: &[String],
    feature: &str,
    find: impl FnOnce() -> Result<T>,
    left_out: &mut Vec<String>,
) -> Result<Option<T>> {
    match Wanted::by(args, tests, feature) {
        Wanted::Others => Ok(None),
        Wanted::ByName => find().map(Some),
        Wanted::Everything => match find() {
            Ok(found) => Ok(Some(found)),
            Err(error) => {
                left_out.push(format!("{error:#}"));
                Ok(None)
            }
        },
    }
}

/// The names of the test programs that are only built with one of these features, `package/feature`.
fn tests_behind(features: &[&str]) -> Result<Vec<String>> {
    let mut tests = Vec::new();
    for feature in features {
        let (package, feature) = feature.split_once('/').context("a package and its feature")?;
        tests.extend(workspace::tests_behind(package, feature)?);
    }
    tests.dedup();
    Ok(tests)
}

/// Runs the cluster tests with a release of Kubernetes.
fn with_release(kube: Option<Release>, tests: &[String], extra: &[String]) -> Result<()> {
    let mut surroundings = Surroundings::default();
    surroundings.take(Programs { directory: assets::directory(kube)?, more: Vec::new() });
    let words =
        ["test", "--locked", "--package", "scaivault-injector", "--features", INJECTOR_CLUSTER_FEATURE];
    let tests = tests.iter().flat_map(|test| ["--test", test]);
    let words = words.into_iter().chain(tests).chain(extra.iter().map(String::as_str));
    process::run(surroundings.show_to(&mut process::cargo(words))?)
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
}

/// What the tests are told of the machine.
#[derive(Default)]
struct Surroundings {
    /// The directory with the programs of the cluster tests.
    assets: Option<PathBuf>,
    /// The directory with what reads the agent's text formats.
    readers: Option<PathBuf>,
    /// Directories that are searched before those of the PATH.
    path: Vec<PathBuf>,
}

impl Surroundings {
    fn take(&mut self, Programs { directory, more }: Programs) {
        self.assets = Some(directory);
        self.path.extend(more);
    }

    fn show_to<'a>(&self, command: &'a mut Command) -> Result<&'a mut Command> {
        let Self { assets, readers, path } = self;
        if let Some(directory) = readers {
            command.env("SCAIVAULT_READERS", directory);
        }
        if let Some(directory) = assets {
            println!("{ASSETS_VARIABLE}={}", directory.display());
            command.env(ASSETS_VARIABLE, directory);
        }
        let inherited = env::var_os("PATH").unwrap_or_default();
        let path: OsString = env::join_paths(path.iter().cloned().chain(env::split_paths(&inherited)))
            .context("a directory with a colon in its name cannot be put on the PATH")?;
        Ok(command.env("PATH", path))
    }
}
