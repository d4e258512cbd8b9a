//! Which root a file lies in.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::mounts::Mounts;

/// A root, and a file's path below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) root: PathBuf,
    pub(super) file: PathBuf,
}

/// The volume that an absolute path lies in, or else its directory.
///
/// A link on the way to the volume is followed (`/var/run` to `/run`); one inside a volume is the agent's own, and what
/// follows belongs to the file's path below the root.
pub(super) fn locate(target: &Path, mounts: &Mounts) -> Place {
    let mut dir = PathBuf::from("/");
    let relative = target.strip_prefix("/").unwrap_or(target);
    let mut rest = relative.iter();
    while let Some(segment) =
        rest.as_path().parent().filter(|parent| *parent != Path::new("")).and(rest.clone().next())
    {
        let next = dir.join(segment);
        let is_link = fs::symlink_metadata(&next).is_ok_and(|metadata| metadata.is_symlink());
        dir = match is_link {
            true if mounts.volume_of(&dir).is_some() => break,
            true => fs::canonicalize(&next).unwrap_or(next),
            false => next,
        };
        rest.next();
    }
    let rest = rest.as_path();
    match mounts.volume_of(&dir) {
        Some(root) => {
            let below = dir.strip_prefix(root).expect("an ancestor is a prefix");
            Place { file: below.join(rest), root: root.to_owned() }
        }
        None => Place { root: dir, file: rest.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[track_caller]
    fn check(target: &Path, mounts: &Mounts, root: &Path, file: &str) {
        assert_eq!(locate(target, mounts), Place { root: root.to_owned(), file: file.into() });
    }

    #[test]
    fn the_root_is_the_nearest_volume_or_else_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        let (volume, inner) = (base.join("run/secrets"), base.join("run/secrets/tls"));
        fs::create_dir_all(&inner).unwrap();

        let mounts = Mounts::from([volume.as_path()]);
        check(&volume.join("db.json"), &mounts, &volume, "db.json");
        check(&volume.join("tls/key.pem"), &mounts, &volume, "tls/key.pem");
        check(&base.join("other/x"), &mounts, &base.join("other"), "x");
        check(Path::new("/x"), &mounts, Path::new("/"), "x");

        let mounts = Mounts::from([volume.as_path(), inner.as_path()]);
        check(&inner.join("key.pem"), &mounts, &inner, "key.pem");
        // What is mounted below the volume is no root of what lies beside it.
        check(&volume.join("db.json"), &mounts, &volume, "db.json");
    }

    #[test]
    fn links_before_the_volume_are_followed_and_those_inside_are_ours() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        let volume = base.join("run/secrets");
        fs::create_dir_all(volume.join("..scaivault-1/tls")).unwrap();
        fs::create_dir(base.join("var")).unwrap();
        symlink("../run", base.join("var/run")).unwrap();
        symlink("..scaivault-1", volume.join("..data")).unwrap();
        symlink("..data/tls", volume.join("tls")).unwrap();
        let mounts = Mounts::from([volume.as_path()]);
        check(&base.join("var/run/secrets/tls/key.pem"), &mounts, &volume, "tls/key.pem");
    }
}
