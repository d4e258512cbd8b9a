//! The releases of Kubernetes that the cluster tests support.

use std::{fmt, str::FromStr};

/// The name of the Go module with Kubernetes' programs.
pub(super) const MODULE: &str = "kubernetes";
/// The path of that module.
pub(super) const PATH: &str = "k8s.io/kubernetes";

/// A release of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    minor: u16,
    patch: u16,
    /// The hash of the Go module's files in go.sum.
    sum: &'static str,
}

impl Release {
    /// Every supported minor version with its newest patch, oldest first. The last one is pinned in
    /// `tests/assets`.
    pub(super) const ALL: [Self; 8] = [
        Self { minor: 30, patch: 14, sum: "h1:MrlKXh9uhLIJpyxOeXhcndzRVSvwiV9iJ8NgH8nqPsg=" },
        Self { minor: 31, patch: 14, sum: "h1:UtjLfqvXLuSVDdJ4+NpQCIfFkKkLnAAVmxAEMsnkhjk=" },
        Self { minor: 32, patch: 13, sum: "h1:5TGYdZ6YZqdp6h/Rp1vX/4TIoybMPdgv97LCZCtPuNQ=" },
        Self { minor: 33, patch: 13, sum: "h1:bmH31xUdSzeA5vk0wZAK9MZp11mdLuzUSeKk0qN3hPQ=" },
        Self { minor: 34, patch: 4, sum: "h1:Yy6R4QB8C9kJPp25GFqEvX5XQwY5qzKeqD0Xx6oAcmk=" },
        Self { minor: 35, patch: 4, sum: "h1:o/8dBC/pHVpYoGV4OAIytAlNPZbdYVTXJHoYvXC4qzM=" },
        Self { minor: 36, patch: 3, sum: "h1:qDQdoMiluAE2Eab6Fa52YV+WjiGz9mZFFoagEA6cI+o=" },
        Self { minor: 37, patch: 2, sum: "h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=" },
    ];

    /// The version of the Go module: `v1.31.14`.
    pub(super) fn version(self) -> String {
        let Self { minor, patch, sum: _ } = self;
        format!("v1.{minor}.{patch}")
    }

    /// The version of the Go modules of its libraries: `v0.31.14`.
    pub(super) fn library_version(self) -> String {
        let Self { minor, patch, sum: _ } = self;
        format!("v0.{minor}.{patch}")
    }

    /// The hash of the Go module's files in go.sum, `h1:…`.
    pub(super) fn sum(self) -> &'static str {
        self.sum
    }

    /// A go.mod that builds this release's programs, generated from Kubernetes' own.
    ///
    /// Kubernetes refers to its libraries as directories of its repository, which a published
    /// module does not contain. They are published under the same version with a leading 0.
    /// Libraries that it does not require are omitted, because some are not published at all.
    pub(super) fn go_mod(self, upstream: &str) -> String {
        let published = self.library_version();
        let lines = || upstream.lines().map(str::trim);
        let is_required = |library: &str| {
            lines().any(|line| line.strip_prefix(library).is_some_and(|rest| rest.starts_with(" v0.0.0")))
        };
        let libraries =
            lines().filter_map(|line| line.split_once(" => ./staging/").map(|(library, _)| library));
        let replaces = libraries
            .filter(|library| is_required(library))
            .map(|library| format!("\t{library} => {library} {published}\n"));
        let programs = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];
        let tools = programs.map(|program| format!("\t{PATH}/cmd/{program}\n"));
        format!(
            "module scaivault-injector/tests/assets/{MODULE}\n\ngo 1.26.0\n\nrequire {PATH} {version}\n\n\
             replace (\n{replaces})\n\ntool (\n{tools})\n",
            version = self.version(),
            replaces = replaces.collect::<String>(),
            tools = tools.concat(),
        )
    }
}

/// Parses the notation of the command line: `1.31`.
impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|release| release.to_string() == text).ok_or_else(|| {
            let known = Self::ALL.map(|release| release.to_string());
            format!("no such release; there are {}", known.join(", "))
        })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

/// The variables that Kubernetes' own build sets. Without them a server reports the version
/// `v0.0.0-master`.
pub(super) fn version_variables(version: &str) -> Vec<String> {
    let mut numbers = version.trim_start_matches('v').split('.');
    let mut number = || numbers.next().unwrap_or_default();
    let (major, minor) = (number(), number());
    [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)]
        .map(|(name, value)| format!("k8s.io/component-base/version.{name}={value}"))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_its_minor_version() {
        assert_eq!("1.31".parse::<Release>().map(Release::version), Ok("v1.31.14".to_owned()));
        for unknown in ["1.29", "1.310", "1.31.14", "v1.31"] {
            let error = unknown.parse::<Release>().expect_err("it is not in the table");
            assert!(error.contains("1.30, 1.31"), "{error}");
        }
    }

    #[test]
    fn the_libraries_that_are_required_become_published_ones() -> Result<(), String> {
        let upstream = "module k8s.io/kubernetes\n\nrequire (\n\tk8s.io/api v0.0.0\n\tk8s.io/kubectl v0.0.0 // indirect\n)\n\n\
                        replace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\
                        \tk8s.io/sample-cli-plugin => ./staging/src/k8s.io/sample-cli-plugin\n\
                        \tk8s.io/kubectl => ./staging/src/k8s.io/kubectl\n\
                        \tgithub.com/a/b => github.com/c/d v1.0.0\n)\n";
        let go_mod = "1.31".parse::<Release>()?.go_mod(upstream);
        assert_eq!(
            go_mod,
            "module scaivault-injector/tests/assets/kubernetes\n\ngo 1.26.0\n\n\
             require k8s.io/kubernetes v1.31.14\n\n\
             replace (\n\tk8s.io/api => k8s.io/api v0.31.14\n\tk8s.io/kubectl => k8s.io/kubectl v0.31.14\n)\n\n\
             tool (\n\tk8s.io/kubernetes/cmd/kube-apiserver\n\tk8s.io/kubernetes/cmd/kube-controller-manager\n\
             \tk8s.io/kubernetes/cmd/kube-scheduler\n\tk8s.io/kubernetes/cmd/kubectl\n)\n"
        );
        Ok(())
    }

    #[test]
    fn the_programs_get_their_version() {
        let variables = version_variables("v1.37.2");
        assert_eq!(variables[0], "k8s.io/component-base/version.gitVersion=v1.37.2");
        assert!(variables[2].ends_with(".gitMinor=37"), "{variables:?}");
    }
}
