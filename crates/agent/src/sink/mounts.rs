//! Where volumes are mounted.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

/// The kernel's list of this process's mounts: `proc(5)`, "mountinfo".
const MOUNTINFO: &str = "/proc/self/mountinfo";
/// The sticky bit: a directory that many share, such as `/tmp`, and no volume of a pod.
const STICKY: u32 = 0o1000;

/// The mount points of the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounts(BTreeSet<PathBuf>);

impl Mounts {
    /// Reads the kernel's list.
    pub(crate) fn of_process() -> io::Result<Self> {
        Ok(Self::parse(&fs::read(MOUNTINFO)?))
    }

    /// The volume that a directory lies in. The image's own root and shared directories are none, and what they are
    /// mounted in does not hold their files.
    pub(super) fn volume_of<'a>(&self, dir: &'a Path) -> Option<&'a Path> {
        dir.ancestors().find(|path| self.0.contains(*path)).filter(|path| is_volume(path))
    }

    fn parse(list: &[u8]) -> Self {
        let point = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4).map(unescape);
        Self(list.split(|byte| *byte == b'\n').filter_map(point).collect())
    }
}

#[cfg(test)]
impl<const N: usize> From<[&Path; N]> for Mounts {
    fn from(points: [&Path; N]) -> Self {
        Self(points.map(Path::to_owned).into())
    }
}

fn is_volume(path: &Path) -> bool {
    path != Path::new("/") && fs::metadata(path).is_ok_and(|metadata| metadata.mode() & STICKY == 0)
}

/// Space, tab, newline and backslash stand there as three octal digits behind a backslash.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let code = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn reads_the_kernels_list() {
        let list = b"36 35 98:0 /mnt1 /mnt/with\\040space rw,noatime master:1 - ext3 /dev/root rw\n\
            37 35 0:50 / /run/secrets rw - tmpfs tmpfs rw,size=8192k\n";
        let expected = [PathBuf::from("/mnt/with space"), PathBuf::from("/run/secrets")];
        assert_eq!(Mounts::parse(list).0, expected.into());
        assert!(Mounts::of_process().unwrap().0.contains(Path::new("/proc")));
    }

    #[test]
    fn neither_the_image_nor_a_shared_directory_is_a_volume() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        fs::create_dir(&volume).unwrap();
        let shared = std::env::temp_dir();
        let mounts = Mounts::from([Path::new("/"), &shared, &volume]);
        assert_eq!(mounts.volume_of(&volume.join("a/b")), Some(volume.as_path()));
        assert_eq!(mounts.volume_of(dir.path()), None);
        // As `/dev/shm` in `/dev`.
        let inner = volume.join("shared");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o1777)).unwrap();
        let mounts = Mounts::from([volume.as_path(), &inner]);
        assert_eq!(mounts.volume_of(&inner.join("a")), None);
    }
}
