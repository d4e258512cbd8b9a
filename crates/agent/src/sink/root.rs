//! One root: its generations, the link that names the current one, and the links that readers open.

use std::{
    fs as std_fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType},
    io::{Errno, Result},
};
use scaivault_contract::{TargetFile, names::SERVICE_ACCOUNT_DIR};
use zeroize::Zeroizing;

use super::{INCOMPLETE, NewFile, SinkError, at};

/// The link to the current generation.
pub(super) const DATA: &str = "..data";
/// A link on its way to its name.
const TEMPORARY: &str = "..scaivault-link";
/// A generation's directory is this and a number.
const GENERATION: &str = "..scaivault-";

/// Where images look for the service account's own token, of which one may be a link to the other. A runtime that
/// mounts that token below a read-only mount of ours cannot make the directory for it.
const SECRETS_DIRS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

/// An opened root.
pub(super) struct Root<'a> {
    path: &'a Path,
    dir: OwnedFd,
}

impl<'a> Root<'a> {
    /// Opens the directory, and makes it where it is not there.
    pub(super) fn open(path: &'a Path) -> std::result::Result<Self, SinkError> {
        std_fs::create_dir_all(path).map_err(|error| SinkError::from_io(path, error))?;
        let dir = at::open_path(path).map_err(|errno| SinkError::new(path, errno))?;
        let root = Self { path, dir };
        root.make_service_account_dirs().map_err(|errno| SinkError::new(path, errno))?;
        Ok(root)
    }

    /// Makes a new generation if any of the files differs from the current one, and returns those that do. Of the
    /// wanted files some may still be missing: with `gives_up`, or if it was so before, on purpose.
    pub(super) fn write<'t>(
        &self,
        files: &[(&Path, NewFile<'t, '_>)],
        wanted: &[&Path],
        gives_up: bool,
    ) -> std::result::Result<Vec<&'t TargetFile>, SinkError> {
        let fail = |errno| SinkError::new(self.path, errno);
        // Two agents may share a volume: a generation that one fills the other must not take for a crash's.
        at::lock(&self.dir).map_err(fail)?;
        let current = self.current();
        let generation = current.as_deref().and_then(|name| at::open_dir(&self.dir, name).ok());
        let changed: Vec<_> = files
            .iter()
            .filter(|(path, file)| !generation.as_ref().is_some_and(|dir| holds(dir, path, file)))
            .map(|(_, file)| file.target)
            .collect();
        let was_incomplete = generation.as_ref().is_some_and(|dir| at::kind(dir, INCOMPLETE).is_some());
        let is_missing = |path: &&Path| {
            let is_new = files.iter().any(|(file, _)| file == path);
            !is_new && generation.as_ref().and_then(|dir| read(dir, path)).is_none()
        };
        let is_incomplete = (gives_up || was_incomplete) && wanted.iter().any(is_missing);
        if changed.is_empty() && was_incomplete == is_incomplete {
            // Somebody may have taken a link away.
            self.link_all(files, true)?;
            return Ok(changed);
        }
        self.remove_generations_but(current.as_deref()).map_err(fail)?;
        let next = format!("{GENERATION}{}", current.as_deref().and_then(number).unwrap_or(0) + 1);
        self.fill(&next, files, generation.as_ref(), is_incomplete).map_err(|errno| {
            // Frees what was written of it: the volume may be full.
            let _ = at::remove_tree(&self.dir, &next);
            fail(errno)
        })?;
        // Where nothing stands yet the links come first, so that all files appear with the swap.
        self.link_all(files, false)?;
        at::replace_link(&self.dir, &next, DATA, TEMPORARY)
            .map_err(|errno| SinkError::new(&self.path.join(DATA), errno))?;
        self.link_all(files, true)?;
        Ok(changed)
    }

    /// Makes a new generation without these files, where the current one has any of them. Their links lead nowhere then.
    pub(super) fn remove(&self, files: &[&Path]) -> std::result::Result<(), SinkError> {
        let fail = |errno| SinkError::new(self.path, errno);
        at::lock(&self.dir).map_err(fail)?;
        let Some(current) = self.current() else { return Ok(()) };
        let before = at::open_dir(&self.dir, &current).map_err(fail)?;
        if files.iter().all(|path| read(&before, path).is_none()) {
            return Ok(());
        }
        self.remove_generations_but(Some(&current)).map_err(fail)?;
        let next = format!("{GENERATION}{}", number(&current).unwrap_or(0) + 1);
        let swapped = self.fill(&next, &[], Some(&before), false).and_then(|()| {
            let generation = at::open_dir(&self.dir, &next)?;
            for path in files {
                at::remove_file(&generation, path)?;
            }
            at::replace_link(&self.dir, &next, DATA, TEMPORARY)
        });
        swapped.map_err(|errno| {
            let _ = at::remove_tree(&self.dir, &next);
            fail(errno)
        })?;
        // The application is told by their absence: what was there must not be found in the generation before either.
        at::remove_tree(&self.dir, &current).map_err(fail)
    }

    /// The name of the current generation.
    fn current(&self) -> Option<String> {
        at::link_target(&self.dir, DATA).filter(|name| number(name).is_some())
    }

    /// Removes what a crash left, and the generation before the current one.
    fn remove_generations_but(&self, current: Option<&str>) -> Result<()> {
        for (name, kind) in at::entries(&self.dir)? {
            if kind == FileType::Directory && number(&name).is_some() && Some(name.as_str()) != current {
                at::remove_tree(&self.dir, &name)?;
            }
        }
        Ok(())
    }

    /// Writes a generation: the new files, and all others as they were.
    fn fill(
        &self,
        name: &str,
        files: &[(&Path, NewFile<'_, '_>)],
        before: Option<&OwnedFd>,
        is_incomplete: bool,
    ) -> Result<()> {
        let generation = at::make_dir(&self.dir, name)?;
        for (path, file) in files {
            let (dir, name) = parent(&generation, path, |dir, name| at::open_or_make_dir(dir, name))?;
            at::make_file(&dir, name, file.mode.bits(), file.bytes)?;
        }
        if is_incomplete {
            at::make_file(&generation, INCOMPLETE, 0o444, b"")?;
        }
        if let Some(before) = before {
            carry_over(before, &generation)?;
        }
        fs::fsync(&generation)
    }

    /// Links every file's name to its place in the current generation. Without `replaces` only where nothing stands.
    fn link_all(
        &self,
        files: &[(&Path, NewFile<'_, '_>)],
        replaces: bool,
    ) -> std::result::Result<(), SinkError> {
        for (path, _) in files {
            self.link(path, replaces).map_err(|errno| SinkError::new(&self.path.join(path), errno))?;
        }
        Ok(())
    }

    /// The link stands as high as it can: below directories that are there anyhow.
    fn link(&self, path: &Path, replaces: bool) -> Result<()> {
        let mut dir = at::open_dir(&self.dir, ".")?;
        let mut target = PathBuf::new();
        let mut below = PathBuf::from(DATA);
        let mut segments = path.iter().filter_map(|segment| segment.to_str()).peekable();
        while let Some(segment) = segments.next() {
            below.push(segment);
            match at::kind(&dir, segment) {
                Some(FileType::Directory) if segments.peek().is_some() => {
                    dir = at::open_dir(&dir, segment)?;
                    target.push("..");
                    continue;
                }
                Some(FileType::Directory) => return Err(Errno::ISDIR),
                Some(_) if !replaces => return Ok(()),
                _ => {}
            }
            let target = target.join(&below).to_str().ok_or(Errno::INVAL)?.to_owned();
            if at::link_target(&dir, segment).is_none_or(|there| there != target) {
                at::replace_link(&dir, &target, segment, TEMPORARY)?;
            }
            return Ok(());
        }
        Ok(())
    }

    fn make_service_account_dirs(&self) -> Result<()> {
        for path in service_account_dirs(self.path) {
            let mut dir = at::open_dir(&self.dir, ".")?;
            for segment in &path {
                dir = at::open_or_make_dir(&dir, segment)?;
            }
        }
        Ok(())
    }
}

