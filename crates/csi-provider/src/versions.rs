//! Versions of objects: keyed hashes, which are equal for equal files and say nothing about them. The driver shows them in
//! the pod's `SecretProviderClassPodStatus`, and tools restart workloads when they change.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    hmac::{HMAC_SHA256, Key, sign},
    rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use thiserror::Error;

/// The bytes of the key.
const KEY_BYTES: usize = 32;
/// The file of the key in the state directory.
const KEY_FILE: &str = "version-key";
/// The bytes of a hash that are shown: enough that no two contents are taken for one.
const SHOWN_BYTES: usize = 16;

/// Makes versions.
pub(crate) struct Versions(Key);

/// The key of versions cannot be used.
#[derive(Debug, Error)]
pub(crate) enum VersionKeyError {
    #[error("cannot read or write the key of object versions {}: {source}; check the directory of --state-dir", .file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("the key of object versions {} has {bytes} bytes; expected at least {KEY_BYTES}; remove the file or write a new key", .file.display())]
    Length { file: PathBuf, bytes: usize },
}

impl Versions {
    /// Takes the key of an earlier start, or makes one: a restart must not change versions.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, VersionKeyError> {
        let file = state_dir.join(KEY_FILE);
        let read = || match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => new_key(&file),
            read => read,
        };
        let key = read().map_err(|source| VersionKeyError::File { file: file.clone(), source })?;
        if key.len() < KEY_BYTES {
            return Err(VersionKeyError::Length { file, bytes: key.len() });
        }
        Ok(Self(Key::new(HMAC_SHA256, &key)))
    }

    /// The version of a file.
    pub(crate) fn version(&self, file: &str, contents: &[u8]) -> String {
        // A path has no NUL, so no two pairs are signed as the same bytes.
        let tag = sign(&self.0, &[file.as_bytes(), b"\0", contents].concat());
        URL_SAFE_NO_PAD.encode(&tag.as_ref()[..SHOWN_BYTES])
    }
}

/// Writes a new key to a file that does not exist, as a whole: a process that is killed leaves no half of it.
fn new_key(file: &Path) -> io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| io::Error::other("no random bytes"))?;
    let partial = file.with_extension("new");
    let _ = fs::remove_file(&partial);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?.write_all(&key)?;
    fs::rename(&partial, file)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Versions::open(directory.path()).unwrap();
        let version = open().version("db.json", b"swordfish");
        assert_eq!(open().version("db.json", b"swordfish"), version);
        assert_ne!(open().version("db.json", b"other"), version);
        assert_ne!(open().version("other", b"swordfish"), version);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Versions::open(other.path()).unwrap().version("db.json", b"swordfish"), version);
    }

    #[test]
    fn a_short_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(KEY_FILE), "short").unwrap();
        assert!(Versions::open(directory.path()).err().unwrap().to_string().contains("has 5 bytes"));
        assert!(Versions::open(&directory.path().join("none")).is_err());
    }
}
