//! `verify`: compares files without showing their content, either pairs of files, or the files of
//! this pod with `ScaiVault`.
//!
//! Values are hashed with a key that is random for each run and never stored, and only hashes are
//! compared. The output contains neither values nor hashes nor lengths, so guesses cannot be tested
//! against it.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    hmac::{self, HMAC_SHA256, Key, Tag},
    rand::SystemRandom,
};
use scaivault_client::Client;
use scaivault_contract::TargetFile;

use crate::{
    compose::Composer,
    config::{Config, Outputs},
    exit::Fatal,
    failure::{Cause, Failure, Failures},
};

/// The maximum size of a compared file: neither Secrets nor the agent's volumes are larger.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    /// They only differ in a line break at the end.
    LineEnd,
    Different,
    Missing,
    Unreadable,
    /// Dynamic credentials differ each time, and an optional secret need not exist.
    Skipped,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Equal => "equal",
            Self::LineEnd => "line-end",
            Self::Different => "different",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::Skipped => "skipped",
        })
    }
}

/// Compares pairs of files.
pub(crate) fn files(pairs: &[PathBuf]) -> Result<(), Fatal> {
    let hasher = Hasher::new()?;
    let mut report = Report::new(io::stdout().lock());
    for pair in pairs.chunks(2) {
        let [new, today] = pair else { return Err(Fatal::Command) };
        report.add(Hasher::compare(&hasher.file(new), &hasher.file(today)), &[new, today])?;
    }
    report.end()
}

/// Compares the files of this pod with the values in `ScaiVault`.
pub(crate) async fn pod(config: Config) -> Result<(), Fatal> {
    let hasher = Hasher::new()?;
    let client = Client::new(config.server.clone())?;
    // Leaked for the lifetime of the process, which is short, because files borrow from it.
    let outputs: &'static Outputs = &Box::leak(Box::new(config)).outputs;
    let mut report = Report::new(io::stdout().lock());
    let mut composer = Composer::new(outputs);
    let mut failures = Vec::new();
    for key in composer.keys() {
        let read = client.read(&key.path, key.version).await;
        let answer = read.map_err(|error| Failure::from_error(&key, &error));
        if let Err(failure) = &answer
            && !(failure.cause == Cause::Absent && composer.is_optional(&key))
        {
            failures.push(failure.clone());
        }
        let mut compared: Vec<(&'static TargetFile, Comparison)> = Vec::new();
        let taken = composer.take(&key, answer, true, |target, _, bytes| {
            compared.push((
                target,
                Hasher::compare(&hasher.bytes(bytes), &hasher.file(target.as_str().as_ref())),
            ));
        });
        failures.extend(taken.failures);
        let absent = taken.absent.into_iter().map(|target| (target, Comparison::Skipped));
        for (target, found) in compared.into_iter().chain(absent) {
            report.add(found, &[target.as_str().as_ref()])?;
        }
    }
    for spec in outputs.files.iter().filter(|spec| spec.source.lease().is_some()) {
        report.add(Comparison::Skipped, &[spec.file.as_str().as_ref()])?;
    }
    let ended = report.end();
    if failures.is_empty() { ended } else { Err(Failures(failures).into()) }
}

/// The hashes of a file, or why there are none.
struct Digest {
    state: Result<Tags, Comparison>,
}

/// The hash of a text, and of the text without a line break at its end.
struct Tags {
    whole: Tag,
    trimmed: Tag,
}

/// Hashes with its own random key.
struct Hasher {
    key: Key,
}

impl Hasher {
    fn new() -> Result<Self, Fatal> {
        let key = Key::generate(HMAC_SHA256, &SystemRandom::new());
        key.map(|key| Self { key }).map_err(|_| Fatal::Random)
    }

    fn bytes(&self, bytes: &[u8]) -> Digest {
        let trimmed =
            bytes.strip_suffix(b"\n").map_or(bytes, |rest| rest.strip_suffix(b"\r").unwrap_or(rest));
        let tags = Tags { whole: hmac::sign(&self.key, bytes), trimmed: hmac::sign(&self.key, trimmed) };
        Digest { state: Ok(tags) }
    }

    /// The allocator zeroes the content when this returns.
    fn file(&self, path: &Path) -> Digest {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 <= MAX_BYTES => self.bytes(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Digest { state: Err(Comparison::Missing) }
            }
            _ => Digest { state: Err(Comparison::Unreadable) },
        }
    }

    fn compare(new: &Digest, today: &Digest) -> Comparison {
        match (&new.state, &today.state) {
            (Ok(new), Ok(today)) if is_equal(&new.whole, &today.whole) => Comparison::Equal,
            (Ok(new), Ok(today)) if is_equal(&new.trimmed, &today.trimmed) => Comparison::LineEnd,
            (Ok(_), Ok(_)) => Comparison::Different,
            (Err(found), _) | (_, Err(found)) => *found,
        }
    }
}

