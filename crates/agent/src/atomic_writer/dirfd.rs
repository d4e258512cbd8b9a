//! File operations relative to a directory descriptor: no name is resolved through a link of
//! another process.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat},
    io::{Errno, Result},
};

/// The mode of directories: all users may look up names, and the modes of the files restrict
/// reading.
pub(super) const DIR_MODE: u32 = 0o755;

/// The size of one read.
const PIECE_BYTES: usize = 64 * 1024;
/// The maximum depth of directories to remove. The agent's own generations have fewer levels.
const MAX_DEPTH: u32 = 1024;

/// Opens a directory by its path, following links.
pub(super) fn open_path(path: &Path) -> Result<OwnedFd> {
    fs::openat(CWD, path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a directory inside another one without following links.
pub(super) fn open_dir(dir: impl AsFd, name: impl AsRef<Path>) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    fs::openat(dir, name.as_ref(), flags, Mode::empty())
}

/// Creates a directory with these permission bits and opens it. It keeps the parent's setgid bit,
/// by which the kubelet assigns all files of a volume to the pod's `fsGroup`.
pub(super) fn make_dir(dir: impl AsFd, name: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    before_change()?;
    let mode = mode | fs::fstat(dir)?.st_mode & Mode::SGID.bits();
    fs::mkdirat(dir, name, Mode::from_raw_mode(mode))?;
    let opened = open_dir(dir, name)?;
    fs::fchmod(&opened, Mode::from_raw_mode(mode))?;
    Ok(opened)
}

/// Opens a directory, and creates it if it does not exist.
pub(super) fn open_or_make_dir(dir: impl AsFd, name: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    match make_dir(dir, name, mode) {
        Err(Errno::EXIST) => open_dir(dir, name),
        opened => opened,
    }
}

/// Creates a new file with exactly these permission bits, independent of the umask.
pub(super) fn make_file(dir: impl AsFd, name: impl AsRef<Path>, mode: u16, bytes: &[u8]) -> Result<()> {
    fill(dir, name, mode.into(), |file| file.write_all(bytes))
}

/// Copies a file to another directory, inside the kernel.
pub(super) fn copy_file(from: impl AsFd, to: impl AsFd, name: &str) -> Result<()> {
    let (mut file, stat) = open_file(from, name)?;
    fill(to, name, stat.st_mode & 0o777, |copy| io::copy(&mut file, copy).map(drop))
}

fn fill(
    dir: impl AsFd,
    name: impl AsRef<Path>,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    before_change()?;
    let mut file = File::from(fs::openat(dir, name.as_ref(), flags, Mode::RUSR | Mode::WUSR)?);
    before_change()?;
    write(&mut file).map_err(errno)?;
    fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    // Free in memory; on a disk it prevents a power loss from leaving an empty file in a complete
    // generation.
    fs::fsync(&file)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Opens a regular file for reading. Does not block on a pipe.
fn open_file(dir: impl AsFd, name: impl AsRef<Path>) -> Result<(File, Stat)> {
    let flags = OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::openat(dir, name.as_ref(), flags, Mode::empty())?;
    let stat = fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file.into(), stat)),
        _ => Err(Errno::NOENT),
    }
}

/// The content of a regular file with at most `max` bytes.
pub(super) fn read_file(dir: impl AsFd, name: &str, max: usize) -> Result<Vec<u8>> {
    let (file, stat) = open_file(dir, name)?;
    let size = usize::try_from(stat.st_size).ok().filter(|size| *size <= max).ok_or(Errno::FBIG)?;
    let mut bytes = Vec::with_capacity(size);
    file.take(size as u64).read_to_end(&mut bytes).map_err(errno)?;
    Ok(bytes)
}