/// Where below a root a runtime mounts the service account's own token, if the root is mounted at the same place there.
fn service_account_dirs(root: &Path) -> impl Iterator<Item = PathBuf> {
    let below = move |secrets| Some(Path::new(secrets).strip_prefix(root).ok()?.join(SERVICE_ACCOUNT_DIR));
    SECRETS_DIRS.into_iter().filter_map(below)
}

/// The number of a generation's directory.
fn number(name: &str) -> Option<u64> {
    name.strip_prefix(GENERATION)?.parse().ok()
}

/// The directory of a file below another directory, and the file's name.
fn parent(
    dir: impl AsFd,
    path: &Path,
    enter: impl Fn(&OwnedFd, &Path) -> Result<OwnedFd>,
) -> Result<(OwnedFd, &Path)> {
    let mut dir = at::open_dir(dir, ".")?;
    for segment in path.parent().into_iter().flatten() {
        dir = enter(&dir, Path::new(segment))?;
    }
    Ok((dir, Path::new(path.file_name().ok_or(Errno::INVAL)?)))
}

/// Whether a generation has exactly this file.
fn holds(generation: &OwnedFd, path: &Path, file: &NewFile<'_, '_>) -> bool {
    read(generation, path)
        .is_some_and(|(bytes, mode)| *bytes == file.bytes && mode == u32::from(file.mode.bits()))
}

/// A file of a generation with its permission bits.
fn read(generation: &OwnedFd, path: &Path) -> Option<(Zeroizing<Vec<u8>>, u32)> {
    let (dir, name) = parent(generation, path, |dir, name| at::open_dir(dir, name)).ok()?;
    at::read_file(&dir, name)
}

/// Takes the files of one directory into another that does not have them: of this agent those that could not be
/// fetched this time, of another container those that are not this one's.
fn carry_over(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    for (name, kind) in at::entries(from)? {
        match kind {
            FileType::Directory => {
                carry_over(&at::open_dir(from, &name)?, &at::open_or_make_dir(to, &name)?)?;
            }
            FileType::RegularFile if name != INCOMPLETE => {
                match fs::linkat(from, name.as_str(), to, name.as_str(), AtFlags::empty()) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    // The file of another user may be copied where it may not be linked (fs.protected_hardlinks).
                    Err(_) => {
                        let (bytes, mode) = at::read_file(from, &name).ok_or(Errno::ACCESS)?;
                        at::make_file(to, &name, u16::try_from(mode).unwrap_or(0o444), &bytes)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_accounts_directory_is_made_where_its_token_may_be_mounted() {
        for (root, expected) in [
            ("/run/secrets", &["kubernetes.io/serviceaccount"] as &[&str]),
            ("/var/run/secrets", &["kubernetes.io/serviceaccount"]),
            ("/run", &["secrets/kubernetes.io/serviceaccount"]),
            ("/run/secrets/app", &[]),
            ("/run/secretsx", &[]),
            ("/srv", &[]),
        ] {
            let found: Vec<_> = service_account_dirs(Path::new(root)).collect();
            assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{root}");
        }
    }
}
