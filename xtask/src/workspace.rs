//! What cargo says about the workspace.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process;

/// The parts of `cargo metadata --no-deps` that the tasks use, as cargo writes them.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<RawPackage>,
    workspace_root: PathBuf,
    target_directory: String,
}

#[derive(Deserialize)]
struct RawPackage {
    name: String,
    manifest_path: PathBuf,
    publish: Option<Vec<String>>,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

/// A line of a package's `[dependencies]`, `[dev-dependencies]` or `[build-dependencies]`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package that is depended on.
    pub(crate) name: String,
    /// None for `[dependencies]`, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

impl Dependency {
    /// Whether it is for tests, benches and examples alone.
    pub(crate) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// What a package builds.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Target {
    /// The target's name.
    pub(crate) name: String,
    /// `lib`, `bin`, `test`, `bench`, …
    pub(crate) kind: Vec<String>,
    /// The features without which it is not built.
    #[serde(default, rename = "required-features")]
    pub(crate) required_features: Vec<String>,
}

/// A member of the workspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    /// The package's name.
    pub(crate) name: String,
    /// Its directory from the workspace's; empty for the root package.
    pub(crate) dir: String,
    /// Whether `cargo publish` would take it.
    pub(crate) publishable: bool,
    /// What its manifest names.
    pub(crate) dependencies: Vec<Dependency>,
    /// What it builds.
    pub(crate) targets: Vec<Target>,
}

/// The members of the workspace, in cargo's order.
pub(crate) fn members() -> Result<Vec<Package>> {
    Ok(packages(metadata()?))
}

/// The names of the test programs of a package that are only built with one of its features.
pub(crate) fn tests_behind(package: &str, feature: &str) -> Result<Vec<String>> {
    let package = members()?.into_iter().find(|member| member.name == package);
    let targets = package.context("there is no such package")?.targets.into_iter();
    let is_behind = |target: &Target| target.required_features.iter().any(|required| required == feature);
    let tests = targets.filter(|target| target.kind == ["test"] && is_behind(target));
    Ok(tests.map(|target| target.name).collect())
}

/// Where cargo builds.
pub(crate) fn target_directory() -> Result<String> {
    Ok(metadata()?.target_directory)
}

/// The names of all packages that are built into `package`, directly or not, when it is built alone on this machine with
/// these flags; itself and what only tests use are not among them.
///
/// From `cargo tree` and not from the graph of `cargo metadata`: that one ignores which features are on, and so it
/// contains packages that are never built.
pub(crate) fn built_into(package: &str, flags: &[&str]) -> Result<BTreeSet<String>> {
    let args =
        ["tree", "--locked", "--package", package, "--edges=normal,build", "--prefix=none", "--format={p}"];
    let tree = process::output(process::cargo(args).args(flags))?;
    let mut names = parse_tree(&tree);
    names.remove(package);
    Ok(names)
}

/// The names of all packages that are built into the injector as the `Dockerfile` builds it.
pub(crate) fn shipped() -> Result<BTreeSet<String>> {
    built_into("scaivault-injector", &["--no-default-features"])
}

/// The names of all packages that are built for the workspace on this machine, its tests included.
pub(crate) fn built_at_all() -> Result<BTreeSet<String>> {
    let args = ["tree", "--locked", "--workspace", "--prefix=none", "--format={p}"];
    Ok(parse_tree(&process::output(&mut process::cargo(args))?))
}

fn metadata() -> Result<Metadata> {
    let args = ["metadata", "--format-version=1", "--no-deps", "--locked"];
    let text = process::output(&mut process::cargo(args))?;
    serde_json::from_str(&text).context("`cargo metadata` wrote something unexpected")
}

fn packages(metadata: Metadata) -> Vec<Package> {
    let Metadata { packages, workspace_root, target_directory: _ } = metadata;
    let members = packages.into_iter().map(|package| {
        let RawPackage { name, manifest_path, publish, dependencies, targets } = package;
        Package {
            name,
            dir: relative_dir(&manifest_path, &workspace_root),
            publishable: publish.is_none_or(|registries| !registries.is_empty()),
            dependencies,
            targets,
        }
    });
    members.collect()
}

fn relative_dir(manifest: &Path, root: &Path) -> String {
    let dir = manifest.parent().unwrap_or(root);
    let dir = dir.strip_prefix(root).unwrap_or(dir);
    dir.to_string_lossy().replace('\\', "/")
}

/// The first word of each line: `serde v1.0.229 (*)`.
fn parse_tree(tree: &str) -> BTreeSet<String> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_know_where_they_are() -> Result<()> {
        let members = packages(serde_json::from_str(
            r#"{"workspace_root": "/w", "target_directory": "/w/target", "packages": [
                {"name": "app", "manifest_path": "/w/Cargo.toml", "publish": [], "targets": [],
                 "dependencies": [{"name": "core", "kind": null}, {"name": "tool", "kind": "dev"}]},
                {"name": "app-core", "manifest_path": "/w/crates/core/Cargo.toml", "publish": null,
                 "targets": [{"name": "speed", "kind": ["bench"]}], "dependencies": []}]}"#,
        )?);
        let [app, core] = members.as_slice() else {
            panic!("two members, got {members:?}");
        };
        assert_eq!((app.dir.as_str(), app.publishable), ("", false));
        assert_eq!((core.dir.as_str(), core.publishable), ("crates/core", true));
        assert!(app.dependencies[1].is_dev() && !app.dependencies[0].is_dev());
        assert_eq!(core.targets[0].name, "speed");
        Ok(())
    }

    #[test]
    fn a_tree_is_a_set_of_names() {
        let tree = "scaivault-inject v0.1.0 (/w/crates/inject)\nserde v1.0.229\n\nserde v1.0.229 (*)\n";
        assert_eq!(parse_tree(tree), ["scaivault-inject", "serde"].map(String::from).into());
    }

    #[test]
    fn what_only_tests_use_is_not_built_into_a_package() -> Result<()> {
        let names = built_into("xtask", &[])?;
        assert!(names.contains("anyhow") && names.contains("clap_builder"), "{names:?}");
        assert!(!names.contains("xtask") && !names.contains("proptest"), "{names:?}");
        Ok(())
    }
}
