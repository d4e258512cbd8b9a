//! The Go modules, and where their sources are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    build,
    cache::Cache,
    kubernetes::{self, Release},
};
use crate::process;

/// Where the modules' go.mod and go.sum are, below the workspace's directory.
const DIRECTORY: &str = "tests/assets";

/// A Go module whose `tool` directives are programs.
pub(super) struct Module {
    /// Its directory below [`DIRECTORY`].
    pub(super) name: &'static str,
    /// What `go build` calls each program, and what it is called here.
    pub(super) programs: &'static [(&'static str, &'static str)],
    /// The Go module whose version is that of the programs.
    path: &'static str,
    /// The variables that tell the programs their version, which without a build of their own project they do not know.
    version_variables: fn(&str) -> Vec<String>,
}

/// In the order in which they are built: what takes longest comes last.
pub(super) const MODULES: &[Module] = &[
    Module {
        name: "etcd",
        programs: &[("server", "etcd")],
        path: "go.etcd.io/etcd/server/v3",
        version_variables: |_| Vec::new(),
    },
    Module {
        name: "kwok",
        programs: &[("kwok", "kwok")],
        path: "sigs.k8s.io/kwok",
        version_variables: |_| Vec::new(),
    },
    Module {
        name: "helm",
        programs: &[("helm", "helm")],
        path: "helm.sh/helm/v4",
        version_variables: |version| vec![format!("helm.sh/helm/v4/internal/version.version={version}")],
    },
    Module {
        name: "promtool",
        programs: &[("promtool", "promtool")],
        path: "github.com/prometheus/prometheus",
        version_variables: |_| Vec::new(),
    },
    Module {
        name: kubernetes::MODULE,
        programs: &[
            ("kube-apiserver", "kube-apiserver"),
            ("kube-controller-manager", "kube-controller-manager"),
            ("kube-scheduler", "kube-scheduler"),
            ("kubectl", "kubectl"),
        ],
        path: kubernetes::PATH,
        version_variables: kubernetes::version_variables,
    },
];

impl Module {
    /// Whether all its programs are in a directory.
    pub(super) fn is_in(&self, directory: &Path) -> bool {
        self.programs.iter().all(|(_, name)| directory.join(name).is_file())
    }
}

/// Where a module's go.mod comes from.
pub(super) enum Source {
    /// From the workspace.
    Pinned { directory: PathBuf, go_mod: String },
    /// Written for a release of Kubernetes.
    Generated(Release),
}

impl Source {
    /// The workspace's, unless it is Kubernetes and another release of it is wanted.
    pub(super) fn of(module: &Module, kube: Option<Release>) -> Result<Self> {
        let directory = process::root().join(DIRECTORY).join(module.name);
        let go_mod = read(&directory.join("go.mod"))?;
        let pinned = Self::Pinned { directory, go_mod };
        match kube {
            Some(release)
                if module.name == kubernetes::MODULE && pinned.version(module)? != release.version() =>
            {
                Ok(Self::Generated(release))
            }
            _ => Ok(pinned),
        }
    }

    /// The version of the module's programs, `v1.37.2`.
    pub(super) fn version(&self, module: &Module) -> Result<String> {
        match self {
            Self::Pinned { directory, go_mod } => required_version(go_mod, module.path)
                .map(str::to_owned)
                .with_context(|| format!("{} does not require {}", directory.display(), module.path)),
            Self::Generated(release) => Ok(release.version()),
        }
    }

    /// What decides which code is built.
    pub(super) fn fingerprint(&self) -> Result<String> {
        match self {
            Self::Pinned { directory, go_mod } => Ok(go_mod.clone() + &read(&directory.join("go.sum"))?),
            Self::Generated(release) => Ok(release.version()),
        }
    }

    /// The flags of `go build`.
    pub(super) fn flags(&self, module: &Module) -> Result<Vec<String>> {
        let variables = (module.version_variables)(&self.version(module)?);
        let variables = variables.iter().map(|variable| format!(" -X {variable}"));
        // Without symbols: half the size. Without the repository's state: it says nothing about these programs.
        Ok(vec!["-buildvcs=false".to_owned(), format!("-ldflags=-s -w{}", variables.collect::<String>())])
    }

    /// The directory with go.mod and go.sum; a generated one is made first.
    pub(super) fn write(&self, cache: &Cache) -> Result<PathBuf> {
        match self {
            Self::Pinned { directory, .. } => Ok(directory.clone()),
            Self::Generated(release) => {
                let directory = cache.fresh("sources")?;
                let upstream = build::download(kubernetes::PATH, &release.version(), &directory, None)?;
                let go_mod = release.go_mod(&read(&upstream.go_mod)?);
                fs::write(directory.join("go.mod"), go_mod).context("cannot write go.mod")?;
                build::tidy(&directory).with_context(|| {
                    format!(
                        "cannot put the sources of Kubernetes {release} together; where Go says above that a library \
                         (k8s.io/… {staging}) is not to be had, the proxy or checksum database of `go env` does not have it: \
                         take others, or another release",
                        staging = release.library_version(),
                    )
                })?;
                Ok(directory)
            }
        }
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The version at which a go.mod requires a module.
pub(super) fn required_version<'a>(go_mod: &'a str, path: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(path))
            .then(|| words.next().filter(|version| version.starts_with('v')))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_is_pinned() -> Result<()> {
        for module in MODULES {
            let source = Source::of(module, None)?;
            assert!(source.version(module)?.starts_with('v'), "{}", module.name);
            let Source::Pinned { go_mod, .. } = &source else { panic!("{} is generated", module.name) };
            for (built_as, _) in module.programs {
                let tool = |line: &str| line.ends_with(built_as) || line.contains(&format!("/{built_as}/v"));
                assert!(go_mod.lines().any(|line| tool(line) && !line.contains("=>")), "{built_as}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_version_is_found_in_both_forms() {
        let block = "tool (\n\tk8s.io/kubernetes/cmd/kubectl\n)\nrequire (\n\tk8s.io/kubernetes v1.2.3 // indirect\n)\n";
        assert_eq!(required_version(block, "k8s.io/kubernetes"), Some("v1.2.3"));
        assert_eq!(required_version("require a.b/c v0.1.0\n", "a.b/c"), Some("v0.1.0"));
        assert_eq!(required_version("replace a.b/c => d v0.1.0\n", "a.b/c"), None);
    }

    #[test]
    fn another_release_is_generated_and_the_pinned_one_is_not() -> Result<()> {
        let kubernetes = MODULES.iter().find(|module| module.name == kubernetes::MODULE).context("listed")?;
        let source = |minor: &str| Source::of(kubernetes, Some(minor.parse().map_err(anyhow::Error::msg)?));
        assert!(matches!(source("1.31")?, Source::Generated(_)));
        let pinned = Source::of(kubernetes, None)?.version(kubernetes)?;
        let newest = Release::ALL.last().context("there are releases")?;
        assert_eq!(pinned, newest.version(), "the table's newest release is the pinned one");
        assert!(matches!(source("1.37")?, Source::Pinned { .. }));
        let flags = source("1.31")?.flags(kubernetes)?.join(" ");
        assert!(flags.contains("gitVersion=v1.31.") && flags.contains("gitMinor=31"), "{flags}");
        Ok(())
    }
}
