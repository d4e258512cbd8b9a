//! Files by the descriptor of their directory: no name is ever resolved through a link that somebody else put there.

use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{self, AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags},
    io::{Errno, Result},
};
use zeroize::Zeroizing;

/// Directories of secrets: all may look for the names, the files' own modes say who may read.
const DIR_MODE: u32 = 0o755;

/// How long another agent's write is waited for, which takes some milliseconds, and how long between two looks.
const LOCKED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(2));

/// Keeps other agents from writing there until the descriptor is closed. Not for ever: whoever may read the directory may
/// hold its lock.
#[expect(clippy::disallowed_methods, reason = "for as long as a write takes, which blocks its worker too")]
pub(super) fn lock(dir: impl AsFd) -> Result<()> {
    let deadline = Instant::now() + LOCKED.0;
    loop {
        match fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(LOCKED.1),
            Err(Errno::WOULDBLOCK) => return Err(Errno::WOULDBLOCK),
            Err(Errno::INTR) => {}
            // A file system without locks has none to wait for.
            Ok(()) | Err(_) => return Ok(()),
        }
    }
}

/// Opens a directory by its path, following links.
pub(super) fn open_path(path: &Path) -> Result<OwnedFd> {
    fs::openat(CWD, path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a directory inside another one, following none.
pub(super) fn open_dir(dir: impl AsFd, name: impl AsRef<Path>) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    fs::openat(dir, name.as_ref(), flags, Mode::empty())
}

/// Makes a directory and opens it.
pub(super) fn make_dir(dir: impl AsFd, name: impl AsRef<Path>) -> Result<OwnedFd> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    fs::mkdirat(dir, name, Mode::from_raw_mode(DIR_MODE))?;
    let made = open_dir(dir, name)?;
    fs::fchmod(&made, Mode::from_raw_mode(DIR_MODE))?;
    Ok(made)
}

/// Opens a directory, and makes it where it is not there.
pub(super) fn open_or_make_dir(dir: impl AsFd, name: impl AsRef<Path>) -> Result<OwnedFd> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    match make_dir(dir, name) {
        Err(Errno::EXIST) => open_dir(dir, name),
        made => made,
    }
}

/// Makes a file that is not there yet, with these permission bits whatever the umask.
pub(super) fn make_file(dir: impl AsFd, name: impl AsRef<Path>, mode: u16, bytes: &[u8]) -> Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = fs::openat(dir, name.as_ref(), flags, Mode::RUSR | Mode::WUSR)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    fs::fchmod(&file, Mode::from_raw_mode(mode.into()))?;
    // Costs nothing in memory; on a disk it keeps a power loss from leaving an empty file behind a complete generation.
    fs::fsync(&file)
}

/// The content and the permission bits of a regular file; none where there is no such file.
pub(super) fn read_file(dir: impl AsFd, name: impl AsRef<Path>) -> Option<(Zeroizing<Vec<u8>>, u32)> {
    let flags = OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::openat(dir, name.as_ref(), flags, Mode::empty()).ok()?;
    let stat = fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0) + 1));
    File::from(file).read_to_end(&mut bytes).ok()?;
    Some((bytes, stat.st_mode & 0o7777))
}

/// The names in a directory with their kinds.
pub(super) fn entries(dir: impl AsFd) -> Result<Vec<(String, FileType)>> {
    let dir = dir.as_fd();
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        // Names that are not UTF-8 are nobody's of ours.
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name == "." || name == ".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => kind(dir, name).unwrap_or(FileType::Unknown),
            kind => kind,
        };
        entries.push((name.to_owned(), kind));
    }
    Ok(entries)
}

/// What stands at a name; none where nothing does.
pub(super) fn kind(dir: impl AsFd, name: &str) -> Option<FileType> {
    let stat = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// Removes a directory with all it has.
pub(super) fn remove_tree(dir: impl AsFd, name: &str) -> Result<()> {
    let dir = dir.as_fd();
    let tree = open_dir(dir, name)?;
    for (entry, kind) in entries(&tree)? {
        match kind {
            FileType::Directory => remove_tree(&tree, &entry)?,
            _ => fs::unlinkat(&tree, &entry, AtFlags::empty())?,
        }
    }
    fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// Removes a file below a directory, where it is there.
pub(super) fn remove_file(dir: impl AsFd, path: &Path) -> Result<()> {
    match fs::unlinkat(dir, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The text of a link; none where there is no link.
pub(super) fn link_target(dir: impl AsFd, name: &str) -> Option<String> {
    fs::readlinkat(dir, name, Vec::new()).ok()?.into_string().ok()
}

/// Puts a link in place of whatever file or link stands at a name, in one step.
pub(super) fn replace_link(dir: impl AsFd, target: &str, name: &str, temporary: &str) -> Result<()> {
    let dir = dir.as_fd();
    match fs::unlinkat(dir, temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    fs::symlinkat(target, dir, temporary)?;
    fs::renameat(dir, temporary, dir, name).inspect_err(|_| {
        // Best effort: the next write removes it too.
        let _ = fs::unlinkat(dir, temporary, AtFlags::empty());
    })
}
