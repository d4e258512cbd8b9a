//! Mount points inside the secrets' volume. Applications mount that volume read-only, so the container
//! runtime cannot create the mount points of other volumes below it.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::{FileFault, MountPath, TARGET_MAX_BYTES, check_path, conflict::by_segments};
use crate::Excerpt;

/// Maximum size of all mount points as lines, in bytes: they share one environment variable.
pub const MOUNT_POINTS_LIMIT: usize = 16 * 1024;

/// Absolute path of a directory or an empty file that must exist before a container that mounts
/// something there starts. Directories are written with a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountPoint {
    path: String,
    is_file: bool,
}

impl MountPoint {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "an absolute path, with a slash at its end for a directory, such as /run/secrets/eks.amazonaws.com/serviceaccount/: no segment that is . or starts with .., at most 1537 bytes, 255 a segment";

    /// The mount point `below`, a result of [`MountPath::below`], in the volume at `mount_path`.
    pub fn new(mount_path: &MountPath, below: &str, is_file: bool) -> Result<Self, FileFault> {
        Self::checked([mount_path.as_str(), "/", below].concat(), is_file)
    }

    fn checked(path: String, is_file: bool) -> Result<Self, FileFault> {
        match path.strip_prefix('/') {
            _ if path.is_empty() => Err(FileFault::Empty),
            None => Err(FileFault::NotAbsolute),
            Some(segments) => check_path(segments, TARGET_MAX_BYTES - 1).map(|()| Self { path, is_file }),
        }
    }

    /// The path without a trailing slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a file is mounted there.
    pub const fn is_file(&self) -> bool {
        self.is_file
    }
}

impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        f.write_str(if self.is_file { "" } else { "/" })
    }
}

impl FromStr for MountPoint {
    type Err = MountPointError;

    fn from_str(text: &str) -> Result<Self, MountPointError> {
        let directory = text.strip_suffix('/');
        Self::checked(directory.unwrap_or(text).to_owned(), directory.is_none())
            .map_err(|fault| MountPointError { text: Excerpt::new(text), fault })
    }
}

/// A text that is not a mount point.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a mount point: {fault}; allowed: {}", MountPoint::ALLOWED)]
pub struct MountPointError {
    /// The text.
    pub text: Excerpt,
    /// Why it is rejected.
    pub fault: FileFault,
}

/// A mount point that conflicts with a file or with another mount point.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{} and the mount point {} cannot both exist; rename the file or move the mount",
    Excerpt::new(.other), Excerpt::new(&.mount_point.to_string())
)]
pub struct MountPointConflict {
    /// The mount point.
    pub mount_point: MountPoint,
    /// The path of the file, or of the mounted file.
    pub other: String,
}

/// The mount points that are equal to, above or below a file, or below another mount point that is
/// a file.
///
/// A directory may be above other mount points. At most one conflict is returned per path.
pub fn mount_point_conflicts<'a>(
    files: impl IntoIterator<Item = &'a str>,
    mount_points: &'a [MountPoint],
) -> Vec<MountPointConflict> {
    let mut entries: Vec<(&str, Option<&MountPoint>)> = files.into_iter().map(|file| (file, None)).collect();
    entries.extend(mount_points.iter().map(|point| (point.path(), Some(point))));
    let is_file = |point: Option<&MountPoint>| point.is_none_or(MountPoint::is_file);
    // Sorted by segments, so that everything inside a path directly follows it. For equal paths,
    // the file comes first.
    entries.sort_by_cached_key(|(path, point)| (by_segments(path), !is_file(*point)));

    let mut conflicts = Vec::new();
    let (mut file_above, mut directory_above) = (None::<(&str, Option<&MountPoint>)>, None::<&MountPoint>);
    for (path, point) in entries {
        let file = file_above.filter(|(above, _)| is_at_or_inside(path, above));
        let directory = directory_above.filter(|above| is_at_or_inside(path, above.path()));
        let conflict = match (file, point) {
            (Some((above, _)), Some(point)) => Some((point, above)),
            // Two files, one inside the other: it is a conflict of mount points only if the outer
            // one is one.
            (Some((_, Some(above))), None) => Some((above, path)),
            (None, None) => directory.map(|above| (above, path)),
            (Some((_, None)), None) | (None, Some(_)) => None,
        };
        conflicts.extend(conflict.map(|(point, other)| MountPointConflict {
            mount_point: point.clone(),
            other: other.to_owned(),
        }));
        if file.is_none() && is_file(point) {
            file_above = Some((path, point));
        }
        if directory.is_none() && !is_file(point) {
            directory_above = point;
        }
    }
    conflicts
}

