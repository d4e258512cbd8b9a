//! What the rules look at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};

use super::rust_text::RustText;
use crate::{
    process,
    workspace::{self, Package},
};

/// Directories that hold what was built or found, not what was written. Names of one component match anywhere.
const NOT_OURS: &[&str] = &[".git", "target", "fuzz/corpus", "fuzz/artifacts", "fuzz/coverage"];

/// The packages of the workspace and all files in its directory.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The members of the workspace.
    pub(super) members: Vec<Package>,
    /// By member: all packages that are built into it.
    pub(super) built_into: BTreeMap<String, BTreeSet<String>>,
    /// All packages that are built into the injector as it ships.
    pub(super) shipped: BTreeSet<String>,
    /// All packages that are built for the workspace, its tests included.
    pub(super) built_at_all: BTreeSet<String>,
    /// All files by path; `/` separates directories on every system.
    pub(super) files: Vec<File>,
}

/// A file of the project.
#[derive(Debug)]
pub(super) struct File {
    /// The path from the workspace's directory.
    pub(super) path: String,
    /// Its size in bytes.
    pub(super) bytes: usize,
    /// The text; none if it is not UTF-8 or holds a NUL.
    pub(super) text: Option<String>,
}

/// A Rust source file.
#[derive(Debug)]
pub(super) struct RustFile<'a> {
    /// The path from the workspace's directory.
    pub(super) path: &'a str,
    /// The file as it is.
    pub(super) text: &'a str,
    /// The file with what the compiler reads apart from what people read.
    pub(super) split: RustText,
}

impl Tree {
    /// Reads the workspace that this program belongs to.
    pub(super) fn read() -> Result<Self> {
        let members = workspace::members()?;
        let built_into = members
            .iter()
            .map(|package| Ok((package.name.clone(), workspace::built_into(&package.name, &[])?)))
            .collect::<Result<_>>()?;
        let mut files = Vec::new();
        walk(process::root(), "", &mut files)?;
        Ok(Self {
            members,
            built_into,
            shipped: workspace::shipped()?,
            built_at_all: workspace::built_at_all()?,
            files,
        })
    }

    /// The text of a file, if it exists and is text.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path)?.text.as_deref()
    }

    /// All Rust sources.
    pub(super) fn rust_files(&self) -> impl Iterator<Item = RustFile<'_>> {
        self.files.iter().filter_map(|file| {
            let text = file.text.as_deref()?;
            file.is_rust().then(|| RustFile { path: &file.path, text, split: RustText::of(text) })
        })
    }
}

impl File {
    fn new(path: String, content: Vec<u8>) -> Self {
        Self {
            path,
            bytes: content.len(),
            text: String::from_utf8(content).ok().filter(|text| !text.contains('\0')),
        }
    }

    /// Whether it is a Rust source.
    pub(super) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }
}

impl RustFile<'_> {
    /// Whether all of the file is test code: `tests.rs`, or anything below a directory `tests` or `benches`.
    pub(super) fn is_test(&self) -> bool {
        let mut components = self.path.split('/');
        components.any(|component| matches!(component, "tests.rs" | "tests" | "benches"))
    }

    /// The index of the first line of test code, if there is any. Tests come last in a file.
    pub(super) fn first_test_line(&self) -> Option<usize> {
        if self.is_test() {
            return Some(0);
        }
        self.split.code.lines().position(|line| line.trim_start().starts_with("#[cfg(test)]"))
    }
}

/// Every file, tracked or not: what does not belong here shall be found before it is committed. (And a checkout that
/// belongs to another user is one where git refuses to answer.)
fn walk(root: &Path, dir: &str, files: &mut Vec<File>) -> Result<()> {
    let here = root.join(dir);
    let entries = fs::read_dir(&here).with_context(|| format!("cannot list {}", here.display()))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
        if NOT_OURS.contains(&name.as_str()) || NOT_OURS.contains(&path.as_str()) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(root, &path, files)?;
        } else if kind.is_file() {
            let content = fs::read(entry.path()).with_context(|| format!("cannot read {path}"))?;
            files.push(File::new(path, content));
        }
    }
    Ok(())
}

#[cfg(test)]
impl Tree {
    /// A tree of one file.
    pub(super) fn with_file(path: &str, text: &str) -> Self {
        Self::default().and_file(path, text)
    }

    /// One file more.
    pub(super) fn and_file(mut self, path: &str, text: &str) -> Self {
        self.files.push(File::new(path.to_owned(), text.as_bytes().to_vec()));
        self
    }

    /// One member more; `dependencies` are its `[dependencies]`, and all that is built into it.
    pub(super) fn and_member(mut self, name: &str, dir: &str, dependencies: &[&str]) -> Self {
        let built_into: BTreeSet<String> = dependencies.iter().map(ToString::to_string).collect();
        let dependency = |name: &&str| workspace::Dependency { name: (*name).to_owned(), kind: None };
        self.members.push(Package {
            name: name.to_owned(),
            dir: dir.to_owned(),
            dependencies: dependencies.iter().map(dependency).collect(),
            ..Package::default()
        });
        self.built_at_all.extend(built_into.iter().cloned());
        self.built_into.insert(name.to_owned(), built_into);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_is_not_read() -> Result<()> {
        let tree = Tree::read()?;
        assert!(tree.text("Cargo.toml").is_some());
        assert!(tree.text("xtask/src/tidy/tree.rs").is_some());
        assert!(
            !tree.files.iter().any(|file| file.path.starts_with("target/") || file.path.starts_with(".git/"))
        );
        Ok(())
    }

    #[test]
    fn test_code_is_told_from_the_rest() {
        let first = |path: &str, text: &str| {
            let tree = Tree::with_file(path, text);
            tree.rust_files().next().and_then(|file| file.first_test_line())
        };
        assert_eq!(first("tests/cli.rs", "fn a() {}"), Some(0));
        assert_eq!(first("webhook/src/router/tests.rs", ""), Some(0));
        assert_eq!(first("src/serve.rs", "fn a() {}\n#[cfg(test)]\nmod tests {}\n"), Some(1));
        assert_eq!(first("src/serve.rs", "// #[cfg(test)]\nfn a() {}\n"), None);
    }

    #[test]
    fn binary_content_has_no_text() {
        assert_eq!(File::new("a".into(), vec![0xff, 0xfe]).text, None);
        assert_eq!(File::new("a".into(), b"a\0b".to_vec()).text, None);
        assert_eq!(File::new("a".into(), b"text".to_vec()).text.as_deref(), Some("text"));
    }
}
