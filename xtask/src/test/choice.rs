//! Which tests are wanted, and which programs they get.

use std::path::{Path, PathBuf};

use crate::assets;

/// What the words for `cargo test` ask for, seen from some test programs that need more than cargo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// These tests among all others.
    Everything,
    /// These tests, by their name or that of the feature.
    ByName,
    /// Packages or programs among which these tests are not.
    Others,
}

impl Wanted {
    /// Read off the words before `--`, which are cargo's and not the test programs'. `tests` are the programs' names, and
    /// `feature` is what they are built with.
    pub(super) fn by(extra: &[String], tests: &[String], feature: &str) -> Self {
        let words: Vec<_> = cargos_words(extra).collect();
        let is_one = |name: &str| tests.iter().any(|test| test == name);
        if words.windows(2).any(|pair| pair[0] == "--test" && is_one(pair[1]))
            || words
                .iter()
                .any(|word| word.strip_prefix("--test=").is_some_and(is_one) || word.contains(feature))
        {
            return Self::ByName;
        }
        // Cargo's options that choose some programs of a package and leave out the others.
        let others = [
            "--test",
            "--lib",
            "--doc",
            "--bin",
            "--bins",
            "--bench",
            "--benches",
            "--example",
            "--examples",
        ];
        let chooses_programs = words
            .iter()
            .any(|word| others.contains(&word.split_once('=').map_or(*word, |(option, _)| option)));
        if chooses_programs || chooses_packages(extra) { Self::Others } else { Self::Everything }
    }
}

/// Whether the words name packages.
pub(super) fn chooses_packages(extra: &[String]) -> bool {
    cargos_words(extra)
        .any(|word| word.starts_with("--package") || (word.starts_with("-p") && !word.starts_with("--")))
}

/// Whether a feature's package is among those that the words name, if they name any. `feature` is `package/feature`.
pub(super) fn is_chosen(extra: &[String], feature: &str) -> bool {
    let package = feature.split_once('/').map_or(feature, |(package, _)| package);
    !chooses_packages(extra) || cargos_words(extra).any(|word| word.ends_with(package))
}

fn cargos_words(extra: &[String]) -> impl Iterator<Item = &str> {
    extra.iter().map(String::as_str).take_while(|word| *word != "--")
}

/// What has to be in one place, because it is of one version; all else may come from elsewhere.
const SERVERS: [&str; 5] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];

/// Where programs may be.
pub(super) struct Machine<'a> {
    /// The directory that the environment names.
    pub(super) named: Option<&'a Path>,
    /// The directories of the PATH.
    pub(super) path: &'a [PathBuf],
    /// The directory with what has been built.
    pub(super) cached: Option<&'a Path>,
}

/// The programs that the tests get.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice<'a> {
    /// Those that the environment names, with what they lack from `more`.
    Named { directory: &'a Path, more: Option<&'a Path> },
    /// Those that have been built.
    Cached(&'a Path),
    /// They have to be built first.
    Build,
    /// There are none.
    Nothing,
}

/// What the environment names, if that is all it takes; else what has been built; else what can be.
pub(super) fn choose<'a>(
    machine: &Machine<'a>,
    can_be_built: bool,
    is_in: impl Fn(&Path, &str) -> bool,
) -> Choice<'a> {
    let Machine { named, path, cached } = *machine;
    if let Some(directory) = named {
        let on_path = |program: &str| path.iter().any(|directory| is_in(directory, program));
        let may_be_elsewhere = |name: &str| !SERVERS.contains(&name);
        let missing: Vec<_> = assets::names()
            .filter(|name| !is_in(directory, name))
            .filter(|name| !(may_be_elsewhere(name) && on_path(name)))
            .collect();
        if missing.is_empty() {
            return Choice::Named { directory, more: None };
        }
        if cached.is_some() && missing.iter().all(|name| may_be_elsewhere(name)) {
            return Choice::Named { directory, more: cached };
        }
    }
    match cached {
        Some(cached) => Choice::Cached(cached),
        None if can_be_built => Choice::Build,
        None => Choice::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn packages_are_chosen_before_the_dashes_only() {
        for chosen in ["-p scaivault-inject", "-pscaivault-inject detach", "--package=xtask"] {
            assert!(chooses_packages(&words(chosen)), "{chosen}");
        }
        for all in ["detach", "--doc", "-- -p", "--profile release"] {
            assert!(!chooses_packages(&words(all)), "{all}");
        }
    }

    #[test]
    fn a_feature_is_for_the_packages_that_are_chosen() {
        let is_chosen = |text: &str| is_chosen(&words(text), "scaivault-agent/postgres-tests");
        for chosen in
            ["", "--test postgres", "-p scaivault-agent", "-pscaivault-agent", "--package=scaivault-agent"]
        {
            assert!(is_chosen(chosen), "{chosen}");
        }
        assert!(!is_chosen("-p scaivault-devserver --test postgres -- scaivault-agent"));
    }

    #[test]
    fn the_cluster_tests_run_with_all_others_or_by_name() {
        let tests = words("cluster chart");
        for everything in ["", "detach", "--release", "-- --test cluster"] {
            assert_eq!(
                Wanted::by(&words(everything), &tests, "cluster-tests"),
                Wanted::Everything,
                "{everything}"
            );
        }
        for named in [
            "--test cluster",
            "--test=cluster",
            "--test chart",
            "--test golden --test=chart",
            "-p scaivault-injector --features cluster-tests",
        ] {
            assert_eq!(Wanted::by(&words(named), &tests, "cluster-tests"), Wanted::ByName, "{named}");
        }
        for others in
            ["-p xtask", "--test golden", "--test=golden", "--doc", "-p scaivault-injector --test cli"]
        {
            assert_eq!(Wanted::by(&words(others), &tests, "cluster-tests"), Wanted::Others, "{others}");
        }
    }

    /// `named`, `path` and `cached` are the names of the programs there; none where there is no such directory.
    #[track_caller]
    fn check(named: Option<&[&str]>, path: &[&str], cached: bool, can_be_built: bool, expected: &Choice<'_>) {
        let is_in = |directory: &Path, program: &str| match directory.to_str() {
            Some("named") => named.is_some_and(|programs| programs.contains(&program)),
            _ => path.contains(&program),
        };
        let machine = Machine {
            named: named.map(|_| Path::new("named")),
            path: &["bin".into()],
            cached: cached.then_some(Path::new("cached")),
        };
        assert_eq!(choose(&machine, can_be_built, is_in), *expected);
    }

    #[test]
    fn what_the_environment_names_comes_first_and_then_what_has_been_built() {
        let all: Vec<_> = assets::names().collect();
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        let others: Vec<_> = all.iter().copied().filter(|name| !SERVERS.contains(name)).collect();
        let envtest: &[&str] = &["etcd", "kube-apiserver", "kubectl"];
        let cached = Choice::Cached(Path::new("cached"));
        let named = |more: Option<&'static str>| Choice::Named {
            directory: Path::new("named"),
            more: more.map(Path::new),
        };

        check(Some(&all), &[], true, true, &named(None));
        check(Some(&SERVERS), &others, true, true, &named(None));
        check(Some(&SERVERS), &["helm"], true, true, &named(Some("cached")));
        // Of the servers none comes from elsewhere: they have to be of one version.
        check(Some(envtest), &all, true, true, &cached);
        check(None, &all, true, true, &cached);
        check(Some(&SERVERS), &[], false, true, &Choice::Build);
        check(None, &all, false, true, &Choice::Build);
        check(None, &all, false, false, &Choice::Nothing);
    }
}