fn is_at_or_inside(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(lines: &[&str]) -> Vec<MountPoint> {
        lines.iter().map(|line| line.parse().unwrap()).collect()
    }

    #[test]
    fn a_slash_at_the_end_means_a_directory() {
        for (text, path, is_file) in [
            ("/run/secrets/a/b/", "/run/secrets/a/b", false),
            (
                "/run/secrets/kubernetes.io/serviceaccount/",
                "/run/secrets/kubernetes.io/serviceaccount",
                false,
            ),
            ("/run/secrets/license.key", "/run/secrets/license.key", true),
        ] {
            let point: MountPoint = text.parse().unwrap();
            assert_eq!((point.path(), point.is_file(), point.to_string().as_str()), (path, is_file, text));
        }
        for text in ["", "/", "a/", "/run//", "/run/../x/", "/run/..data/", "/run/a\n/b/", "/run/./a"] {
            assert!(text.parse::<MountPoint>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn mount_points_are_read_in_the_spelling_of_the_mount_path() {
        let mount_path: MountPath = "/run/secrets".parse().unwrap();
        for (written, expected) in [
            ("/var/run/secrets/eks.amazonaws.com/serviceaccount", Some("eks.amazonaws.com/serviceaccount")),
            ("/run/secrets/a/", Some("a")),
            ("/run//secrets/./a/../b", Some("b")),
            ("/var/run/secrets/", Some("")),
            ("/run", None),
            ("/run/secrets2", None),
            ("/run/secrets/../x", None),
        ] {
            assert_eq!(mount_path.below(written).as_deref(), expected, "{written}");
        }
        let point = MountPoint::new(&mount_path, "a/b", false).unwrap();
        assert_eq!(point.to_string(), "/run/secrets/a/b/");
        assert_eq!(MountPoint::new(&mount_path, "..data", false), Err(FileFault::DotDot));
    }

    #[track_caller]
    fn check(files: &[&str], lines: &[&str], expected: &[(&str, &str)]) {
        let found = mount_point_conflicts(files.iter().copied(), &points(lines));
        let found: Vec<_> =
            found.iter().map(|conflict| (conflict.mount_point.to_string(), conflict.other.clone())).collect();
        let expected: Vec<_> =
            expected.iter().map(|(point, other)| ((*point).to_owned(), (*other).to_owned())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn files_may_be_next_to_mount_points() {
        check(&["/s/db.json", "/s/a/other", "/s/ab"], &["/s/a/b/", "/s/a/b/c/", "/s/license"], &[]);
        check(&["/s/a", "/s/a/b"], &[], &[]);
        // A file that is mounted inside a directory that another container mounts.
        check(&[], &["/s/a/", "/s/a/b/", "/s/a/b/c"], &[]);
    }

    #[test]
    fn a_file_at_above_or_below_a_mount_point_is_a_conflict() {
        check(&["/s/a"], &["/s/a/"], &[("/s/a/", "/s/a")]);
        check(&["/s/a"], &["/s/a/b/"], &[("/s/a/b/", "/s/a")]);
        check(&["/s/a/b/c"], &["/s/a/b/"], &[("/s/a/b/", "/s/a/b/c")]);
        check(&["/s/a/b/c"], &["/s/a/", "/s/a/b/"], &[("/s/a/", "/s/a/b/c")]);
        check(&["/s/a"], &["/s/a"], &[("/s/a", "/s/a")]);
        check(&["/s/a/b"], &["/s/a"], &[("/s/a", "/s/a/b")]);
    }

    #[test]
    fn a_mounted_file_cannot_be_a_directory_too() {
        check(&[], &["/s/a", "/s/a/"], &[("/s/a/", "/s/a")]);
        check(&[], &["/s/a", "/s/a/b/"], &[("/s/a/b/", "/s/a")]);
        check(&[], &["/s/", "/s/a", "/s/a/b"], &[("/s/a/b", "/s/a")]);
    }
}
