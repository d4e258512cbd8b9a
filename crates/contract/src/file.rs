//! Paths of secret files.

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

/// Maximum length of a segment in bytes: the kernel's `NAME_MAX`.
const SEGMENT_MAX_BYTES: usize = 255;
/// Maximum length in bytes of a path relative to a mount path.
const RELATIVE_MAX_BYTES: usize = 1024;
/// Maximum length of a mount path in bytes.
const MOUNT_PATH_MAX_BYTES: usize = 512;
/// Maximum length of a file's path in bytes. Together with the directory of its generation it is
/// well below the kernel's `PATH_MAX` of 4096.
const TARGET_MAX_BYTES: usize = MOUNT_PATH_MAX_BYTES + 1 + RELATIVE_MAX_BYTES;

/// The directory reserved for the service account's own token, at any level.
const KUBERNETES_DIR: &str = "kubernetes.io";

/// Path of a file relative to the mount path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativeFile(String);

impl RelativeFile {
    /// The accepted values, for error messages.
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
    /// Why it is rejected.
    pub fault: FileFault,
}

/// Absolute path of a file that the agent writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetFile(String);

impl TargetFile {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "an absolute path, such as /run/secrets/db.json: no slash at its end, no segment that is . or kubernetes.io or starts with .., at most 1537 bytes, 255 a segment";

    /// The file `file` in `mount_path`, which is the text of a [`MountPath`].
    pub fn below(mount_path: &str, file: &RelativeFile) -> Self {
        Self([mount_path.trim_end_matches('/'), "/", file.as_str()].concat())
    }

    /// Represents the value of a Secret's key as a file.
    pub fn for_key(key: &SecretKey) -> Self {
        Self(["/", key.as_str()].concat())
    }

    /// Whether it represents the value of this key.
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
    /// Why it is rejected.
    pub fault: FileFault,
}

/// Why a file's path is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FileFault {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// A relative path starts with a slash.
    #[error("it is absolute; remove the mount path")]
    Absolute,
    /// An absolute path does not start with a slash.
    #[error("it does not start with a slash")]
    NotAbsolute,
    /// It ends with a slash.
    #[error("it names a directory; add the file's name")]
    Directory,
    /// It has two consecutive slashes.
    #[error("it has two slashes in a row")]
    EmptySegment,
    /// It has the segment `.`.
    #[error("remove the segment .")]
    Dot,
    /// A segment starts with `..`: it would leave the directory or collide with the agent's own
    /// links.
    #[error("no segment may start with ..")]
    DotDot,
    /// It has the segment `kubernetes.io`.
    #[error("kubernetes.io belongs to the service account's own token")]
    Kubernetes,
    /// It has a control character.
    #[error("it has a control character")]
    Control,
    /// A segment is longer than 255 bytes.
    #[error("one of its segments has more than 255 bytes")]
    LongSegment,
    /// It is longer than allowed.
    #[error("it is too long")]
    TooLong,
}

/// Validates the segments of a path that the agent writes to.
fn check_segments(path: &str, max_bytes: usize) -> Result<(), FileFault> {
    check_path(path, max_bytes)?;
    if path.split('/').any(|segment| segment == KUBERNETES_DIR) {
        return Err(FileFault::Kubernetes);
    }
    Ok(())
}

/// Validates segments that are separated by single slashes.
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
