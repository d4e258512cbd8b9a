//! The ways to log in, and the files that they use.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    path::Arg,
};
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use crate::{Address, Trust};

/// The file in a directory of client credentials with the identifier.
pub const CLIENT_ID_FILE: &str = "client_id";

/// The file in a directory of client credentials with the secret.
pub const CLIENT_SECRET_FILE: &str = "client_secret";

/// The maximum size of a token or credential in bytes: a service account's token has about a
/// thousand.
pub const TOKEN_FILE_LIMIT: usize = 64 * 1024;

/// How often credentials are read again if they change while being read.
const CHANGES: usize = 3;

/// The way to log in. Files are read at each login, because the kubelet replaces them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// With a service account's token, which `ScaiVault` exchanges for its own.
    Exchange {
        /// The file with the token.
        token_file: PathBuf,
        /// The audience in the exchange request; it must equal that of the token.
        audience: String,
        /// The requested `ScaiKey` identity; `None` lets `ScaiVault` choose.
        role: Option<String>,
    },
    /// With client credentials, if `ScaiKey` does not trust the cluster's tokens.
    ClientCredentials {
        /// The directory with [`CLIENT_ID_FILE`] and [`CLIENT_SECRET_FILE`].
        directory: PathBuf,
        /// `ScaiKey`'s token endpoint.
        token_url: Address,
        /// The CAs trusted for this endpoint.
        trust: Trust,
    },
}

/// The text of a file without surrounding white space. Blocking, because such files are in memory.
pub(crate) fn read_file(file: &Path) -> Result<SecretString, LoginFileError> {
    read_open(File::open(file), file)
}

/// Identifier and secret from a directory, both of the same version. A mixed pair during a rotation
/// would be rejected, and could lock the client out.
pub(crate) fn read_credentials(directory: &Path) -> Result<[SecretString; 2], LoginFileError> {
    let read = || -> Result<[SecretString; 2], LoginFileError> {
        let [id, secret] = [CLIENT_ID_FILE, CLIENT_SECRET_FILE];
        let generation = generation(directory).map_err(|source| LoginFileError {
            file: directory.to_owned(),
            fault: FileFault::Read(source),
        })?;
        let read = |name| {
            read_open(open_at(&generation, name, OFlags::empty()).map(File::from), &directory.join(name))
        };
        Ok([read(id)?, read(secret)?])
    };
    let mut last = read();
    // If the kubelet replaces the directory as a whole, one read is consistent, unless the
    // directory was removed meanwhile. Otherwise two consecutive reads have to agree.
    for _ in 0..CHANGES {
        let again = read();
        let exposed = |pair: &[SecretString; 2]| pair.each_ref().map(|text| text.expose_secret().to_owned());
        if matches!((&last, &again), (Ok(one), Ok(other)) if exposed(one) == exposed(other)) {
            break;
        }
        last = again;
    }
    last
}

/// The current target of `..data` in a kubelet's volume, or else the directory itself.
fn generation(directory: &Path) -> io::Result<OwnedFd> {
    let root = open_at(CWD, directory, OFlags::DIRECTORY)?;
    match open_at(&root, "..data", OFlags::DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(root),
        opened => opened,
    }
}

