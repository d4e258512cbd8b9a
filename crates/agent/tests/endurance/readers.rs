//! Readers that read the files continuously, and detect torn files and files that do not belong
//! together.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::fs::{CWD, Mode, OFlags, openat};
use scaivault_contract::SecretPath;
use serde_json::{Map, Value, json};

/// The secrets. All fields of a secret contain the same number, repeated.
pub(crate) const SECRETS: [&str; 2] = ["app/alpha", "app/beta"];
/// The secret and its source, the file with its options, and how many numbers it contains.
const FILES: [(&str, usize, &str, &str, usize); 7] = [
    ("app/alpha", 0, "alpha.json", "", NUMBERS + 2),
    ("app/alpha#body", 0, "alpha", " format=raw", NUMBERS),
    ("app/alpha", 0, "alpha.env", " format=env", NUMBERS + 2),
    (
        "app/alpha",
        0,
        "alpha.txt",
        " template=\"{{ data.first }} {{ data.body }} {{ data.last }}\"",
        NUMBERS + 2,
    ),
    ("app/beta", 1, "beta.json", "", NUMBERS + 2),
    ("app/beta", 1, "beta.properties", " format=properties", NUMBERS + 2),
    ("app/beta#body", 1, "beta", " format=raw", NUMBERS),
];
/// The number of repetitions in the longest field: 9 KB, which is more than one page.
const NUMBERS: usize = 800;
const DIGITS: usize = 10;
/// How often in a row a reader may be delayed so long that the opened file is removed.
const HELD_UP_LIMIT: usize = 3;

pub(crate) fn secret(index: usize) -> SecretPath {
    SECRETS[index].parse().unwrap()
}

/// The content of a secret with this number.
pub(crate) fn content(number: u32) -> Map<String, Value> {
    let text = format!("{number:0DIGITS$}");
    let body = vec![text.as_str(); NUMBERS].join(" ");
    json!({ "first": text, "body": body, "last": text }).as_object().unwrap().clone()
}

/// The mapping of all files.
pub(crate) fn mapping() -> [(&'static str, String); FILES.len()] {
    FILES.map(|(source, _, file, options, _)| (source, format!("{file}{options}")))
}

/// The numbers of all secrets in one generation; `None` if it was removed meanwhile.
pub(crate) fn generation(root: &Path) -> Option<[u32; SECRETS.len()]> {
    let gone = |error: &io::Error| error.kind() == ErrorKind::NotFound;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let data = match openat(CWD, root.join("..data"), flags, Mode::empty()) {
        Ok(data) => data,
        Err(error) if gone(&error.into()) => return None,
        Err(error) => panic!("..data: {error}"),
    };
    let mut numbers = [None; SECRETS.len()];
    for (_, secret, file, _, count) in FILES {
        let text =
            openat(&data, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from);
        let text = text.and_then(|file| {
            let mut text = String::new();
            File::from(file).read_to_string(&mut text).map(|_| text)
        });
        let text = match text {
            Ok(text) => text,
            Err(error) if gone(&error) => return None,
            Err(error) => panic!("{file}: {error}"),
        };
        let number = number(file, &text, count);
        let of_secret = *numbers[secret].get_or_insert(number);
        assert_eq!(number, of_secret, "{file} is not of the version of the files before it");
    }
    Some(numbers.map(Option::unwrap))
}

/// The names of all generations in a root.
pub(crate) fn generations(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap()).filter(|entry| entry.file_type().unwrap().is_dir());
    names
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name.starts_with("..scaivault-"))
        .collect()
}

/// Whether there is a generation newer than the current one: it is being written, or was when the
/// agent ended.
pub(crate) fn is_unfinished(root: &Path) -> bool {
    let current = fs::read_link(root.join("..data")).ok();
    let current = current.map_or(0, |name| generation_number(name.to_str().unwrap()));
    generations(root).iter().any(|name| generation_number(name) > current)
}

/// The number at the end of a generation's name.
pub(crate) fn generation_number(name: &str) -> u64 {
    name.rsplit_once('-').unwrap().1.parse().unwrap()
}

/// Whether any file exists under its name.
pub(crate) fn has_any(root: &Path) -> bool {
    FILES.iter().any(|(_, _, file, ..)| root.join(file).exists())
}

/// Two readers that read all files continuously until they are stopped.
pub(crate) struct Readers {
    is_over: Arc<AtomicBool>,
    by_path: JoinHandle<ReaderReport>,
    by_generation: JoinHandle<ReaderReport>,
}

/// The observations of a reader.
#[derive(Debug, Default)]
pub(crate) struct ReaderReport {
    pub(crate) rounds: u64,
    /// How often the generation was removed while the reader was delayed for two changes.
    pub(crate) gone: u64,
    /// The numbers it has read.
    pub(crate) numbers: BTreeSet<u32>,
}

impl Readers {
    /// All files must already exist.
    pub(crate) fn start(root: &Path) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let start = |read: fn(&Path, &AtomicBool) -> ReaderReport| {
            let (root, is_over): (PathBuf, _) = (root.to_owned(), Arc::clone(&is_over));
            thread::spawn(move || read(&root, &is_over))
        };
        Self { by_path: start(read_by_path), by_generation: start(read_by_generation), is_over }
    }

    /// The observations of the reader by path, and of the reader by generation.
    pub(crate) fn end(self) -> (ReaderReport, ReaderReport) {
        self.is_over.store(true, Ordering::Relaxed);
        (self.by_path.join().unwrap(), self.by_generation.join().unwrap())
    }
}

/// Opens each file by its name: it must never be torn, older than before, or missing.
fn read_by_path(root: &Path, is_over: &AtomicBool) -> ReaderReport {
    let mut seen = ReaderReport::default();
    let mut newest = [0; FILES.len()];
    while !is_over.load(Ordering::Relaxed) {
        for ((_, _, file, _, count), newest) in FILES.iter().zip(&mut newest) {
            let read = || fs::read_to_string(root.join(file));
            // If it is delayed inside the kernel for two changes, its generation is removed, and
            // the next attempt finds the current one. On a shared core that may happen a few times
            // in a row.
            let mut text = read();
            for _ in 0..HELD_UP_LIMIT {
                if text.is_err() {
                    seen.gone += 1;
                    text = read();
                }
            }
            let number = number(file, &text.unwrap(), *count);
            assert!(number >= *newest, "{file} went back from {newest} to {number}");
            *newest = number;
            seen.numbers.insert(number);
        }
        seen.rounds += 1;
    }
    seen
}

/// Opens the current generation and reads all files in it: they must have the same version.
fn read_by_generation(root: &Path, is_over: &AtomicBool) -> ReaderReport {
    let mut seen = ReaderReport::default();
    while !is_over.load(Ordering::Relaxed) {
        match generation(root) {
            Some(numbers) => seen.numbers.extend(numbers),
            None => seen.gone += 1,
        }
        seen.rounds += 1;
    }
    seen
}

/// The number in a file, which must contain only this number, `count` times.
fn number(file: &str, text: &str, count: usize) -> u32 {
    let numbers =
        text.split(|character: char| !character.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let (mut found, mut first) = (0, None);
    for digits in numbers {
        assert_eq!(digits.len(), DIGITS, "{file} is torn at number {found}");
        let first = *first.get_or_insert(digits);
        assert_eq!(digits, first, "{file} is torn at number {found}");
        found += 1;
    }
    assert_eq!(found, count, "{file} is cut or grown");
    first.unwrap().parse().unwrap()
}
