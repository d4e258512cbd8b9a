//! The generations of one agent in a root, the link that names the current one, and the links that readers open.

use std::{
    collections::BTreeMap,
    io::Read as _,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType},
    io::{Errno, Result},
    process::geteuid,
};
use scaivault_contract::{FileMode, names::SERVICE_ACCOUNT_DIR};

use super::{Budget, SinkError, at};

/// The link to the current generation of the first chain in a root; that of another one has its id behind it.
const DATA: &str = "..data";
/// A generation's directory is this, the chain's id and a number.
const GENERATION: &str = "..scaivault-";
/// The link to the generation that the application was told of is this and the chain's id.
const TOLD: &str = "..told-";
/// In a generation: the versions of the secrets that it was written from.
const VERSIONS: &str = "..versions.json";
/// The same on its way to its name.
const NEW_VERSIONS: &str = "..versions.new";
/// The most bytes of these notes. Beyond that they are not kept.
const VERSIONS_MAX_BYTES: u64 = 256 * 1024;
/// In a generation: files were taken away that it should have.
const REMOVED: &str = "..removed";

/// Where images look for the service account's own token, of which one may be a link to the other. A runtime that
/// mounts that token below a read-only mount of ours cannot make the directory for it.
const SECRETS_DIRS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

/// The chain's id: FNV-1a of all paths in their order, as eight digits. Every version has to compute the same.
pub(super) fn id<'t>(paths: impl IntoIterator<Item = &'t str>) -> String {
    let bytes = paths.into_iter().flat_map(|path| path.bytes().chain([b'\n']));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:08x}", hash >> 32)
}

/// One agent's chain in an opened root.
pub(super) struct Chain<'s> {
    id: &'s str,
    dir: OwnedFd,
    /// The link to the current generation.
    pub(super) link: String,
    /// The number of the generation that the link names, whether it is there or not.
    number: Option<u64>,
    pub(super) current: Option<Generation>,
}

/// An opened generation.
pub(super) struct Generation {
    name: String,
    pub(super) dir: OwnedFd,
}

impl<'s> Chain<'s> {
    /// Opens a root that is there.
    pub(super) fn open(root: &Path, id: &'s str) -> Result<Self> {
        let dir = at::open_path(root)?;
        let own = format!("{DATA}-{id}");
        let leads_to = |link: &str| at::link_target(&dir, link).filter(|name| number(id, name).is_some());
        let (link, name) = if let Some(name) = leads_to(DATA) {
            (DATA.to_owned(), Some(name))
        } else if let Some(name) = leads_to(&own) {
            (own, Some(name))
        } else if at::kind(&dir, DATA).is_none() {
            (DATA.to_owned(), None)
        } else {
            (own, None)
        };
        let number = name.as_deref().and_then(|name| number(id, name));
        let current = name.and_then(|name| Some(Generation { dir: at::open_dir(&dir, &name).ok()?, name }));
        Ok(Self { id, dir, link, number, current })
    }

