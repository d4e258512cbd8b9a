//! The cache of built programs.

use std::{
    cell::RefCell,
    ffi::OsString,
    fs::{self, File, TryLockError},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};
use xshell::Shell;

/// A directory outside the workspace, so that all checkouts share their builds.
pub(super) struct Cache {
    root: PathBuf,
    /// Held from the first build until the program ends: another task with the same target waits,
    /// and then finds it built.
    lock: RefCell<Option<File>>,
}

impl Cache {
    /// The cache directory from the environment, in the order `SCAIVAULT_ASSETS_CACHE`,
    /// `XDG_CACHE_HOME` and `HOME`.
    pub(super) fn find(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let directory = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = directory("SCAIVAULT_ASSETS_CACHE").or_else(|| {
            let caches = directory("XDG_CACHE_HOME").or_else(|| Some(directory("HOME")?.join(".cache")))?;
            Some(caches.join("scaivault-injector/assets"))
        })?;
        Some(Self { root, lock: RefCell::new(None) })
    }

    /// The directory with the programs of several modules.
    pub(super) fn set(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// The directory with the programs of one module.
    pub(super) fn module(&self, name: &str, key: &str) -> PathBuf {
        self.root.join("modules").join(format!("{name}-{key}"))
    }

    /// A directory of the cache. If it does not exist, `make` fills an empty directory, which is
    /// then renamed, so that an existing one is always complete.
    pub(super) fn get_or_make(
        &self,
        shell: &Shell,
        place: &Path,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        if !place.is_dir() {
            self.wait_for_lock(shell)?;
        }
        if !place.is_dir() {
            let out = self.fresh(shell, &place.file_name().unwrap_or_default().to_string_lossy())?;
            make(&out)?;
            shell.create_dir(place.parent().unwrap_or(&self.root))?;
            let failed = || format!("cannot move {} to {}", out.display(), place.display());
            fs::rename(&out, place).with_context(failed)?;
        }
        Ok(place.to_owned())
    }

    /// An empty working directory.
    pub(super) fn fresh(&self, shell: &Shell, name: &str) -> Result<PathBuf> {
        let path = self.root.join("work").join(format!("{name}-{}", process::id()));
        shell.remove_path(&path)?;
        Ok(shell.create_dir(&path)?)
    }

    fn wait_for_lock(&self, shell: &Shell) -> Result<()> {
        if self.lock.borrow().is_some() {
            return Ok(());
        }
        shell.create_dir(&self.root)?;
        let path = self.root.join("lock");
        let failed = || format!("cannot lock {}", path.display());
        let lock = File::options().create(true).append(true).open(&path).with_context(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!("waiting for another build, which holds {}", path.display());
                lock.lock().with_context(failed)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        // Removes leftovers of an earlier task.
        shell.remove_path(self.root.join("work"))?;
        self.lock.replace(Some(lock));
        Ok(())
    }
}

/// A name for the result of these inputs. It distinguishes inputs, but need not resist deliberate
/// collisions.
pub(super) fn key(parts: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_sets_the_cache_directory() {
        let check = |environment: &[(&str, &str)], expected: Option<&str>| {
            let variable = |name: &str| {
                environment.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            };
            let found = Cache::find(variable).map(|cache| cache.set("1234"));
            assert_eq!(found, expected.map(PathBuf::from), "{environment:?}");
        };
        let in_home = Some("/home/a/.cache/scaivault-injector/assets/1234");
        check(&[("HOME", "/home/a")], in_home);
        check(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "")], in_home);
        check(&[("HOME", "/a"), ("XDG_CACHE_HOME", "/c")], Some("/c/scaivault-injector/assets/1234"));
        check(&[("HOME", "/a"), ("SCAIVAULT_ASSETS_CACHE", "/assets")], Some("/assets/1234"));
        check(&[], None);
    }

    #[test]
    fn incomplete_assets_are_not_cached() -> Result<()> {
        let (shell, directory) = (Shell::new()?, tempfile::tempdir()?);
        let root = directory.path().as_os_str().to_owned();
        let cache = Cache::find(|_| Some(root.clone())).context("there is a variable")?;
        let place = cache.module("a", &key(&["a", "bc"]));
        assert_ne!(place, cache.module("a", &key(&["ab", "c"])));
        let half = cache.get_or_make(&shell, &place, |out| {
            shell.write_file(out.join("half"), "")?;
            anyhow::bail!("no Go")
        });
        assert!(half.is_err() && !place.exists());
        let whole = cache.get_or_make(&shell, &place, |out| Ok(shell.write_file(out.join("whole"), "")?))?;
        assert_eq!(shell.read_dir(&whole)?, [place.join("whole")]);
        cache.get_or_make(&shell, &place, |_| anyhow::bail!("is made already"))?;
        Ok(())
    }
}
