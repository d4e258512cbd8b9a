//! The workspace according to cargo, and the shell for running programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Deserialize;
use xshell::{Cmd, Shell, cmd};

/// The workspace's directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in a directory of the workspace")
}

/// A shell in the workspace's directory.
pub(crate) fn shell() -> Result<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(root());
    Ok(shell)
}

/// The cargo that started this program.
pub(crate) fn cargo<'a>(shell: &'a Shell, words: &[&str]) -> Cmd<'a> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    cmd!(shell, "{cargo} {words...}")
}

/// The used fields of `cargo metadata --no-deps`.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    /// The members of the workspace.
    pub(crate) packages: Vec<Package>,
    /// Cargo's target directory.
    pub(crate) target_directory: PathBuf,
}

/// A member of the workspace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    /// The registries to which it may be published; `None` means all, and an empty list means none.
    pub(crate) publish: Option<Vec<String>>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

/// A dependency in a package's `[dependencies]`, `[dev-dependencies]` or `[build-dependencies]`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for `[dependencies]`, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// A build target of a package.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// `lib`, `bin`, `test`, `bench`, …
    pub(crate) kind: Vec<String>,
    /// The features that are required to build it.
    #[serde(default, rename = "required-features")]
    pub(crate) required_features: Vec<String>,
}

impl Package {
    /// Its directory relative to the workspace's; empty for the root package.
    pub(crate) fn directory(&self) -> String {
        let directory = self.manifest_path.parent().unwrap_or(root());
        directory.strip_prefix(root()).unwrap_or(directory).to_string_lossy().replace('\\', "/")
    }
}

impl Dependency {
    /// Whether it is only for tests, benches and examples.
    pub(crate) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// Cargo's metadata about the members of the workspace.
pub(crate) fn metadata(shell: &Shell) -> Result<Metadata> {
    let text = cargo(shell, &["metadata", "--no-deps", "--format-version=1", "--locked"]).quiet().read()?;
    serde_json::from_str(&text).context("`cargo metadata` wrote something unexpected")
}

/// The names of all direct and indirect packages that are built into `package` when it is built
/// alone on this machine with these flags; the package itself and dependencies of tests are
/// excluded.
///
/// Uses `cargo tree` instead of the graph of `cargo metadata`, because that contains the features
/// of the whole workspace, and therefore packages that are never built into this one.
pub(crate) fn built_into(shell: &Shell, package: &str, flags: &[&str]) -> Result<BTreeSet<String>> {
    let words = ["tree", "--locked", "--edges=normal,build", "--prefix=none", "--format={p}", "--package"];
    let tree = cargo(shell, &words).arg(package).args(flags).quiet().read()?;
    // The first word of each line: `serde v1.0.229 (*)`.
    let names = tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    Ok(names.filter(|name| name != package).collect())
}

/// Whether this is a run of CI, where nothing may be left out.
pub(crate) fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_dependencies_are_not_built_into_packages() -> Result<()> {
        let shell = shell()?;
        let names = built_into(&shell, "scaivault-inject", &[])?;
        assert!(names.contains("serde_json") && names.contains("serde_core"), "{names:?}");
        assert!(!names.contains("scaivault-inject") && !names.contains("proptest"), "{names:?}");
        let members = metadata(&shell)?.packages;
        let inject = members.iter().find(|member| member.name == "scaivault-inject").expect("is a member");
        assert_eq!(inject.directory(), "crates/inject");
        assert!(inject.dependencies.iter().any(Dependency::is_dev));
        Ok(())
    }
}
