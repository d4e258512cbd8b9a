//! The manifests to work on: files, directories, standard input.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use thiserror::Error;

/// The largest file that is read: all of it is held in memory, and no manifest comes near.
pub(crate) const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The name of standard input in reports.
const STDIN: &str = "stdin";

/// A text and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The path as it was given, or `stdin`.
    pub(crate) name: String,
    /// All of it.
    pub(crate) text: String,
}

/// Why there is nothing to work on.
#[derive(Debug, Error)]
pub(crate) enum InputError {
    /// No file was named, and standard input is a person.
    #[error(
        "no manifest to work on: name a file or directory with -f, or pipe one in, for example \
         `kubectl create deployment app --image app --dry-run=client -o yaml | scaivault-injector inject`"
    )]
    Nothing,
    /// `-f -` is there twice.
    #[error("-f - is there twice: standard input can be read once")]
    StdinTwice,
    /// A directory without manifests.
    #[error("{0}: no file here or below ends in .yaml, .yml or .json")]
    EmptyDirectory(String),
    /// The operating system says no.
    #[error("{name}: cannot be read: {source}")]
    Io {
        /// What was to be read.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// More than [`MAX_BYTES`].
    #[error("{0}: is larger than {limit} MiB: split it", limit = MAX_BYTES / 1024 / 1024)]
    TooLarge(String),
    /// Another encoding, or no text.
    #[error("{name}: is not UTF-8 (byte {offset}): convert it, for example with iconv")]
    NotUtf8 {
        /// What was read.
        name: String,
        /// The first byte that does not fit, from 0.
        offset: usize,
    },
}

/// What the arguments name, in order, with directories replaced by their manifests.
pub(crate) fn find(arguments: &[PathBuf]) -> Result<Vec<PathBuf>, InputError> {
    if arguments.is_empty() {
        return if io::stdin().is_terminal() {
            Err(InputError::Nothing)
        } else {
            Ok(vec![PathBuf::from("-")])
        };
    }
    if arguments.iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(InputError::StdinTwice);
    }
    let mut files = Vec::new();
    for path in arguments {
        if !is_stdin(path) && path.is_dir() {
            let before = files.len();
            walk(path, &mut files)?;
            if files.len() == before {
                return Err(InputError::EmptyDirectory(path.display().to_string()));
            }
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Reads one of the files that [`find`] found.
pub(crate) fn read(path: &Path) -> Result<Source, InputError> {
    if is_stdin(path) {
        return read_from(io::stdin().lock(), STDIN.to_owned());
    }
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => read_from(file, name),
        Err(source) => Err(InputError::Io { name, source }),
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn read_from(reader: impl Read, name: String) -> Result<Source, InputError> {
    let mut bytes = Vec::new();
    // One byte more tells a file that is too large from one that just fits.
    if let Err(source) = reader.take(MAX_BYTES + 1).read_to_end(&mut bytes) {
        return Err(InputError::Io { name, source });
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(InputError::TooLarge(name));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => Err(InputError::NotUtf8 { name, offset: error.utf8_error().valid_up_to() }),
    }
}

/// Adds the manifests below a directory, sorted by name. Links to directories are not followed, so that a loop
/// ends; links to files are.
fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), InputError> {
    let failed = |source| InputError::Io { name: directory.display().to_string(), source };
    let mut entries: Vec<_> = fs::read_dir(directory).and_then(Iterator::collect).map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(&path, files)?;
        } else if is_manifest(&path) && !path.is_dir() {
            files.push(path);
        }
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_walked_in_sorted_order() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["b.yaml", "a/z.yml", "a/y.json", "c.txt", "a/.hidden.yaml", "0.yaml", "yaml"] {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = find(&[directory.path().to_owned()]).unwrap();
        let found: Vec<_> =
            found.iter().map(|path| path.strip_prefix(&directory).unwrap().to_str().unwrap()).collect();
        assert_eq!(found, ["0.yaml", "a/.hidden.yaml", "a/y.json", "a/z.yml", "b.yaml"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_to_files_are_followed_and_links_to_directories_are_not() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.yaml"), "").unwrap();
        symlink("a.yaml", directory.path().join("b.yaml")).unwrap();
        symlink(".", directory.path().join("loop.yaml")).unwrap();
        assert_eq!(find(&[directory.path().to_owned()]).unwrap().len(), 2);
    }

    #[test]
    fn a_directory_without_manifests_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let error = find(&[directory.path().to_owned()]).unwrap_err();
        assert!(matches!(error, InputError::EmptyDirectory(_)), "{error}");
    }

    #[test]
    fn standard_input_can_be_named_once() {
        let error = find(&["-".into(), "a.yaml".into(), "-".into()]).unwrap_err();
        assert!(matches!(error, InputError::StdinTwice), "{error}");
    }

    #[test]
    fn the_limit_is_exact() {
        let read = |length| read_from(io::repeat(b'a').take(length), "big.yaml".into());
        assert_eq!(read(MAX_BYTES).unwrap().text.len() as u64, MAX_BYTES);
        assert_eq!(read(MAX_BYTES + 1).unwrap_err().to_string(), "big.yaml: is larger than 64 MiB: split it");
    }

    #[test]
    fn another_encoding_is_named() {
        let error = read_from(&b"a: \xff"[..], "a.yaml".into()).unwrap_err();
        assert_eq!(error.to_string(), "a.yaml: is not UTF-8 (byte 3): convert it, for example with iconv");
    }
}
