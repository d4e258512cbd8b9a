//! The input of the rules.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use xshell::Shell;

use super::dependencies::PURE;
use crate::workspace::{self, Package};

/// Directories with build output or found inputs instead of sources. Names with one component match
/// anywhere.
const NOT_WRITTEN: &[&str] = &[".git", "target", "fuzz/corpus", "fuzz/artifacts", "fuzz/coverage"];

/// The packages of the workspace and all files in its directory.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) members: Vec<Package>,
    /// For each pure member, all packages that are built into it.
    pub(super) built_into: BTreeMap<String, BTreeSet<String>>,
    /// All packages that are built into the injector as it ships.
    pub(super) shipped: BTreeSet<String>,
    /// All files by path (with `/` as separator on every system), with their text; `None` if it is
    /// not UTF-8 or contains NUL.
    pub(super) files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Reads the workspace of this program.
    pub(super) fn read() -> Result<Self> {
        let shell = workspace::shell()?;
        let built = |name: &str| Ok((name.to_owned(), workspace::built_into(&shell, name, &[])?));
        let built_into = PURE.iter().map(|(name, ..)| built(name)).collect::<Result<_>>()?;
        let shipped = workspace::built_into(&shell, "scaivault-injector", &["--no-default-features"])?;
        let mut files = BTreeMap::new();
        walk(&shell, "", &mut files)?;
        Ok(Self { members: workspace::metadata(&shell)?.packages, built_into, shipped, files })
    }

    /// The text of a file; empty if it does not exist or is not text.
    pub(super) fn text(&self, path: &str) -> &str {
        self.files.get(path).and_then(Option::as_deref).unwrap_or_default()
    }

    /// All texts, by path.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// All Rust sources, by path.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| is_rust(path))
    }
}

pub(super) fn is_rust(path: &str) -> bool {
    path.rsplit('.').next() == Some("rs")
}

/// Every file, tracked or not, so that mistakes are found before they are committed. Git is not
/// used, because it refuses to work in a checkout that belongs to another user.
fn walk(shell: &Shell, directory: &str, files: &mut BTreeMap<String, Option<String>>) -> Result<()> {
    for entry in shell.read_dir(workspace::root().join(directory))? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        let path = if directory.is_empty() { name.to_string() } else { format!("{directory}/{name}") };
        if NOT_WRITTEN.contains(&name.as_ref()) || NOT_WRITTEN.contains(&path.as_str()) || entry.is_symlink()
        {
            continue;
        }
        if entry.is_dir() {
            walk(shell, &path, files)?;
        } else {
            let text = String::from_utf8(shell.read_binary_file(&entry)?).ok();
            files.insert(path, text.filter(|text| !text.contains('\0')));
        }
    }
    Ok(())
}
