//! The mount path of the secret files.

use std::str::FromStr;

use thiserror::Error;

use super::{FileFault, MOUNT_PATH_MAX_BYTES, check_segments};
use crate::Excerpt;

/// Absolute path of the directory where containers see the files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountPath(String);

impl MountPath {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "an absolute directory, such as /run/secrets: no colon, no segment that is . or kubernetes.io or starts with .., not / or /etc themselves, and nothing in /proc, /sys or /dev, at most 512 bytes, 255 a segment";

    /// Whether `other`, a `mountPath` of a container, is this directory or inside it.
    ///
    /// `/var/run` counts as `/run`, because in most images it is a link to it.
    pub fn covers(&self, other: &str) -> bool {
        is_at_or_below(other, &self.0)
    }

    /// The path of `other`, a `mountPath` of a container, relative to this directory: empty if it
    /// is this directory, `None` if it is outside. `/var/run` counts as `/run`.
    pub fn below(&self, other: &str) -> Option<String> {
        if is_plain(other) && is_plain(&self.0) {
            return plain_below(other, &self.0).map(str::to_owned);
        }
        [false, true].into_iter().find_map(|link| {
            let (path, directory) = (resolve(other, link), resolve(&self.0, link));
            path.starts_with(&directory).then(|| path[directory.len()..].join("/"))
        })
    }
}

checked_string!(MountPath);

impl FromStr for MountPath {
    type Err = MountPathError;

    /// Trailing slashes are removed.
    fn from_str(text: &str) -> Result<Self, MountPathError> {
        let trimmed = text.trim_end_matches('/');
        match check_mount_path(text, trimmed) {
            Ok(()) => Ok(Self(trimmed.to_owned())),
            Err(fault) => Err(MountPathError { text: Excerpt::new(text), fault }),
        }
    }
}

fn check_mount_path(text: &str, trimmed: &str) -> Result<(), MountPathFault> {
    if trimmed.is_empty() && !text.is_empty() {
        return Err(MountPathFault::Root);
    }
    let segments = match trimmed.strip_prefix('/') {
        _ if text.is_empty() => return Err(FileFault::Empty.into()),
        None => return Err(FileFault::NotAbsolute.into()),
        Some(segments) => segments,
    };
    check_segments(segments, MOUNT_PATH_MAX_BYTES - 1)?;
    if segments.contains(':') {
        return Err(MountPathFault::Colon);
    }
    match segments.split('/').next() {
        Some("proc" | "sys" | "dev") => Err(MountPathFault::System),
        // The kubelet mounts /etc/hosts, /etc/hostname and /etc/resolv.conf into every container.
        _ if segments == "etc" => Err(MountPathFault::System),
        _ => Ok(()),
    }
}

/// Whether an absolute path is a directory or inside it, with or without a link from `/var/run` to
/// `/run`.
pub fn is_at_or_below(path: &str, directory: &str) -> bool {
    // Fast path: a pod may have tens of thousands of paths, and nearly all of them are plain.
    if is_plain(path) && is_plain(directory) {
        return plain_below(path, directory).is_some();
    }
    [false, true].into_iter().any(|link| resolve(path, link).starts_with(&resolve(directory, link)))
}

/// Whether a path has no empty segments and none that start with a dot.
fn is_plain(path: &str) -> bool {
    // Without an early return, so that the compiler can vectorise the loop.
    #[expect(clippy::needless_bitwise_bool, reason = "lazy operators would end early")]
    let has_odd = |odd: bool, pair: &[u8]| odd | (pair[0] == b'/') & ((pair[1] == b'/') | (pair[1] == b'.'));
    path.starts_with('/') && !path.ends_with('/') && !path.as_bytes().windows(2).fold(false, has_odd)
}

/// The part of a plain path below a plain directory, with or without a link from `/var/run` to
/// `/run`.
fn plain_below<'p>(path: &'p str, directory: &str) -> Option<&'p str> {
    rest_below(path, directory).or_else(|| rest_below(linked(path), linked(directory)))
}

fn rest_below<'p>(path: &'p str, directory: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(directory)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// The target of a plain path if `/var/run` is a link to `/run`.
fn linked(path: &str) -> &str {
    if rest_below(path, "/var/run").is_some() { &path["/var".len()..] } else { path }
}

/// The segments of an absolute path as the kernel resolves them. With `is_linked`, `/var/run` is a
/// link to `/run`.
fn resolve(path: &str, is_linked: bool) -> Vec<&str> {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            "run" if is_linked && segments == ["var"] => segments[0] = "run",
            _ => segments.push(segment),
        }
    }
    segments
}

/// A text that is not a directory to mount at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a directory to mount at: {fault}; allowed: {}", MountPath::ALLOWED)]
pub struct MountPathError {
    /// The text.
    pub text: Excerpt,
    /// Why it is rejected.
    pub fault: MountPathFault,
}

/// Why a mount path is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MountPathFault {
    /// It breaks a rule that applies to files too.
    #[error(transparent)]
    Path(#[from] FileFault),
    /// It is `/`.
    #[error("it would hide the whole image")]
    Root,
    /// It has a colon, which Kubernetes rejects in a `mountPath`.
    #[error("it has a colon")]
    Colon,
    /// It is `/proc`, `/sys`, `/dev` or inside them, or `/etc` itself.
    #[error("it belongs to the kernel or the kubelet")]
    System,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_path_is_judged_like_any_other(
            [path, directory] in [(); 2].map(|()| "(/(run|var|secrets|a|\\.|\\.\\.|\\.a)?){0,4}"),
        ) {
            let resolved = [false, true].into_iter().find_map(|link| {
                let (path, directory) = (resolve(&path, link), resolve(&directory, link));
                path.starts_with(&directory).then(|| path[directory.len()..].join("/"))
            });
            prop_assert_eq!(is_at_or_below(&path, &directory), resolved.is_some(), "{} {}", path, directory);
            prop_assert_eq!(MountPath(directory.clone()).below(&path), resolved, "{} {}", path, directory);
        }
    }
}