/// Constant time, independent of where they differ.
fn is_equal(left: &Tag, right: &Tag) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left.as_ref(), right.as_ref()).is_ok()
}

/// Prints a line for each comparison, and counts the results.
struct Report<W> {
    out: W,
    compared: usize,
    wrong: usize,
}

impl<W: Write> Report<W> {
    fn new(out: W) -> Self {
        Self { out, compared: 0, wrong: 0 }
    }

    fn add(&mut self, found: Comparison, paths: &[&Path]) -> Result<(), Fatal> {
        self.compared += usize::from(found != Comparison::Skipped);
        self.wrong += usize::from(!matches!(found, Comparison::Equal | Comparison::Skipped));
        // Names of files may be untrusted, so control characters are escaped.
        let paths: Vec<String> =
            paths.iter().map(|path| path.to_string_lossy().escape_debug().to_string()).collect();
        writeln!(self.out, "{found:<10} {}", paths.join("  ")).map_err(Fatal::Output)
    }

    fn end(mut self) -> Result<(), Fatal> {
        let Self { compared, wrong, .. } = self;
        writeln!(self.out, "{} of {compared} equal", compared - wrong).map_err(Fatal::Output)?;
        if wrong == 0 { Ok(()) } else { Err(Fatal::Different { wrong, compared }) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn report(found: &[(Comparison, &str)]) -> (String, Result<(), Fatal>) {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out);
        for (found, path) in found {
            report.add(*found, &[Path::new(path)]).unwrap();
        }
        let ended = report.end();
        (String::from_utf8(out).unwrap(), ended)
    }

    #[test]
    fn files_are_compared_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let hasher = Hasher::new().unwrap();
        let file = |name: &str, content: &[u8]| {
            fs::write(dir.path().join(name), content).unwrap();
            hasher.file(&dir.path().join(name))
        };
        let base = file("base", b"hunter2");
        for (content, expected) in [
            (&b"hunter2"[..], Comparison::Equal),
            (b"hunter2\n", Comparison::LineEnd),
            (b"hunter2\r\n", Comparison::LineEnd),
            (b"hunter2\n\n", Comparison::Different),
            (b"hunter3", Comparison::Different),
            (b"", Comparison::Different),
        ] {
            assert_eq!(Hasher::compare(&base, &file("other", content)), expected, "{content:?}");
        }
        assert_eq!(Hasher::compare(&base, &hasher.file(&dir.path().join("absent"))), Comparison::Missing);
        assert_eq!(Hasher::compare(&base, &hasher.file(dir.path())), Comparison::Unreadable);
    }

    /// Two runs give different hashes for the same value, so guesses cannot be tested against a
    /// leaked hash.
    #[test]
    fn every_run_has_a_key_of_its_own() {
        let tag = |hasher: &Hasher| match hasher.bytes(b"hunter2").state {
            Ok(tags) => tags.whole,
            Err(found) => panic!("{found}"),
        };
        let (first, second) = (Hasher::new().unwrap(), Hasher::new().unwrap());
        assert!(!is_equal(&tag(&first), &tag(&second)));
        assert!(is_equal(&tag(&first), &tag(&first)));
    }

    #[test]
    fn only_a_difference_fails_the_comparison() {
        let (text, ended) = report(&[(Comparison::Equal, "/a"), (Comparison::Skipped, "/b")]);
        assert_eq!(text, "equal      /a\nskipped    /b\n1 of 1 equal\n");
        assert!(ended.is_ok());
        let (text, ended) = report(&[
            (Comparison::Equal, "/a"),
            (Comparison::LineEnd, "/b\n/c"),
            (Comparison::Missing, "/d"),
        ]);
        assert_eq!(text, "equal      /a\nline-end   /b\\n/c\nmissing    /d\n1 of 3 equal\n");
        assert_eq!(
            ended.unwrap_err().to_string(),
            "2 of 3 files differ or are missing; the lines above name them"
        );
    }
}
