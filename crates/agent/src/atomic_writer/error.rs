//! Errors of a volume, each with its fix.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;
use thiserror::Error;

/// Why files cannot be written.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
    /// The volume has no space or quota left.
    #[error(
        "the volume of {} is full; raise the annotation volume-size-limit (or the emptyDir's sizeLimit) above twice the size of all its files",
        .0.display()
    )]
    Full(PathBuf),
    /// A file does not fit into the volume.
    #[error(
        "the volume of {} is full: {needed} bytes needed, {left} left; raise the annotation volume-size-limit (or the emptyDir's sizeLimit) above twice the size of all its files",
        .file.display()
    )]
    NoSpace { file: PathBuf, needed: u64, left: u64 },
    /// A file in memory exceeds the container's memory limit.
    #[error(
        "the container's memory limit has no room for {}: {needed} bytes needed, {left} available \
         besides the agent's own memory; raise the annotation limits-memory (or \
         resources.limits.memory) to volume-size-limit + 16Mi",
        .file.display()
    )]
    NoMemory { file: PathBuf, needed: u64, left: u64 },
    /// The agent's own mount is read-only.
    #[error("{} is read-only; the agent's mount of the volume must not have readOnly", .0.display())]
    ReadOnly(PathBuf),
    /// The agent's user has no write permission.
    #[error(
        "the agent's user {uid} may not write to {}; run it as the volume's owner or set the pod's fsGroup",
        .path.display()
    )]
    Denied { path: PathBuf, uid: u32 },
    /// A directory has the name of a file.
    #[error("{} is a directory, so no file can be written there; rename one of them", .0.display())]
    InTheWay(PathBuf),
    /// A file or link has the name of a mount point of another volume.
    #[error(
        "cannot create the mount point {} of another volume: a file has this path; write that \
         file elsewhere, or move the mount",
        .0.display()
    )]
    MountPoint(PathBuf),
    /// Any other error.
    #[error("cannot write {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl WriteError {
    /// Translates the kernel's error for a file or a directory.
    pub(super) fn new(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::Full(path),
            Errno::ROFS => Self::ReadOnly(path),
            Errno::ACCESS | Errno::PERM => Self::Denied { path, uid: rustix::process::geteuid().as_raw() },
            Errno::ISDIR | Errno::EXIST | Errno::NOTDIR => Self::InTheWay(path),
            _ => Self::Io { path, source: errno.into() },
        }
    }

    /// The same for a mount point.
    pub(super) fn from_mount_point_errno(path: &Path, errno: Errno) -> Self {
        match errno {
            Errno::EXIST | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR => Self::MountPoint(path.to_owned()),
            _ => Self::new(path, errno),
        }
    }

    /// The same for an error of the standard library.
    pub(super) fn from_io(path: &Path, error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => Self::new(path, errno),
            None => Self::Io { path: path.to_owned(), source: error },
        }
    }
}

/// Adds the path to an error of the kernel.
pub(super) trait At<T> {
    fn at(self, path: &Path) -> Result<T, WriteError>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, path: &Path) -> Result<T, WriteError> {
        self.map_err(|errno| WriteError::new(path, errno))
    }
}