    /// Whether the current generation has a file.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.current.as_ref().is_some_and(|current| current.has(path))
    }

    /// Whether there is a generation that no file was taken away from.
    pub(super) fn is_delivered(&self) -> bool {
        self.current.as_ref().is_some_and(|current| at::kind(&current.dir, REMOVED).is_none())
    }

    /// The generation that the application was told of.
    pub(super) fn told(&self) -> Option<String> {
        at::link_target(&self.dir, &format!("{TOLD}{}", self.id))
    }

    /// Whether that is the current one.
    pub(super) fn is_told(&self) -> bool {
        self.current.as_ref().is_some_and(|current| self.told().as_ref() == Some(&current.name))
    }

    /// Marks the current generation as told.
    pub(super) fn set_told(&self) -> Result<()> {
        let Some(current) = self.current.as_ref().filter(|_| !self.is_told()) else { return Ok(()) };
        at::replace_link(&self.dir, &current.name, &format!("{TOLD}{}", self.id), &self.temporary())
    }

    /// The notes of the current generation.
    pub(super) fn versions(&self) -> BTreeMap<String, u64> {
        self.current.as_ref().map(Generation::versions).unwrap_or_default()
    }

    /// Makes the next generation. A name that cannot be had is left out: it may be another user's.
    pub(super) fn start(&self) -> Result<Generation> {
        let mut number = self.number.unwrap_or(0);
        loop {
            number = number.wrapping_add(1);
            let name = format!("{GENERATION}{}-{number}", self.id);
            match at::make_dir(&self.dir, &name, at::DIR_MODE) {
                Ok(dir) => return Ok(Generation { name, dir }),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Removes every generation but the current one. Of those that cannot be removed the last error is returned.
    pub(super) fn remove_others(&self) -> Result<()> {
        let current = self.current.as_ref().map(|current| current.name.as_str());
        let mut done = Ok(());
        for entry in at::entries(&self.dir)? {
            let (name, kind) = entry?;
            if kind == FileType::Directory
                && number(self.id, &name).is_some()
                && Some(name.as_str()) != current
            {
                done = at::remove_tree(&self.dir, &name).and(done);
            }
        }
        done
    }

    /// Removes a generation that has not become the current one. Best effort: the next change removes it too.
    pub(super) fn discard(&self, next: &Generation) {
        let _ = at::remove_tree(&self.dir, &next.name);
    }

    /// Takes the link's name, in one step: of two agents that begin at once one has `..data`.
    pub(super) fn claim(&mut self) -> Result<()> {
        if self.number.is_some() || self.link != DATA {
            return Ok(());
        }
        // It leads nowhere: the files appear with the swap.
        match at::make_link(&self.dir, &format!("{GENERATION}{}-0", self.id), DATA) {
            Err(Errno::EXIST) => {
                let leads_here =
                    at::link_target(&self.dir, DATA).is_some_and(|name| number(self.id, &name).is_some());
                if !leads_here {
                    self.link = format!("{DATA}-{}", self.id);
                }
                Ok(())
            }
            claimed => claimed,
        }
    }

    /// Makes a generation the current one.
    pub(super) fn swap(&self, next: &Generation) -> Result<()> {
        at::replace_link(&self.dir, &next.name, &self.link, &self.temporary())
    }

    /// Links the name of every file that a generation has to its place there. Without `replaces` only where nothing stands.
    pub(super) fn link_all<'f>(
        &self,
        root: &Path,
        generation: &Generation,
        files: impl Iterator<Item = &'f Path>,
        replaces: bool,
    ) -> std::result::Result<(), SinkError> {
        for file in files.filter(|file| generation.has(file)) {
            self.link(file, replaces).map_err(|errno| SinkError::new(&root.join(file), errno))?;
        }
        Ok(())
    }

    /// Each file has a link of its own, in directories that agents share: what they may do in the root they may do there.
    fn link(&self, path: &Path, replaces: bool) -> Result<()> {
        let mut dir = at::open_dir(&self.dir, ".")?;
        let mut target = PathBuf::new();
        for segment in path.parent().into_iter().flatten() {
            let opened = match at::open_dir(&dir, segment) {
                Err(Errno::LOOP | Errno::NOTDIR) if replaces => {
                    at::remove_file(&dir, segment)?;
                    Err(Errno::NOENT)
                }
                Err(Errno::LOOP | Errno::NOTDIR) => return Ok(()),
                opened => opened,
            };
            dir = match opened {
                Err(Errno::NOENT) => {
                    at::open_or_make_dir(&dir, segment, fs::fstat(&self.dir)?.st_mode & 0o7777)?
                }
                opened => opened?,
            };
            target.push("..");
        }
        target.extend([Path::new(&self.link), path]);
        let (name, target) = (file_name(path)?, target.to_str().ok_or(Errno::INVAL)?);
        match at::kind(&dir, name) {
            Some(FileType::Directory) => Err(Errno::ISDIR),
            Some(_) if !replaces => Ok(()),
            Some(_) if at::link_target(&dir, name).is_some_and(|there| there == target) => Ok(()),
            _ => at::replace_link(&dir, target, name, &self.temporary()),
        }
    }

    /// A link on its way to its name.
    fn temporary(&self) -> String {
        format!("{GENERATION}{}-link", self.id)
    }

    pub(super) fn make_service_account_dirs(&self, root: &Path) -> Result<()> {
        for path in service_account_dirs(root) {
            let mut dir = at::open_dir(&self.dir, ".")?;
            for segment in &path {
                dir = at::open_or_make_dir(&dir, segment, at::DIR_MODE)?;
            }
        }
        Ok(())
    }
}

impl Generation {
    /// Whether it has a file.
    fn has(&self, path: &Path) -> bool {
        let is_file = |(dir, name): (OwnedFd, &str)| at::kind(dir, name) == Some(FileType::RegularFile);
        self.parent(path).is_ok_and(is_file)
    }

    /// Whether it has exactly this file.
    pub(super) fn holds(&self, path: &Path, mode: FileMode, bytes: &[u8]) -> bool {
        self.parent(path).is_ok_and(|(dir, name)| at::is_same_file(dir, name, mode.bits(), bytes))
    }

    /// Writes a file, in place of one that was written to it before.
    pub(super) fn make(&self, path: &Path, mode: FileMode, bytes: &[u8]) -> Result<()> {
        let (dir, name) = self.make_parent(path)?;
        at::remove_file(&dir, name)?;
        at::make_file(&dir, name, mode.bits(), bytes)
    }

    /// Takes over a file of the generation before, where that has it. One of another user may not be linked everywhere, and
    /// would stay in that user's hands.
    pub(super) fn take_over(
        &self,
        before: &Self,
        path: &Path,
        absolute: &Path,
        budget: &Budget,
    ) -> std::result::Result<(), SinkError> {
        let fail = |errno| SinkError::new(absolute, errno);
        let Ok((from, name)) = before.parent(path) else { return Ok(()) };
        let Ok(stat) = fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let (to, _) = self.make_parent(path).map_err(fail)?;
        let is_own = stat.st_uid == geteuid().as_raw();
        if is_own && at::link_file(&from, &to, name).is_ok() {
            return Ok(());
        }
        budget.check(&self.dir, absolute, stat.st_size.try_into().unwrap_or(0))?;
        at::copy_file(&from, &to, name).map_err(fail)
    }

    /// Notes that files were taken away.
    pub(super) fn set_removed(&self) -> Result<()> {
        at::make_file(&self.dir, REMOVED, 0o444, b"")
    }

    /// The versions that it was written from. What cannot be read is not known.
    fn versions(&self) -> BTreeMap<String, u64> {
        let mut bytes = Vec::new();
        let read = at::open_file(&self.dir, VERSIONS)
            .map(|(file, _)| file.take(VERSIONS_MAX_BYTES).read_to_end(&mut bytes));
        if matches!(read, Ok(Ok(_))) {
            serde_json::from_slice(&bytes).unwrap_or_default()
        } else {
            BTreeMap::new()
        }
    }

    /// Keeps the versions of the generation before, and those that are new. Best effort: the files matter more.
    pub(super) fn note(&self, before: &Self, new: &BTreeMap<String, u64>) {
        let mut versions = before.versions();
        versions.extend(new.iter().map(|(path, version)| (path.clone(), *version)));
        if versions != self.versions()
            && let Err(error) = self.replace_versions(&versions)
        {
            tracing::debug!(%error, "the versions of the secrets cannot be noted");
        }
    }

    fn replace_versions(&self, versions: &BTreeMap<String, u64>) -> Result<()> {
        let bytes = serde_json::to_vec(versions).map_err(|_| Errno::INVAL)?;
        if bytes.len() as u64 > VERSIONS_MAX_BYTES {
            return Err(Errno::FBIG);
        }
        at::remove_file(&self.dir, NEW_VERSIONS)?;
        at::make_file(&self.dir, NEW_VERSIONS, 0o444, &bytes)?;
        at::rename(&self.dir, NEW_VERSIONS, VERSIONS)
    }

    pub(super) fn sync(&self) -> Result<()> {
        fs::fsync(&self.dir)
    }

    /// The directory of a file, and the file's name.
    fn parent<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p str)> {
        self.walk(path, |dir, name| at::open_dir(dir, name))
    }

    fn make_parent<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p str)> {
        self.walk(path, |dir, name| at::open_or_make_dir(dir, name, at::DIR_MODE))
    }

    fn walk<'p>(
        &self,
        path: &'p Path,
        enter: impl Fn(&OwnedFd, &Path) -> Result<OwnedFd>,
    ) -> Result<(OwnedFd, &'p str)> {
        let mut dir = at::open_dir(&self.dir, ".")?;
        for segment in path.parent().into_iter().flatten() {
            dir = enter(&dir, Path::new(segment))?;
        }
        Ok((dir, file_name(path)?))
    }
}

fn file_name(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).ok_or(Errno::INVAL)
}

/// The number of a chain's generation; none where a name is not one of its own.
fn number(id: &str, name: &str) -> Option<u64> {
    name.strip_prefix(GENERATION)?.strip_prefix(id)?.strip_prefix('-')?.parse().ok()
}

/// Where below a root a runtime mounts the service account's own token, if the root is mounted at the same place there.
fn service_account_dirs(root: &Path) -> impl Iterator<Item = PathBuf> {
    let below = move |secrets| Some(Path::new(secrets).strip_prefix(root).ok()?.join(SERVICE_ACCOUNT_DIR));
    SECRETS_DIRS.into_iter().filter_map(below)
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

    #[test]
    fn an_id_is_the_same_in_every_version() {
        assert_eq!(id(["/run/secrets/db.json", "/run/secrets/tls/key.pem"]), "ce106644");
        assert_ne!(id(["/a", "/b"]), id(["/a/b"]));
    }
}
