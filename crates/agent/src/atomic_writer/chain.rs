//! The generations of one agent in a root, the link to the current one, and the links that readers
//! open.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType},
    io::{Errno, Result},
    process::geteuid,
};
use scaivault_contract::{FileMode, names::SERVICE_ACCOUNT_DIR};

use super::{AtomicWriter, Owner, Root, WriteError, budget::Budget, dirfd, error::At as _};

/// The link to the current generation of the first chain in a root. The name of another chain's
/// link ends with its id.
const DATA: &str = "..data";
/// The prefix of a generation's directory, followed by the chain's id and a number.
const GENERATION: &str = "..scaivault-";
/// The prefix of the link to the generation that the application knows, followed by the chain's id.
/// After the generation, its target contains the container that set the mark, and the pod.
const NOTIFIED: &str = "..notified-";
/// The init container in that link.
const INIT: &str = "init";
/// The sidecar in that link.
const SIDECAR: &str = "sidecar";
/// A generation's versions file: the versions of the secrets that it was written from.
const VERSIONS: &str = "..versions.json";
/// The versions file before it is renamed.
const NEW_VERSIONS: &str = "..versions.new";
/// The maximum size of the versions file in bytes. Larger ones are not written.
const VERSIONS_MAX_BYTES: usize = 256 * 1024;
/// Marks a generation from which files were removed.
const REMOVED: &str = "..removed";

/// Where images look for the service account's own token; one of them may be a link to the other. A
/// container runtime cannot create the mount point of that token inside the agent's volume if that
/// is mounted read-only.
const SECRETS_DIRS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

/// The chain's id: eight hexadecimal digits of the FNV-1a hash of all paths in order. Every release
/// must compute the same one.
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
    owner: &'s Owner,
    dir: OwnedFd,
    /// The name of the link to the current generation.
    pub(super) link: String,
    /// The target of the link, even if it does not exist.
    name: Option<String>,
    pub(super) current: Option<Generation>,
}

/// An opened generation.
pub(super) struct Generation {
    name: String,
    pub(super) dir: OwnedFd,
}

impl<'s> Chain<'s> {
    /// Opens the chain in an existing root.
    pub(super) fn open(root: &Path, writer: &'s AtomicWriter) -> Result<Self> {
        let AtomicWriter { id, owner, .. } = writer;
        let dir = dirfd::open_path(root)?;
        let own = format!("{DATA}-{id}");
        let found = [DATA, &own].into_iter().find_map(|link| Some((link, own_target(&dir, link, id)?)));
        let link = match &found {
            Some((link, _)) => link,
            None if dirfd::kind(&dir, DATA).is_none() => DATA,
            None => &own,
        };
        let link = link.to_owned();
        let name = found.map(|(_, name)| name);
        let open =
            |name: &String| Some(Generation { dir: dirfd::open_dir(&dir, name).ok()?, name: name.clone() });
        let current = name.as_ref().and_then(open);
        Ok(Self { id, owner, dir, link, name, current })
    }

