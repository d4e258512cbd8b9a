//! Runs the tests, with the programs that some of them need.

mod selection;

use std::{
    env, fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, bail};
use xshell::Shell;

use crate::{
    assets::{self, Release},
    workspace::{self, Package},
};
use selection::{Selection, SpecialTests};

/// The feature of tests with a control plane, and of those of the charts.
pub(crate) const CLUSTER: &str = "cluster-tests";
/// The feature of tests with a PostgreSQL server.
pub(crate) const POSTGRES: &str = "postgres-tests";
/// The test of text formats. It is built without a feature, and skips missing readers.
const FORMATS: &str = "formats";
/// The package whose cluster tests run with any supported release of Kubernetes.
const INJECTOR: &str = "scaivault-injector";
/// The variable with the directory of programs, named as in controller-runtime's envtest.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";
/// How many tests of a program run at once.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";
/// More than one, because the slow tests wait for other processes most of the time.
const THREADS_PER_CORE: usize = 2;
/// Programs that must be in the same directory, because they must have the same version; others may
/// be on the `PATH`.
const SERVERS: [&str; 5] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];
/// The programs of a PostgreSQL server, and where Debian's packages install them, in a directory
/// for each version.
const POSTGRES_PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// Finds or builds the requirements of some tests, and sets the variables for them.
type Prepare = fn(&Shell) -> Result<()>;

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
    /// All tests, including those after a failure.
    pub(crate) fn everything() -> Self {
        Self { kube: None, args: vec!["--no-fail-fast".to_owned()] }
    }
}

/// Runs every test of every package, including doc tests. Additional arguments are passed to
/// `cargo test`; packages selected there (`-p`) replace the whole workspace.
///
/// Some tests need programs of Kubernetes, which are found, or built if Go is installed; others
/// need PostgreSQL. If they are missing, the tests are skipped, which is reported at the end and is
/// a failure with `CI=true`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let shell = workspace::shell()?;
    let members = workspace::metadata(&shell)?.packages;
    let selection = Selection::new(&args.args);
    if args.kube.is_some() {
        set_assets(&shell, &assets::directory(args.kube)?);
        let feature = format!("{INJECTOR}/{CLUSTER}");
        let injector: Vec<_> = members.into_iter().filter(|member| member.name == INJECTOR).collect();
        let tests = tests_behind(&injector, CLUSTER);
        let tests = tests.iter().flat_map(|test| ["--test", test]);
        let words = ["test", "--locked", "--package", INJECTOR, "--features", &feature];
        return Ok(workspace::cargo(&shell, &words).args(tests).args(&args.args).run()?);
    }
    let suites: [(&str, Vec<&str>, Prepare); 3] = [
        (CLUSTER, tests_behind(&members, CLUSTER), |shell| {
            set_assets(shell, &find_assets()?);
            Ok(())
        }),
        (POSTGRES, tests_behind(&members, POSTGRES), |shell| add_to_path(shell, find_postgres()?)),
        (FORMATS, vec![FORMATS], |shell| {
            shell.set_var("SCAIVAULT_READERS", assets::readers()?);
            Ok(())
        }),
    ];
    let (mut enabled, mut left_out) = (Vec::new(), Vec::new());
    for (feature, tests, prepare) in suites {
        let wanted = selection.wants(&tests, feature);
        if wanted == SpecialTests::No {
            continue;
        }
        match prepare(&shell) {
            Ok(()) => enabled.extend(features(&members, feature)),
            Err(error) if wanted == SpecialTests::ByName => return Err(error),
            Err(error) => {
                left_out.push(format!("the tests of {feature} are left out, all or some: {error:#}"));
            }
        }
    }
    enabled.retain(|feature| selection.has_package_of(feature));
    let scope = (!selection.chooses_packages()).then_some("--workspace");
    let with_features = (!enabled.is_empty()).then(|| ["--features".to_owned(), enabled.join(",")]);
    if env::var_os(THREADS_VARIABLE).is_none() {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        shell.set_var(THREADS_VARIABLE, (THREADS_PER_CORE * cores).to_string());
    }
    workspace::cargo(&shell, &["test", "--locked"])
        .args(scope)
        .args(with_features.into_iter().flatten())
        .args(&args.args)
        .run()?;
    if left_out.is_empty() {
        return Ok(());
    }
    if workspace::is_ci() {
        bail!("{}", left_out.join("\n"));
    }
    println!("\nnote: {}", left_out.join("\n"));
    Ok(())
}