/// Whether there is a regular file with these permission bits and this content. It is compared in
/// pieces.
pub(super) fn is_same_file(dir: impl AsFd, name: &str, mode: u16, bytes: &[u8]) -> bool {
    let Ok((mut file, stat)) = open_file(dir, name) else { return false };
    if stat.st_mode & 0o7777 != u32::from(mode) || usize::try_from(stat.st_size) != Ok(bytes.len()) {
        return false;
    }
    let mut piece = vec![0; PIECE_BYTES.min(bytes.len())];
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.read(&mut piece) {
            Ok(read @ 1..) if rest.starts_with(&piece[..read]) => rest = &rest[read..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
    true
}

/// The names in a directory with their kinds. They are not collected, because another process may
/// have created any number of them.
pub(super) fn entries(dir: impl AsFd) -> Result<impl Iterator<Item = Result<(String, FileType)>>> {
    let entries = Dir::read_from(&dir)?;
    let entry = move |entry: Result<fs::DirEntry>| {
        let entry = match entry {
            Ok(entry) => entry,
            Err(errno) => return Some(Err(errno)),
        };
        // The agent's own names are UTF-8.
        let name = entry.file_name().to_str().ok().filter(|name| !matches!(*name, "." | ".."))?;
        let kind = match entry.file_type() {
            FileType::Unknown => kind(&dir, name).unwrap_or(FileType::Unknown),
            kind => kind,
        };
        Some(Ok((name.to_owned(), kind)))
    };
    Ok(entries.filter_map(entry))
}

/// The kind of the file with this name; `None` if there is none.
pub(super) fn kind(dir: impl AsFd, name: &str) -> Option<FileType> {
    let stat = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// Removes a directory with its content.
pub(super) fn remove_tree(dir: impl AsFd, name: &str) -> Result<()> {
    remove_to_depth(dir.as_fd(), name, MAX_DEPTH)
}

fn remove_to_depth(dir: BorrowedFd<'_>, name: &str, depth: u32) -> Result<()> {
    let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
    let tree = open_dir(dir, name)?;
    for entry in entries(&tree)? {
        match entry? {
            (entry, FileType::Directory) => remove_to_depth(tree.as_fd(), &entry, depth)?,
            (entry, _) => remove_file(&tree, &entry)?,
        }
    }
    before_change()?;
    fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// Removes a file or a link, if it exists.
pub(super) fn remove_file(dir: impl AsFd, name: impl AsRef<Path>) -> Result<()> {
    before_change()?;
    match fs::unlinkat(dir, name.as_ref(), AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

/// Creates a hard link to a file in another directory.
pub(super) fn link_file(from: impl AsFd, to: impl AsFd, name: &str) -> Result<()> {
    before_change()?;
    fs::linkat(from, name, to, name, AtFlags::empty())
}

/// Renames a file, replacing another one.
pub(super) fn rename(dir: impl AsFd, from: &str, to: &str) -> Result<()> {
    let dir = dir.as_fd();
    before_change()?;
    fs::renameat(dir, from, dir, to)
}

/// The target of a symbolic link; `None` if there is no link.
pub(super) fn link_target(dir: impl AsFd, name: &str) -> Option<String> {
    fs::readlinkat(dir, name, Vec::new()).ok()?.into_string().ok()
}

/// Creates a symbolic link; the name must be free.
pub(super) fn make_link(dir: impl AsFd, target: &str, name: &str) -> Result<()> {
    before_change()?;
    fs::symlinkat(target, dir, name)
}

/// Atomically replaces the file or link with this name by a symbolic link.
pub(super) fn replace_link(dir: impl AsFd, target: &str, name: &str, temporary: &str) -> Result<()> {
    let dir = dir.as_fd();
    remove_file(dir, temporary)?;
    make_link(dir, target, temporary)?;
    rename(dir, temporary, name).inspect_err(|_| {
        // Best effort: the next write removes it, too.
        let _ = remove_file(dir, temporary);
    })
}

/// Called before each change on disk, so that tests can simulate a crash there.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
fn before_change() -> Result<()> {
    Ok(())
}

#[cfg(test)]
use super::tests::before_change;