    /// Whether the current generation contains a file.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.current.as_ref().is_some_and(|current| current.has(path))
    }

    /// Whether there is a current generation from which no file was removed.
    pub(super) fn is_delivered(&self) -> bool {
        self.current.as_ref().is_some_and(|current| dirfd::kind(&current.dir, REMOVED).is_none())
    }

    /// The generation that the application knows, and the writer that set the mark; `None` if it
    /// belongs to another pod.
    pub(super) fn notified(&self) -> Option<(String, Owner)> {
        self.mark().filter(|(_, owner)| !self.owner.is_other_pod(owner))
    }

    /// Whether the mark belongs to another pod, so that the volume has outlived that pod.
    pub(super) fn is_of_other_pod(&self) -> bool {
        self.mark().is_some_and(|(_, owner)| self.owner.is_other_pod(&owner))
    }

    fn mark(&self) -> Option<(String, Owner)> {
        let text = dirfd::link_target(&self.dir, &format!("{NOTIFIED}{}", self.id))?;
        let mut parts = text.split('/').map(str::to_owned);
        let (generation, container, pod_uid) = (parts.next()?, parts.next(), parts.next());
        let is_sidecar = container.is_some_and(|container| container == SIDECAR);
        Some((generation, Owner { is_sidecar, pod_uid: pod_uid.filter(|uid| !uid.is_empty()) }))
    }

    /// Whether the application knows the current generation.
    pub(super) fn is_notified(&self) -> bool {
        let notified = self.notified().map(|(generation, _)| generation);
        self.current.as_ref().is_some_and(|current| notified.as_ref() == Some(&current.name))
    }

    /// Marks the current generation as known to the application.
    pub(super) fn mark_notified(&self) -> Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        let Owner { is_sidecar, pod_uid } = self.owner;
        let container = if *is_sidecar { SIDECAR } else { INIT };
        let text = format!("{}/{container}/{}", current.name, pod_uid.as_deref().unwrap_or_default());
        let link = format!("{NOTIFIED}{}", self.id);
        if dirfd::link_target(&self.dir, &link).as_ref() == Some(&text) {
            return Ok(());
        }
        dirfd::replace_link(&self.dir, &text, &link, &self.temporary())
    }

    /// The versions of the current generation.
    pub(super) fn versions(&self) -> BTreeMap<String, u64> {
        self.current.as_ref().map(Generation::versions).unwrap_or_default()
    }

    /// Creates the next generation. Skips names that are taken, for example by another user's
    /// leftover.
    pub(super) fn start(&self) -> Result<Generation> {
        let mut number = self.name.as_ref().and_then(|name| number(self.id, name)).unwrap_or(0);
        loop {
            number = number.wrapping_add(1);
            let name = format!("{GENERATION}{}-{number}", self.id);
            match dirfd::make_dir(&self.dir, &name, dirfd::DIR_MODE) {
                Err(Errno::EXIST) => {}
                made => return Ok(Generation { dir: made?, name }),
            }
        }
    }

    /// Removes every generation except the current one. Continues after an error and returns the
    /// last one.
    pub(super) fn remove_others(&self) -> Result<()> {
        let (mut done, current) = (Ok(()), own_target(&self.dir, &self.link, self.id));
        for entry in dirfd::entries(&self.dir)? {
            let (name, kind) = entry?;
            let is_other = current.as_ref() != Some(&name) && number(self.id, &name).is_some();
            if is_other && kind == FileType::Directory {
                done = dirfd::remove_tree(&self.dir, &name).and(done);
            }
        }
        done
    }

    /// Removes a pending generation. Best effort: the next change removes it, too.
    pub(super) fn discard(&self, next: &Generation) {
        if self.is_in_place(next) {
            let _ = dirfd::remove_tree(&self.dir, &next.name);
        }
    }

    /// Fails if another change of this chain was published meanwhile, because it has removed the
    /// generation that this one is based on.
    pub(super) fn check_unchanged(&self, next: &Generation) -> Result<()> {
        let is_unchanged = own_target(&self.dir, &self.link, self.id) == self.name;
        if is_unchanged && self.is_in_place(next) { Ok(()) } else { Err(Errno::BUSY) }
    }

    /// Whether a generation still exists under its name.
    fn is_in_place(&self, generation: &Generation) -> bool {
        let stat = fs::statat(&self.dir, generation.name.as_str(), AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|named| fs::fstat(&generation.dir).is_ok_and(|opened| opened.st_ino == named.st_ino))
    }

    /// Claims the link's name. If two agents start at once, only one gets `..data`.
    pub(super) fn claim(&mut self) -> Result<()> {
        if self.name.is_some() || self.link != DATA {
            return Ok(());
        }
        // A dangling link: the files appear with the first publication.
        match dirfd::make_link(&self.dir, &format!("{GENERATION}{}-0", self.id), DATA) {
            Err(Errno::EXIST) => {
                if own_target(&self.dir, DATA, self.id).is_none() {
                    self.link = format!("{DATA}-{}", self.id);
                }
                Ok(())
            }
            claimed => claimed,
        }
    }

    /// Makes a generation the current one.
    pub(super) fn swap(&self, next: &Generation) -> Result<()> {
        dirfd::replace_link(&self.dir, &next.name, &self.link, &self.temporary())
    }

    /// Creates the link of every file of a generation. Without `replaces`, only for free names.
    pub(super) fn link_all(
        &self,
        root: &Root,
        generation: &Generation,
        replaces: bool,
    ) -> std::result::Result<(), WriteError> {
        for file in root.paths().filter(|file| generation.has(file)) {
            self.link(file, replaces).at(&root.path.join(file))?;
        }
        Ok(())
    }

    /// Each file has its own link, because several agents may have files in the same directory.
    fn link(&self, path: &Path, replaces: bool) -> Result<()> {
        let mut dir = dirfd::open_dir(&self.dir, ".")?;
        let mut target = PathBuf::new();
        for segment in path.parent().into_iter().flatten() {
            dir = match dirfd::open_dir(&dir, segment) {
                Err(Errno::NOENT) => self.make_shared_dir(&dir, segment)?,
                Err(Errno::LOOP | Errno::NOTDIR) if replaces => {
                    dirfd::remove_file(&dir, segment)?;
                    self.make_shared_dir(&dir, segment)?
                }
                Err(Errno::LOOP | Errno::NOTDIR) => return Ok(()),
                opened => opened?,
            };
            target.push("..");
        }
        target.extend([Path::new(&self.link), path]);
        let (name, target) = (file_name(path)?, target.to_str().ok_or(Errno::INVAL)?);
        match dirfd::kind(&dir, name) {
            Some(FileType::Directory) => Err(Errno::ISDIR),
            Some(_) if !replaces => Ok(()),
            Some(_) if dirfd::link_target(&dir, name).is_some_and(|text| text == target) => Ok(()),
            _ => dirfd::replace_link(&dir, target, name, &self.temporary()),
        }
    }

    /// The name of a link before it is renamed.
    fn temporary(&self) -> String {
        format!("{GENERATION}{}-link", self.id)
    }

    /// Creates a directory with the root's permission bits, because other agents create links
    /// there, too.
    fn make_shared_dir(&self, dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
        dirfd::open_or_make_dir(dir, name, fs::fstat(&self.dir)?.st_mode & 0o7777)
    }

    /// Creates the mount points of other volumes. The container runtime cannot create them in the
    /// applications' read-only mount.
    pub(super) fn make_mount_points(&self, root: &Root) -> std::result::Result<(), WriteError> {
        let service_account = service_account_dirs(&root.volume).map(|path| (path, false));
        for (path, is_file) in service_account.chain(root.mount_points.iter().cloned()) {
            self.make_mount_point(&root.volume, &path, is_file)
                .map_err(|errno| WriteError::from_mount_point_errno(&root.volume.join(&path), errno))?;
        }
        Ok(())
    }

    fn make_mount_point(&self, volume: &Path, path: &Path, is_file: bool) -> Result<()> {
        let mut dir = dirfd::open_path(volume)?;
        for segment in if is_file { path.parent() } else { Some(path) }.into_iter().flatten() {
            dir = self.make_shared_dir(&dir, segment)?;
        }
        if is_file {
            let name = file_name(path)?;
            match dirfd::make_file(&dir, name, 0o444, b"") {
                Err(Errno::EXIST) if dirfd::kind(&dir, name) == Some(FileType::RegularFile) => {}
                made => made?,
            }
        }
        Ok(())
    }
}

