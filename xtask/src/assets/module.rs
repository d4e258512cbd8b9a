//! The Go modules and their sources.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use xshell::{Shell, cmd};

use super::{
    cache::{self, Cache},
    kubernetes::{self, Release},
};
use crate::workspace;

/// A Go module whose `tool` directives are programs.
pub(super) struct Module {
    /// Its directory below `tests/assets`.
    pub(super) name: &'static str,
    /// The name of each program in `go build`, and its name here.
    pub(super) programs: &'static [(&'static str, &'static str)],
    /// The Go module with the version of the programs.
    path: &'static str,
    /// The linker variables that set the programs' version, which is otherwise only set by their
    /// own project's build.
    version_variables: fn(&str) -> Vec<String>,
    /// Whether the programs must be statically linked.
    pub(super) is_static: bool,
}

/// In build order: the slowest last.
pub(super) const MODULES: [Module; 5] = [
    Module::new("etcd", &[("server", "etcd")], "go.etcd.io/etcd/server/v3", |_| Vec::new()),
    Module::new("kwok", &[("kwok", "kwok")], "sigs.k8s.io/kwok", |_| Vec::new()),
    Module::new("helm", &[("helm", "helm")], "helm.sh/helm/v4", |version| {
        vec![format!("helm.sh/helm/v4/internal/version.version={version}")]
    }),
    Module::new("promtool", &[("promtool", "promtool")], "github.com/prometheus/prometheus", |_| Vec::new()),
    Module::new(
        kubernetes::MODULE,
        &[
            ("kube-apiserver", "kube-apiserver"),
            ("kube-controller-manager", "kube-controller-manager"),
            ("kube-scheduler", "kube-scheduler"),
            ("kubectl", "kubectl"),
        ],
        kubernetes::PATH,
        kubernetes::version_variables,
    ),
];

/// The Secrets Store CSI driver, and the sidecars of its pod.
pub(super) const CSI_DRIVER: Module = Module {
    is_static: true,
    ..Module::new(
        "csi-driver",
        &[("secrets-store-csi-driver", "secrets-store-csi-driver"), ("sidecars", "sidecars")],
        "sigs.k8s.io/secrets-store-csi-driver",
        |version| vec![format!("sigs.k8s.io/secrets-store-csi-driver/pkg/version.BuildVersion={version}")],
    )
};

impl Module {
    const fn new(
        name: &'static str,
        programs: &'static [(&'static str, &'static str)],
        path: &'static str,
        version_variables: fn(&str) -> Vec<String>,
    ) -> Self {
        Self { name, programs, path, version_variables, is_static: false }
    }
}

/// A module in one version.
pub(super) struct Build {
    pub(super) module: &'static Module,
    /// The version of the programs, `v1.37.2`.
    pub(super) version: String,
    /// The cache key of the build.
    pub(super) key: String,
    /// The release of Kubernetes for which go.mod is generated; `None` for a go.mod in the
    /// workspace.
    generated: Option<Release>,
}

impl Build {
    /// The workspace's version, unless the module is Kubernetes and another release is requested.
    pub(super) fn new(
        shell: &Shell,
        module: &'static Module,
        kube: Option<Release>,
        go_version: &str,
    ) -> Result<Self> {
        let directory = assets().join(module.name);
        let go_mod = shell.read_file(directory.join("go.mod"))?;
        let pinned = required_version(&go_mod, module.path)
            .with_context(|| format!("{} does not require {}", directory.display(), module.path))?;
        let is_other = |release: &Release| module.name == kubernetes::MODULE && release.version() != pinned;
        let generated = kube.filter(is_other);
        let version = generated.map_or_else(|| pinned.to_owned(), Release::version);
        let fingerprint = if generated.is_some() { version.clone() } else { fingerprint(shell, &directory)? };
        let mut build = Self { module, version, key: String::new(), generated };
        build.key = cache::key(&[&fingerprint, &build.flags().join("\0"), go_version]);
        Ok(build)
    }

