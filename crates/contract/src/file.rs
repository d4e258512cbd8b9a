//! Where a secret's file may lie.

use std::str::FromStr;

use thiserror::Error;

use crate::{Excerpt, SecretKey};

mod conflict;
mod mount_path;
mod mount_point;

pub(crate) use conflict::clashes;
pub use conflict::{Conflict, ConflictKind, conflicts};
pub use mount_path::{MountPath, MountPathError, MountPathFault, is_at_or_below};
pub use mount_point::{
    MOUNT_POINTS_LIMIT, MountPoint, MountPointConflict, MountPointError, mount_point_conflicts,
};

/// The most bytes of one segment: the kernel's `NAME_MAX`.
const SEGMENT_MAX_BYTES: usize = 255;
/// The most bytes of a path below a mount path.
const RELATIVE_MAX_BYTES: usize = 1024;
/// The most bytes of a mount path.
const MOUNT_PATH_MAX_BYTES: usize = 512;
/// The most bytes of a file's path. With the directory of its generation it stays well below the kernel's
/// `PATH_MAX` of 4096.
const TARGET_MAX_BYTES: usize = MOUNT_PATH_MAX_BYTES + 1 + RELATIVE_MAX_BYTES;

/// The directory that belongs to the service account's own token, wherever it lies.
const KUBERNETES_DIR: &str = "kubernetes.io";

/// Path of a file below the mount path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativeFile(String);

impl RelativeFile {
    /// What may stand there.
    pub const ALLOWED: &'static str = "a path below the mount path, such as db.json or tls/key.pem: no slash at either end, no segment that is . or kubernetes.io or starts with .., at most 1024 bytes, 255 a segment";
}

checked_string!(RelativeFile);

impl FromStr for RelativeFile {
    type Err = RelativeFileError;

    fn from_str(text: &str) -> Result<Self, RelativeFileError> {
        let checked = match text {
            "" => Err(FileFault::Empty),
            _ if text.starts_with('/') => Err(FileFault::Absolute),
            _ => check_segments(text, RELATIVE_MAX_BYTES),
        };
        match checked {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(fault) => Err(RelativeFileError { text: Excerpt::new(text), fault }),
        }
    }
}

/// A text that is not a file below the mount path.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a file below the mount path: {fault}; allowed: {}", RelativeFile::ALLOWED)]
pub struct RelativeFileError {
    /// The text.
    pub text: Excerpt,
    /// What is wrong with it.
    pub fault: FileFault,
}

/// Absolute path of a file the agent writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetFile(String);

impl TargetFile {
    /// What may stand there.
    pub const ALLOWED: &'static str = "an absolute path, such as /run/secrets/db.json: no slash at its end, no segment that is . or kubernetes.io or starts with .., at most 1537 bytes, 255 a segment";

    /// The file `file` below `mount_path`, which is the text of a [`MountPath`].
    pub fn below(mount_path: &str, file: &RelativeFile) -> Self {
        Self([mount_path.trim_end_matches('/'), "/", file.as_str()].concat())
    }

    /// The value of a key, as if it were a file.
    pub fn for_key(key: &SecretKey) -> Self {
        Self(["/", key.as_str()].concat())
    }

    /// Whether it is the value of this key.
    pub fn is_key(&self, key: &str) -> bool {
        self.0.strip_prefix('/') == Some(key)
    }
}

checked_string!(TargetFile);

impl FromStr for TargetFile {
    type Err = TargetFileError;

    fn from_str(text: &str) -> Result<Self, TargetFileError> {
        let checked = match text.strip_prefix('/') {
            _ if text.is_empty() => Err(FileFault::Empty),
            None => Err(FileFault::NotAbsolute),
            Some("") => Err(FileFault::Directory),
            Some(segments) => check_segments(segments, TARGET_MAX_BYTES - 1),
        };
        match checked {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(fault) => Err(TargetFileError { text: Excerpt::new(text), fault }),
        }
    }
}

/// A text that is not a file the agent may write.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a file to write: {fault}; allowed: {}", TargetFile::ALLOWED)]
pub struct TargetFileError {
    /// The text.
    pub text: Excerpt,
    /// What is wrong with it.
    pub fault: FileFault,
}

/// What is wrong with a file's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FileFault {
    /// There is none.
    #[error("it is empty")]
    Empty,
    /// A path below the mount path starts with a slash.
    #[error("it is absolute; leave the mount path away")]
    Absolute,
    /// A path that must be absolute is not.
    #[error("it does not start with a slash")]
    NotAbsolute,
    /// It ends with a slash.
    #[error("it names a directory; add the file's name")]
    Directory,
    /// Two slashes in a row.
    #[error("it has two slashes in a row")]
    EmptySegment,
    /// The segment `.`.
    #[error("take the segment . away")]
    Dot,
    /// A segment that starts with `..`: it would leave the directory, or be taken for one of the agent's own links.
    #[error("no segment may start with ..")]
    DotDot,
    /// A segment `kubernetes.io`.
    #[error("kubernetes.io belongs to the service account's own token")]
    Kubernetes,
    /// A control character.
    #[error("it has a control character")]
    Control,
    /// A segment above 255 bytes.
    #[error("one of its segments has more than 255 bytes")]
    LongSegment,
    /// More bytes than allowed.
    #[error("it is too long")]
    TooLong,
}

/// Checks the segments of a path that the agent writes to.
fn check_segments(path: &str, max_bytes: usize) -> Result<(), FileFault> {
    check_path(path, max_bytes)?;
    if path.split('/').any(|segment| segment == KUBERNETES_DIR) {
        return Err(FileFault::Kubernetes);
    }
    Ok(())
}

/// Checks segments with single slashes between.
fn check_path(path: &str, max_bytes: usize) -> Result<(), FileFault> {
    if path.chars().any(char::is_control) {
        return Err(FileFault::Control);
    }
    if path.ends_with('/') {
        return Err(FileFault::Directory);
    }
    if path.len() > max_bytes {
        return Err(FileFault::TooLong);
    }
    for segment in path.split('/') {
        match segment {
            "" => return Err(FileFault::EmptySegment),
            "." => return Err(FileFault::Dot),
            _ if segment.starts_with("..") => return Err(FileFault::DotDot),
            _ if segment.len() > SEGMENT_MAX_BYTES => return Err(FileFault::LongSegment),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