impl Generation {
    /// Whether it contains a file.
    fn has(&self, path: &Path) -> bool {
        let is_file = |(dir, name): (OwnedFd, &str)| dirfd::kind(dir, name) == Some(FileType::RegularFile);
        self.parent(path, false).is_ok_and(is_file)
    }

    /// Whether it contains a file with these permission bits and this content.
    pub(super) fn holds(&self, path: &Path, mode: FileMode, bytes: &[u8]) -> bool {
        let parent = self.parent(path, false);
        parent.is_ok_and(|(dir, name)| dirfd::is_same_file(dir, name, mode.bits(), bytes))
    }

    /// Writes a file, replacing one that was already written to this generation.
    pub(super) fn make(&self, path: &Path, mode: FileMode, bytes: &[u8]) -> Result<()> {
        let (dir, name) = self.parent(path, true)?;
        dirfd::remove_file(&dir, name)?;
        dirfd::make_file(&dir, name, mode.bits(), bytes)
    }

    /// Takes over a file of the previous generation, if it exists. A file of another user is
    /// copied, because that user could change it, and `fs.protected_hardlinks` may forbid the link.
    pub(super) fn take_over(
        &self,
        before: &Self,
        path: &Path,
        absolute: &Path,
        budget: &Budget,
    ) -> std::result::Result<(), WriteError> {
        let Ok((from, name)) = before.parent(path, false) else { return Ok(()) };
        let stat = match fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => stat,
            _ => return Ok(()),
        };
        let (to, _) = self.parent(path, true).at(absolute)?;
        let is_own = stat.st_uid == geteuid().as_raw();
        if is_own && dirfd::link_file(&from, &to, name).is_ok() {
            return Ok(());
        }
        budget.check(&self.dir, absolute, stat.st_size.try_into().unwrap_or(0))?;
        dirfd::copy_file(&from, &to, name).at(absolute)
    }

    /// Marks that files were removed.
    pub(super) fn set_removed(&self) -> Result<()> {
        dirfd::make_file(&self.dir, REMOVED, 0o444, b"")
    }

    /// The versions. Empty if they cannot be read.
    fn versions(&self) -> BTreeMap<String, u64> {
        let bytes = dirfd::read_file(&self.dir, VERSIONS, VERSIONS_MAX_BYTES).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Writes the versions. Without new ones those of the previous generation are kept. Best
    /// effort: the files matter more.
    pub(super) fn note(&self, before: &Self, new: &BTreeMap<String, u64>) {
        let versions = if new.is_empty() { &before.versions() } else { new };
        if *versions != self.versions()
            && let Err(error) = self.replace_versions(versions)
        {
            tracing::debug!(%error, "versions of the secrets not saved");
        }
    }

    fn replace_versions(&self, versions: &BTreeMap<String, u64>) -> Result<()> {
        let bytes = serde_json::to_vec(versions).map_err(|_| Errno::INVAL)?;
        if bytes.len() > VERSIONS_MAX_BYTES {
            return Err(Errno::FBIG);
        }
        dirfd::remove_file(&self.dir, NEW_VERSIONS)?;
        dirfd::make_file(&self.dir, NEW_VERSIONS, 0o444, &bytes)?;
        dirfd::rename(&self.dir, NEW_VERSIONS, VERSIONS)
    }

    pub(super) fn sync(&self) -> Result<()> {
        fs::fsync(&self.dir)
    }

    /// The directory of a file, and the file's name.
    fn parent<'p>(&self, path: &'p Path, makes: bool) -> Result<(OwnedFd, &'p str)> {
        let mut dir = dirfd::open_dir(&self.dir, ".")?;
        for segment in path.parent().into_iter().flatten() {
            dir = if makes {
                dirfd::open_or_make_dir(&dir, segment, dirfd::DIR_MODE)?
            } else {
                dirfd::open_dir(&dir, segment)?
            };
        }
        Ok((dir, file_name(path)?))
    }
}

fn file_name(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).ok_or(Errno::INVAL)
}

/// The number of a chain's generation; `None` if the name belongs to something else.
fn number(id: &str, name: &str) -> Option<u64> {
    name.strip_prefix(GENERATION)?.strip_prefix(id)?.strip_prefix('-')?.parse().ok()
}

/// The target of a link, if that is the name of one of the chain's generations.
fn own_target(dir: &OwnedFd, link: &str, id: &str) -> Option<String> {
    dirfd::link_target(dir, link).filter(|name| number(id, name).is_some())
}

/// Where below a root a container runtime mounts the service account's own token, if the
/// applications mount the root at the same path.
fn service_account_dirs(root: &Path) -> impl Iterator<Item = PathBuf> {
    let below = move |secrets| Some(Path::new(secrets).strip_prefix(root).ok()?.join(SERVICE_ACCOUNT_DIR));
    SECRETS_DIRS.into_iter().filter_map(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_directory_is_created_for_its_mount() {
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
