//! Determines the root of a file.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

/// The sticky bit: a shared directory such as `/tmp`, which is not a volume of a pod.
const STICKY: u32 = 0o1000;

/// A root, and a file's path below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) root: PathBuf,
    pub(super) file: PathBuf,
}

/// The volume of an absolute path, or else its directory.
///
/// Links on the way to the volume are followed (`/var/run` to `/run`). A link inside a volume was
/// created by the agent, so it and the following components belong to the file's path below the
/// root.
pub(super) fn locate(target: &Path, is_mount_point: &impl Fn(&Path) -> bool) -> Place {
    let mut dir = PathBuf::from("/");
    let relative = target.strip_prefix("/").unwrap_or(target);
    let mut rest = relative.iter();
    while let Some(segment) =
        rest.as_path().parent().filter(|parent| *parent != Path::new("")).and(rest.clone().next())
    {
        let next = dir.join(segment);
        let is_link = fs::symlink_metadata(&next).is_ok_and(|metadata| metadata.is_symlink());
        dir = match is_link {
            true if volume_of(&dir, is_mount_point).is_some() => break,
            true => fs::canonicalize(&next).unwrap_or(next),
            false => next,
        };
        rest.next();
    }
    let rest = rest.as_path();
    match volume_of(&dir, is_mount_point) {
        Some(root) => {
            let below = dir.strip_prefix(root).expect("an ancestor is a prefix");
            Place { file: below.join(rest), root: root.to_owned() }
        }
        None => Place { root: dir, file: rest.to_owned() },
    }
}

/// An absolute path with links resolved up to its volume, but not inside the volume.
pub(super) fn resolve(path: &Path, is_mount_point: &impl Fn(&Path) -> bool) -> PathBuf {
    let mut resolved = PathBuf::from("/");
    for segment in path.strip_prefix("/").unwrap_or(path) {
        let next = resolved.join(segment);
        let is_link = fs::symlink_metadata(&next).is_ok_and(|metadata| metadata.is_symlink());
        let follows = is_link && mounted_at(&resolved, is_mount_point).is_none();
        resolved = if follows { fs::canonicalize(&next).unwrap_or(next) } else { next };
    }
    resolved
}

/// The nearest mount point at or above a directory, excluding the root of the image.
pub(super) fn mounted_at(dir: &Path, is_mount_point: &impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let mount_point = dir.ancestors().find(|path| is_mount_point(path))?;
    (mount_point != Path::new("/")).then(|| mount_point.to_owned())
}

/// The volume of a directory: the nearest mount point. The image's own root and shared directories
/// are not volumes.
fn volume_of<'d>(dir: &'d Path, is_mount_point: &impl Fn(&Path) -> bool) -> Option<&'d Path> {
    let is_shared = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & STICKY != 0);
    let mount_point = dir.ancestors().find(|path| is_mount_point(path))?;
    (mount_point != Path::new("/") && !is_shared(mount_point)).then_some(mount_point)
}

/// Whether a path is a mount point.
pub(super) fn is_mount_point(path: &Path) -> bool {
    let attributes = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    let known = attributes.ok().filter(|it| it.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT));
    if let Some(attributes) = known {
        return attributes.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    }
    // Before Linux 5.8, bind mounts from the same file system are not detected.
    let device = |path: &Path| fs::symlink_metadata(path).ok().map(|metadata| metadata.dev());
    device(path).is_some_and(|own| path.parent().and_then(device) != Some(own))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[track_caller]
    fn check(target: &Path, mounts: &[&Path], root: &Path, file: &str) {
        let place = locate(target, &|path: &Path| mounts.contains(&path));
        assert_eq!(place, Place { root: root.to_owned(), file: file.into() });
    }

    #[test]
    fn the_root_is_the_nearest_volume_or_else_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        let (volume, inner) = (base.join("run/secrets"), base.join("run/secrets/tls"));
        fs::create_dir_all(&inner).unwrap();

        let mounts = [volume.as_path()];
        check(&volume.join("db.json"), &mounts, &volume, "db.json");
        check(&volume.join("tls/key.pem"), &mounts, &volume, "tls/key.pem");
        check(&base.join("other/x"), &mounts, &base.join("other"), "x");
        check(Path::new("/x"), &mounts, Path::new("/"), "x");

        let mounts = [volume.as_path(), inner.as_path()];
        check(&inner.join("key.pem"), &mounts, &inner, "key.pem");
        // A mount below the volume is not the root of files next to it.
        check(&volume.join("db.json"), &mounts, &volume, "db.json");
    }

    #[test]
    fn only_links_above_the_volume_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        let volume = base.join("run/secrets");
        fs::create_dir_all(volume.join("..scaivault-1/tls")).unwrap();
        fs::create_dir(base.join("var")).unwrap();
        symlink("../run", base.join("var/run")).unwrap();
        symlink("..scaivault-1", volume.join("..data")).unwrap();
        symlink("..data/tls", volume.join("tls")).unwrap();
        let mounts = [volume.as_path()];
        check(&base.join("var/run/secrets/tls/key.pem"), &mounts, &volume, "tls/key.pem");
    }

    #[test]
    fn neither_the_image_nor_a_shared_directory_is_a_volume() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        let (volume, shared) = (base.join("volume"), base.join("volume/shared"));
        fs::create_dir_all(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
        let mounts = [Path::new("/"), volume.as_path(), shared.as_path()];
        check(&volume.join("a/b"), &mounts, &volume, "a/b");
        check(&base.join("a/b"), &mounts, &base.join("a"), "b");
        // As `/dev/shm` in `/dev`.
        check(&shared.join("a/b"), &mounts, &shared.join("a"), "b");
    }

    #[test]
    fn the_kernel_reports_mount_points() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("/proc", &link).unwrap();
        assert!(is_mount_point(Path::new("/")) && is_mount_point(Path::new("/proc")));
        for path in [Path::new("/proc/self"), dir.path(), &link, &dir.path().join("missing")] {
            assert!(!is_mount_point(path), "{}", path.display());
        }
    }
}
