//! What can go wrong with a volume, each with its cure.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;
use thiserror::Error;

/// Files that cannot be written.
#[derive(Debug, Error)]
pub(crate) enum SinkError {
    /// No space, or no quota.
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
    NoSpace {
        /// The file.
        file: PathBuf,
        /// Its size.
        needed: u64,
        /// What is left.
        left: u64,
    },
    /// A file in memory does not fit below the container's memory limit.
    #[error(
        "the container's memory limit has no room for {}: {needed} bytes needed, {left} left beside the agent itself; raise the annotation limits-memory (or resources.limits.memory) to volume-size-limit + 16Mi",
        .file.display()
    )]
    NoMemory {
        /// The file.
        file: PathBuf,
        /// Its size.
        needed: u64,
        /// What is left.
        left: u64,
    },
    /// The agent's own mount is read-only.
    #[error("{} is read-only; the agent's mount of the volume must not have readOnly", .0.display())]
    ReadOnly(PathBuf),
    /// The agent's user may not write there.
    #[error(
        "the agent's user {uid} may not write to {}; run it as the volume's owner or set the pod's fsGroup",
        .path.display()
    )]
    Denied {
        /// Where.
        path: PathBuf,
        /// The agent's user.
        uid: u32,
    },
    /// A directory stands where a file is to be.
    #[error("{} is a directory, so no file can be written there; rename one of them", .0.display())]
    InTheWay(PathBuf),
    /// Anything else.
    #[error("cannot write {}: {source}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

impl SinkError {
    /// What the kernel's answer means for a file or a directory.
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

    /// The same for an error of the standard library.
    pub(super) fn from_io(path: &Path, error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => Self::new(path, errno),
            None => Self::Io { path: path.to_owned(), source: error },
        }
    }
}
