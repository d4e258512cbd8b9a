//! The input manifests: files, directories, standard input.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use thiserror::Error;

/// The maximum size of a file. It is held in memory, and no manifest is nearly that large.
pub(crate) const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The name of standard input in reports.
const STDIN: &str = "stdin";

/// A text and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The path as it was given, or `stdin`.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// The files that the arguments refer to.
#[derive(Debug, Default)]
pub(crate) struct InputFiles {
    /// The files in order, with directories expanded to their manifests; `-` for standard input.
    pub(crate) files: Vec<PathBuf>,
    /// The directories that cannot be read or contain no manifest.
    pub(crate) errors: Vec<ReadError>,
}

/// Why the arguments are invalid.
#[derive(Debug, Error)]
pub(crate) enum UsageError {
    /// No file was named, and standard input is a terminal.
    #[error(
        "no manifest to work on: name a file or directory with -f, or pipe one in, for example \
         `kubectl create deployment app --image app --dry-run=client -o yaml | scaivault-injector inject`"
    )]
    Nothing,
    /// Standard input is used more than once, and all uses but the first would be empty.
    #[error("standard input can be read once, not for {}: put all but one into files", .0.join(" and for "))]
    StdinTwice(Vec<&'static str>),
}

/// Why a file or directory cannot be read.
#[derive(Debug, Error)]
#[error("{name}: {reason}")]
pub(crate) struct ReadError {
    /// The path as it was given, or `stdin`.
    pub(crate) name: String,
    pub(crate) reason: Unusable,
}

/// Why a file or directory cannot be used.
#[derive(Debug, Error)]
pub(crate) enum Unusable {
    /// A directory without manifests.
    #[error("no file here or below ends in .yaml, .yml or .json")]
    EmptyDirectory,
    /// Standard input is empty: the command before the pipe has probably failed.
    #[error("is empty: the command before the pipe wrote nothing")]
    EmptyStdin,
    /// The operating system's error.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// More than [`MAX_BYTES`].
    #[error("is larger than {limit} MiB: split it", limit = MAX_BYTES / 1024 / 1024)]
    TooLarge,
    /// Another encoding, or not text; with the position of the first invalid byte, from 0.
    #[error("is not UTF-8 (byte {0}): convert it, for example with iconv")]
    NotUtf8(usize),
}

/// Finds the files that the arguments refer to; standard input without arguments.
pub(crate) fn find(arguments: &[PathBuf]) -> Result<InputFiles, UsageError> {
    let mut found = InputFiles::default();
    if arguments.is_empty() {
        if io::stdin().is_terminal() {
            return Err(UsageError::Nothing);
        }
        found.files.push(PathBuf::from("-"));
    }
    for path in arguments {
        if !is_stdin(path) && path.is_dir() {
            let before = found.files.len() + found.errors.len();
            walk(path, &mut found);
            if found.files.len() + found.errors.len() == before {
                found
                    .errors
                    .push(ReadError { name: path.display().to_string(), reason: Unusable::EmptyDirectory });
            }
        } else {
            found.files.push(path.clone());
        }
    }
    Ok(found)
}

/// Rejects standard input for more than one purpose. Each path comes with its purpose.
pub(crate) fn stdin_once<'a>(
    named: impl IntoIterator<Item = (&'static str, &'a Path)>,
) -> Result<(), UsageError> {
    let uses: Vec<_> =
        named.into_iter().filter(|(_, path)| is_stdin(path)).map(|(purpose, _)| purpose).collect();
    if uses.len() > 1 { Err(UsageError::StdinTwice(uses)) } else { Ok(()) }
}

/// Reads a file, or standard input if the path is `-`.
pub(crate) fn read(path: &Path) -> Result<Source, ReadError> {
    if is_stdin(path) {
        let source = read_from(io::stdin().lock(), STDIN.to_owned())?;
        return if source.text.trim().is_empty() {
            Err(ReadError { name: source.name, reason: Unusable::EmptyStdin })
        } else {
            Ok(source)
        };
    }
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => read_from(file, name),
        Err(error) => Err(ReadError { name, reason: Unusable::Io(error) }),
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn read_from(reader: impl Read, name: String) -> Result<Source, ReadError> {
    let mut bytes = Vec::new();
    // One more byte distinguishes a file that is too large from one of the maximum size.
    if let Err(error) = reader.take(MAX_BYTES + 1).read_to_end(&mut bytes) {
        return Err(ReadError { name, reason: Unusable::Io(error) });
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError { name, reason: Unusable::TooLarge });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => Err(ReadError { name, reason: Unusable::NotUtf8(error.utf8_error().valid_up_to()) }),
    }
}

/// Adds the manifests below a directory, sorted by name. Links to directories are not followed, to
/// avoid loops; links to files are. Hidden entries are skipped: editors' locks and swap files, and
/// the directories of a mounted `ConfigMap`, whose files would appear twice.
fn walk(directory: &Path, found: &mut InputFiles) {
    let entries: io::Result<Vec<_>> = fs::read_dir(directory).and_then(|entries| {
        entries.map(|entry| entry.and_then(|entry| Ok((entry.file_type()?, entry)))).collect()
    });
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            let name = directory.display().to_string();
            found.errors.push(ReadError { name, reason: Unusable::Io(error) });
            return;
        }
    };
    entries.sort_by_key(|(_, entry)| entry.file_name());
    for (file_type, entry) in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if file_type.is_dir() {
            walk(&path, found);
        } else if is_manifest(&path) && !path.is_dir() {
            found.files.push(path);
        }
    }
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
        for file in
            ["b.yaml", "a/z.yml", "a/y.json", "c.txt", "a/.hidden.yaml", ".git/x.yaml", "0.yaml", "yaml"]
        {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = find(&[directory.path().to_owned()]).unwrap();
        let found: Vec<_> =
            found.files.iter().map(|path| path.strip_prefix(&directory).unwrap().to_str().unwrap()).collect();
        assert_eq!(found, ["0.yaml", "a/y.json", "a/z.yml", "b.yaml"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_to_files_are_followed_and_links_to_directories_are_not() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.yaml"), "").unwrap();
        symlink("a.yaml", directory.path().join("b.yaml")).unwrap();
        symlink(".", directory.path().join("loop.yaml")).unwrap();
        assert_eq!(find(&[directory.path().to_owned()]).unwrap().files.len(), 2);
    }

    #[test]
    fn a_directory_without_manifests_is_an_error() {
        let (empty, full) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(full.path().join("a.yaml"), "").unwrap();
        let found = find(&[empty.path().to_owned(), full.path().to_owned()]).unwrap();
        assert!(matches!(found.errors[0].reason, Unusable::EmptyDirectory), "{found:?}");
        assert_eq!(found.files, [full.path().join("a.yaml")]);
    }

    #[test]
    fn standard_input_is_for_one_thing() {
        let dash = Path::new("-");
        let once = [("the manifests", Path::new("a.yaml")), ("--config", dash)];
        assert!(stdin_once(once).is_ok());
        let error = stdin_once([("the manifests", dash), ("--config", dash)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "standard input can be read once, not for the manifests and for --config: put all but one into files"
        );
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