    /// The flags of `go build`. Without symbols, which halves the size, and without the
    /// repository's state, which is unrelated to these programs.
    pub(super) fn flags(&self) -> [String; 2] {
        let variables = (self.module.version_variables)(&self.version);
        let variables: Vec<_> = variables.iter().map(|variable| format!(" -X {variable}")).collect();
        ["-buildvcs=false".to_owned(), format!("-ldflags=-s -w{}", variables.concat())]
    }

    /// The directory with go.mod and go.sum; a generated one is created first.
    pub(super) fn sources(&self, shell: &Shell, cache: &Cache) -> Result<PathBuf> {
        let Some(release) = self.generated else { return Ok(assets().join(self.module.name)) };
        let directory = cache.fresh(shell, "sources")?;
        let upstream = download(shell, kubernetes::PATH, &release.version(), &directory, None)?;
        let go_mod = release.go_mod(&shell.read_file(upstream.go_mod)?);
        shell.write_file(directory.join("go.mod"), go_mod)?;
        let _directory = shell.push_dir(&directory);
        cmd!(shell, "go mod tidy").run().with_context(|| {
            format!(
                "cannot put the sources of Kubernetes {release} together; where Go says above that a library \
                 (k8s.io/… {library}) is not to be had, the proxy or checksum database of `go env` does not have it: \
                 take others, or another release",
                library = release.library_version(),
            )
        })?;
        Ok(directory)
    }
}

/// The directory of the modules.
pub(super) fn assets() -> PathBuf {
    workspace::root().join("tests/assets")
}

/// A fingerprint of all files in a directory, which determine the built code.
pub(super) fn fingerprint(shell: &Shell, directory: &Path) -> Result<String> {
    let files = shell
        .read_dir(directory)?
        .into_iter()
        .map(|path| if path.is_dir() { fingerprint(shell, &path) } else { Ok(shell.read_file(path)?) });
    files.collect()
}

/// A published module, as described by `go mod download -json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Download {
    /// The path of its go.mod.
    pub(super) go_mod: PathBuf,
    /// The directory of its files.
    pub(super) dir: PathBuf,
    /// The hash of its files in go.sum, `h1:…`.
    pub(super) sum: String,
}

/// Downloads a module, into `into` if it is given, else into Go's own cache. `directory` must not
/// belong to a module.
pub(super) fn download(
    shell: &Shell,
    path: &str,
    version: &str,
    directory: &Path,
    into: Option<&Path>,
) -> Result<Download> {
    let _directory = shell.push_dir(directory);
    // Files in Go's cache are read-only unless this flag is set.
    let writable = into.map(|_| "-modcacherw");
    let mut command = cmd!(shell, "go mod download -json {writable...} {path}@{version}").quiet();
    if let Some(into) = into {
        command = command.env("GOMODCACHE", into);
    }
    serde_json::from_str(&command.read()?).context("`go mod download` wrote something unexpected")
}

/// The version of a module that a go.mod requires.
fn required_version<'a>(go_mod: &'a str, path: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(path)).then(|| words.next().filter(|version| version.starts_with('v')))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_is_pinned() -> Result<()> {
        let shell = Shell::new()?;
        for module in MODULES.iter().chain([&CSI_DRIVER]) {
            assert!(Build::new(&shell, module, None, "go")?.version.starts_with('v'), "{}", module.name);
            let go_mod = shell.read_file(assets().join(module.name).join("go.mod"))?;
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
        let shell = Shell::new()?;
        let [.., kubernetes] = &MODULES;
        let build = |minor: &str| {
            let release = minor.parse().map_err(anyhow::Error::msg)?;
            Build::new(&shell, kubernetes, Some(release), "go")
        };
        let (old, newest) = (build("1.31")?, Release::ALL.last().context("there are releases")?);
        assert!(old.generated.is_some());
        let flags = old.flags().join(" ");
        assert!(flags.contains("gitVersion=v1.31.") && flags.contains("gitMinor=31"), "{flags}");
        let pinned = Build::new(&shell, kubernetes, None, "go")?;
        assert_eq!(pinned.version, newest.version(), "the table's newest release is the pinned one");
        assert!(build(&newest.to_string())?.generated.is_none());
        Ok(())
    }
}