/// A feature of all members that have it, in cargo's notation `package/feature`.
pub(crate) fn features(members: &[Package], feature: &str) -> Vec<String> {
    let with_feature = members.iter().filter(|member| member.features.contains_key(feature));
    with_feature.map(|member| format!("{}/{feature}", member.name)).collect()
}

/// The names of test programs that are only built with a feature.
fn tests_behind<'a>(members: &'a [Package], feature: &str) -> Vec<&'a str> {
    let targets = members.iter().flat_map(|member| &member.targets);
    let tests = targets.filter(|target| target.required_features.iter().any(|required| required == feature));
    tests.map(|target| target.name.as_str()).collect()
}

fn set_assets(shell: &Shell, directory: &Path) {
    println!("{ASSETS_VARIABLE}={}", directory.display());
    shell.set_var(ASSETS_VARIABLE, directory);
}

/// The directory in the environment variable, if it is complete; else the cached or newly built
/// one.
fn find_assets() -> Result<PathBuf> {
    let named = env::var_os(ASSETS_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    match named.filter(|directory| is_complete(directory, &path(), Path::is_file)) {
        Some(directory) => Ok(directory),
        None => assets::directory(None).with_context(|| {
            let all = assets::names().collect::<Vec<_>>().join(", ");
            format!("{ASSETS_VARIABLE} names no directory with {all}, and they cannot be built")
        }),
    }
}

fn is_complete(directory: &Path, path: &[PathBuf], is_file: impl Fn(&Path) -> bool) -> bool {
    assets::names().all(|name| {
        let is_on_path = || path.iter().any(|directory| is_file(&directory.join(&name)));
        is_file(&directory.join(&name)) || !SERVERS.contains(&name.as_str()) && is_on_path()
    })
}

/// The directory with PostgreSQL's programs: the first one on the `PATH`, else the newest version.
fn find_postgres() -> Result<PathBuf> {
    let versions = fs::read_dir(POSTGRES_VERSIONS).into_iter().flatten().flatten();
    let found = newest_complete(path(), versions.map(|entry| entry.path()).collect(), Path::is_file);
    found.with_context(|| {
        let programs = POSTGRES_PROGRAMS.join(", ");
        format!("{programs} are neither on the PATH nor below {POSTGRES_VERSIONS}; on Debian: apt-get install postgresql")
    })
}

fn newest_complete(
    path: Vec<PathBuf>,
    mut versions: Vec<PathBuf>,
    is_file: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    versions.sort_by_key(|directory| directory.file_name()?.to_str()?.parse::<u32>().ok());
    let newest_first = versions.into_iter().rev().map(|directory| directory.join("bin"));
    let mut all = path.into_iter().chain(newest_first);
    all.find(|directory| POSTGRES_PROGRAMS.iter().all(|program| is_file(&directory.join(program))))
}

fn path() -> Vec<PathBuf> {
    env::var_os("PATH").iter().flat_map(env::split_paths).collect()
}

fn add_to_path(shell: &Shell, directory: PathBuf) -> Result<()> {
    let path = env::join_paths([directory].into_iter().chain(path()));
    shell.set_var("PATH", path.context("a directory with a colon in its name cannot be put on the PATH")?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_must_be_in_the_named_directory() {
        let elsewhere = |missing: &'static str| {
            is_complete(Path::new("/named"), &["/bin".into()], move |file| {
                let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                (name != missing) == file.starts_with("/named")
            })
        };
        assert!(elsewhere("helm"), "other programs may be on the PATH");
        assert!(!elsewhere("kubectl"), "kubectl is of the servers' version");
    }

    #[test]
    fn the_path_precedes_the_newest_version() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let choose = |complete: &[&str]| {
            let is_file =
                |file: &Path| complete.iter().any(|complete| file.parent() == Some(Path::new(complete)));
            newest_complete(
                paths(&["/bin", "/opt/pg"]),
                paths(&["/v/9", "/v/17", "/v/common", "/v/15"]),
                is_file,
            )
        };
        assert_eq!(choose(&["/opt/pg", "/v/17/bin"]), Some("/opt/pg".into()));
        assert_eq!(choose(&["/v/9/bin", "/v/15/bin", "/v/17/bin"]), Some("/v/17/bin".into()));
        assert_eq!(choose(&[]), None);
    }
}
