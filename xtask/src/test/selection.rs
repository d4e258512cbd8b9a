//! Determines which tests the arguments of `cargo test` select.

/// The arguments before `--`, which are cargo's and not those of the test programs.
pub(super) struct Selection<'a>(Vec<&'a str>);

/// Whether the arguments select tests with special requirements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpecialTests {
    /// Together with all others.
    Yes,
    /// By their name or that of their feature.
    ByName,
    /// The arguments select other packages or programs.
    No,
}

/// Cargo's options that select some programs of a package and exclude the others.
const CHOOSES_PROGRAMS: [&str; 9] =
    ["--test", "--lib", "--doc", "--bin", "--bins", "--bench", "--benches", "--example", "--examples"];

impl<'a> Selection<'a> {
    pub(super) fn new(words: &'a [String]) -> Self {
        Self(words.iter().map(String::as_str).take_while(|word| *word != "--").collect())
    }

    /// `tests` are the names of test programs, and `feature` is required to build them.
    pub(super) fn wants(&self, tests: &[&str], feature: &str) -> SpecialTests {
        let Self(words) = self;
        let is_option = |word: &&str| CHOOSES_PROGRAMS.contains(&word.split('=').next().unwrap_or_default());
        let names = words.windows(2).filter(|pair| pair[0] == "--test").map(|pair| pair[1]);
        let mut names = names.chain(words.iter().filter_map(|word| word.strip_prefix("--test=")));
        if names.any(|name| tests.contains(&name)) || words.iter().any(|word| word.contains(feature)) {
            SpecialTests::ByName
        } else if words.iter().any(is_option) || self.chooses_packages() {
            SpecialTests::No
        } else {
            SpecialTests::Yes
        }
    }

    /// Whether the arguments name packages.
    pub(super) fn chooses_packages(&self) -> bool {
        self.0
            .iter()
            .any(|word| word.starts_with("--package") || word.starts_with("-p") && !word.starts_with("--"))
    }

    /// Whether the named packages, if there are any, include the package of a feature. `feature` is
    /// `package/feature`.
    pub(super) fn has_package_of(&self, feature: &str) -> bool {
        let package = feature.split('/').next().unwrap_or_default();
        !self.chooses_packages() || self.0.iter().any(|word| word.ends_with(package))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn packages_replace_the_workspace() {
        for some in ["-p xtask", "-pxtask", "--package xtask", "--package=xtask detach"] {
            assert!(Selection::new(&words(some)).chooses_packages(), "{some}");
        }
        for all in ["", "detach", "--test cluster -- -p xtask", "--profile release"] {
            assert!(!Selection::new(&words(all)).chooses_packages(), "{all}");
        }
    }

    #[test]
    fn a_feature_is_for_the_packages_that_are_chosen() {
        let has = |text: &str| Selection::new(&words(text)).has_package_of("scaivault-agent/postgres-tests");
        for chosen in
            ["", "--test postgres", "-p scaivault-agent", "-pscaivault-agent", "--package=scaivault-agent"]
        {
            assert!(has(chosen), "{chosen}");
        }
        assert!(!has("-p scaivault-devserver --test postgres -- scaivault-agent"));
    }

    #[test]
    fn the_cluster_tests_run_with_all_others_or_by_name() {
        let wanted = |text: &str| Selection::new(&words(text)).wants(&["cluster", "chart"], "cluster-tests");
        for all in ["", "detach", "--release", "-- --test cluster"] {
            assert_eq!(wanted(all), SpecialTests::Yes, "{all}");
        }
        for named in [
            "--test cluster",
            "--test=cluster",
            "--test golden --test=chart",
            "-p scaivault-injector --features cluster-tests",
        ] {
            assert_eq!(wanted(named), SpecialTests::ByName, "{named}");
        }
        for others in
            ["-p xtask", "--test golden", "--test=golden", "--doc", "-p scaivault-injector --test cli"]
        {
            assert_eq!(wanted(others), SpecialTests::No, "{others}");
        }
    }
}