fn open_at(directory: impl AsFd, path: impl Arg, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(directory, path, flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// `file` is the name in errors.
fn read_open(opened: io::Result<File>, file: &Path) -> Result<SecretString, LoginFileError> {
    let fail = |fault| LoginFileError { file: file.to_owned(), fault };
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        opened?.take(TOKEN_FILE_LIMIT as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| fail(FileFault::Read(source)))?;
    if bytes.len() > TOKEN_FILE_LIMIT {
        return Err(fail(FileFault::TooLarge));
    }
    let text = str::from_utf8(&bytes).map_err(|_| fail(FileFault::NotText))?.trim();
    match text {
        "" => Err(fail(FileFault::Empty)),
        text if text.contains(char::is_control) => Err(fail(FileFault::NotText)),
        text => Ok(SecretString::from(text)),
    }
}

/// A file of the login that cannot be used.
#[derive(Debug, Error)]
#[error("the file {} {fault}", .file.display())]
pub struct LoginFileError {
    /// The file.
    pub file: PathBuf,
    fault: FileFault,
}

#[derive(Debug, Error)]
enum FileFault {
    #[error("cannot be read ({0}); check the volume that it comes from")]
    Read(io::Error),
    #[error("is empty; check the volume that it comes from")]
    Empty,
    #[error("is larger than {TOKEN_FILE_LIMIT} bytes, so it is neither a token nor a credential")]
    TooLarge,
    #[error("is not one line of text, so it is neither a token nor a credential")]
    NotText,
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn the_white_space_around_is_not_the_tokens() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        fs::write(&file, " ey.J\n\n").unwrap();
        assert_eq!(read_file(&file).unwrap().expose_secret(), "ey.J");
    }

    fn write_pair(directory: &Path, text: &str) {
        for file in [CLIENT_ID_FILE, CLIENT_SECRET_FILE] {
            fs::write(directory.join(file), text).unwrap();
        }
    }

    fn read_pair(directory: &Path) -> [String; 2] {
        read_credentials(directory).unwrap().map(|text| text.expose_secret().to_owned())
    }

    #[test]
    fn credentials_are_of_one_generation() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        // The layout of a kubelet's volume: the files are links into a directory that is replaced
        // as a whole.
        let publish = |generation: usize| {
            let name = format!("..{generation}");
            fs::create_dir(root.join(&name)).unwrap();
            write_pair(&root.join(&name), &generation.to_string());
            symlink(&name, root.join("..data_tmp")).unwrap();
            fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
            if let Some(before) = generation.checked_sub(1) {
                fs::remove_dir_all(root.join(format!("..{before}"))).unwrap();
            }
        };
        publish(0);
        for file in [CLIENT_ID_FILE, CLIENT_SECRET_FILE] {
            symlink(Path::new("..data").join(file), root.join(file)).unwrap();
        }
        assert_eq!(read_pair(root), ["0", "0"]);
        std::thread::scope(|scope| {
            scope.spawn(|| (1..500).for_each(publish));
            for _ in 0..500 {
                // A directory that was removed during every attempt is an error, and the login is
                // retried.
                if let Ok(pair) = read_credentials(root) {
                    let [id, secret] = pair.map(|text| text.expose_secret().to_owned());
                    assert_eq!(id, secret);
                }
            }
        });
        assert_eq!(read_pair(root), ["499", "499"]);
    }

    #[test]
    fn credentials_are_read_from_files() {
        let directory = tempfile::tempdir().unwrap();
        write_pair(directory.path(), "app\n");
        assert_eq!(read_pair(directory.path()), ["app", "app"]);
        fs::remove_file(directory.path().join(CLIENT_SECRET_FILE)).unwrap();
        let error = read_credentials(directory.path()).unwrap_err().to_string();
        assert!(error.contains("client_secret cannot be read"), "{error}");
        let error = read_credentials(&directory.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none cannot be read"), "{error}");
    }

    #[test]
    fn errors_do_not_quote_values() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let error = |file: &Path| read_file(file).unwrap_err().to_string();
        assert!(error(&file).contains("cannot be read"));
        for (bytes, expected) in [
            (b" \n".to_vec(), "is empty"),
            (b"swordfish\nswordfish".to_vec(), "is not one line"),
            (b"swordfish\xff".to_vec(), "is not one line"),
            (vec![b'x'; TOKEN_FILE_LIMIT + 1], "is larger"),
        ] {
            fs::write(&file, bytes).unwrap();
            let error = error(&file);
            assert!(error.contains(expected) && !error.contains("swordfish"), "{error}");
        }
        fs::write(&file, vec![b'x'; TOKEN_FILE_LIMIT]).unwrap();
        assert!(read_file(&file).is_ok());
    }
}
