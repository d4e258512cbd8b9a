//! Versions of objects: keyed hashes, which are equal for equal files and do not reveal them. The driver
//! shows them in the pod's `SecretProviderClassPodStatus`, and tools restart workloads when they change.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    hmac::{HMAC_SHA256, Key, sign},
    rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use thiserror::Error;

use crate::{shared_key::SharedKeyError, state};

/// The size of the key.
pub(crate) const KEY_BYTES: usize = 32;
/// The file of the key in the state directory.
const KEY_FILE: &str = "version-key";
/// The copy of the shared key in the state directory.
const SHARED_KEY_FILE: &str = "shared-version-key";
/// The maximum size of a key file.
const KEY_MAX_BYTES: u64 = 4096;
/// The number of bytes of a hash that are shown, enough to make collisions implausible.
const SHOWN_BYTES: usize = 16;

/// Computes versions.
pub(crate) struct Versions(Key);

/// Why the key of versions cannot be used.
#[derive(Debug, Error)]
pub(crate) enum VersionKeyError {
    #[error("cannot read or write the key of object versions {}: {source}; check the directory of --state-dir, or the file of --version-key-file", .file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("the key of object versions {} has {bytes} bytes; expected at least {KEY_BYTES}; remove the file or write a new key", .file.display())]
    Length { file: PathBuf, bytes: usize },
    #[error(transparent)]
    Shared(#[from] SharedKeyError),
}

impl Versions {
    /// Reads the key from the operator's file.
    pub(crate) fn read(file: &Path) -> Result<Self, VersionKeyError> {
        let mut bytes = Vec::new();
        let reading = fs::File::open(file).and_then(|open| open.take(KEY_MAX_BYTES).read_to_end(&mut bytes));
        reading.map_err(|source| VersionKeyError::File { file: file.to_owned(), source })?;
        // A line break at the end is not part of the key.
        Self::new(bytes.trim_ascii_end(), file)
    }

    /// Reads the key of an earlier start, or generates one, because a restart must not change versions.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, VersionKeyError> {
        let file = state_dir.join(KEY_FILE);
        let read = || match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = random_key()?;
                state::write(&file, &key)?;
                Ok(key)
            }
            read => read,
        };
        let key = read().map_err(|source| VersionKeyError::File { file: file.clone(), source })?;
        Self::new(&key, &file)
    }

    /// The shared key, or its copy from an earlier start if it is not available now.
    pub(crate) fn shared(
        key: Result<Vec<u8>, SharedKeyError>,
        state_dir: &Path,
    ) -> Result<Self, VersionKeyError> {
        let file = state_dir.join(SHARED_KEY_FILE);
        let copy = fs::read(&file).ok();
        let key = match (key, copy) {
            (Ok(key), copy) => {
                if copy.as_deref() != Some(&key)
                    && let Err(error) = state::write(&file, &key)
                {
                    tracing::warn!(file = %file.display(), %error, "copy of the key of object versions not saved");
                }
                key
            }
            (Err(error), Some(copy)) => {
                tracing::warn!(%error, "using the key of object versions from the previous start");
                copy
            }
            (Err(error), None) => return Err(error.into()),
        };
        Self::new(&key, &file)
    }

    fn new(key: &[u8], file: &Path) -> Result<Self, VersionKeyError> {
        if key.len() < KEY_BYTES {
            return Err(VersionKeyError::Length { file: file.to_owned(), bytes: key.len() });
        }
        Ok(Self(Key::new(HMAC_SHA256, key)))
    }

    /// The version of a file.
    pub(crate) fn version(&self, file: &str, contents: &[u8]) -> String {
        // A path contains no NUL, so different pairs are never signed as the same bytes.
        let tag = sign(&self.0, &[file.as_bytes(), b"\0", contents].concat());
        URL_SAFE_NO_PAD.encode(&tag.as_ref()[..SHOWN_BYTES])
    }
}

/// A new key.
pub(crate) fn random_key() -> io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| io::Error::other("no random bytes"))?;
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
    fn nodes_with_one_key_make_equal_versions() {
        let nodes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let file = nodes[0].path().join("key");
        fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let version = |versions: &Versions| versions.version("db.json", b"swordfish");
        let by_file = version(&Versions::read(&file).unwrap());
        let key = || Ok(b"0123456789abcdef0123456789abcdef".to_vec());
        for node in &nodes {
            assert_eq!(version(&Versions::shared(key(), node.path()).unwrap()), by_file);
        }
        // Later, the API server is not available.
        let late = || Err(SharedKeyError::Late("ns/name".parse().unwrap()));
        assert_eq!(version(&Versions::shared(late(), nodes[1].path()).unwrap()), by_file);
        let new = tempfile::tempdir().unwrap();
        let said = Versions::shared(late(), new.path()).err().unwrap().to_string();
        assert!(said.contains("ns/name"), "another key would change all versions: {said}");
        assert!(Versions::read(&new.path().join("none")).is_err());
    }

    #[test]
    fn a_short_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(KEY_FILE), "short").unwrap();
        assert!(Versions::open(directory.path()).err().unwrap().to_string().contains("has 5 bytes"));
        assert!(Versions::open(&directory.path().join("none")).is_err());
    }
}
