//! Where built programs are kept.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};

/// A directory outside of the workspace: builds of all its checkouts are shared.
pub(super) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Where the environment says, in the order of `SCAIVAULT_ASSETS_CACHE`, `XDG_CACHE_HOME` and `HOME`.
    pub(super) fn find(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let directory = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = directory("SCAIVAULT_ASSETS_CACHE").or_else(|| {
            let caches = directory("XDG_CACHE_HOME").or_else(|| Some(directory("HOME")?.join(".cache")))?;
            Some(caches.join("scaivault-injector/assets"))
        })?;
        Some(Self { root })
    }

    /// The directory with the programs of several modules.
    pub(super) fn set(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// The directory with the programs of one module.
    pub(super) fn module(&self, name: &str, key: &str) -> PathBuf {
        self.root.join("modules").join(format!("{name}-{key}"))
    }

    /// Waits until no other task builds; the lock ends with the value.
    pub(super) fn lock(&self) -> Result<File> {
        fs::create_dir_all(&self.root).with_context(|| format!("cannot make {}", self.root.display()))?;
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
        Ok(lock)
    }

    /// An empty directory for work. What an earlier task left there is removed, so hold the lock.
    pub(super) fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join("work").join(name);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Moves a finished directory to its place at once, so that what is there is whole.
    pub(super) fn put(&self, finished: &Path, place: &Path) -> Result<()> {
        let failed = || format!("cannot move {} to {}", finished.display(), place.display());
        if place.exists() {
            fs::remove_dir_all(place).with_context(failed)?;
        }
        fs::create_dir_all(place.parent().unwrap_or(&self.root)).with_context(failed)?;
        fs::rename(finished, place).with_context(failed)
    }

    /// Makes a directory with the files of others.
    pub(super) fn link(&self, directories: &[PathBuf], place: &Path) -> Result<()> {
        let work = self.fresh(&format!("set-{}", process::id()))?;
        for directory in directories {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                fs::hard_link(entry.path(), work.join(entry.file_name()))
                    .with_context(|| format!("cannot link {}", entry.path().display()))?;
            }
        }
        self.put(&work, place)
    }
}

/// A name for what is made from these texts. It tells one input from another; nobody tries to find two with the same.
pub(super) fn key(parts: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(environment: &[(&str, &str)], expected: Option<&str>) {
        let variable = |name: &str| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let found = Cache::find(variable).map(|cache| cache.set("1234"));
        assert_eq!(found, expected.map(PathBuf::from), "{environment:?}");
    }

    #[test]
    fn the_environment_says_where_the_cache_is() {
        check(&[("HOME", "/home/a")], Some("/home/a/.cache/scaivault-injector/assets/1234"));
        check(
            &[("HOME", "/home/a"), ("XDG_CACHE_HOME", "/caches")],
            Some("/caches/scaivault-injector/assets/1234"),
        );
        check(&[("HOME", "/home/a"), ("SCAIVAULT_ASSETS_CACHE", "/assets")], Some("/assets/1234"));
        check(
            &[("HOME", "/home/a"), ("XDG_CACHE_HOME", "")],
            Some("/home/a/.cache/scaivault-injector/assets/1234"),
        );
        check(&[], None);
    }

    #[test]
    fn keys_differ_with_every_part() {
        let all = [key(&["a", "bc"]), key(&["ab", "c"]), key(&["a", "bd"]), key(&["a"])];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(key(&["a", "bc"]), all[0]);
    }
}
