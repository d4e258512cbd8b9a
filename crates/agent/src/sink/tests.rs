use std::{
    cell::Cell,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use proptest::prelude::*;
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    io::Errno,
};
use tempfile::TempDir;

use super::*;

mod concurrency;
mod failures;
mod obstacles;
mod state;
mod writes;

thread_local! {
    /// How many changes the disk still takes.
    static CHANGES_LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// Fails when the disk takes no more changes, as after a crash.
pub(super) fn before_change() -> Result<(), Errno> {
    let left = CHANGES_LEFT.get().checked_sub(1).ok_or(Errno::IO)?;
    CHANGES_LEFT.set(left);
    Ok(())
}

/// A directory that stands for a volume.
struct Volume {
    dir: TempDir,
    path: PathBuf,
}

impl Volume {
    fn new() -> Self {
        // In memory, as a pod's volumes are, where the machine has such a directory.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = fs::canonicalize(dir.path()).unwrap().join("secrets");
        fs::create_dir(&path).unwrap();
        Self { dir, path }
    }

    fn target(&self, file: &str) -> TargetFile {
        format!("{}/{file}", self.path.display()).parse().unwrap()
    }

    fn sink(&self, files: &[&str]) -> Sink {
        self.sink_with(files, |_| false)
    }

    fn sink_with(&self, files: &[&str], is_optional: impl Fn(&str) -> bool) -> Sink {
        let targets: Vec<_> = files.iter().map(|file| (self.target(file), is_optional(file))).collect();
        build(targets.iter().map(|(file, is_optional)| (file, *is_optional)), |path| path == self.path)
    }

    /// Writes with mode 0444.
    fn try_write(&self, sink: &Sink, files: &[(&str, &str)], gives_up: bool) -> Outcome {
        let mut pending = sink.begin();
        for (file, text) in files {
            pending.put(&self.target(file), FileMode::DEFAULT, text.as_bytes());
        }
        pending.commit(gives_up)
    }

    /// The same, which has to succeed, and returns which files changed.
    fn write(&self, sink: &Sink, files: &[(&str, &str)], gives_up: bool) -> Vec<String> {
        let Outcome { changed, done } = self.try_write(sink, files, gives_up);
        done.unwrap();
        let below = |target: &TargetFile| {
            Path::new(target.as_str()).strip_prefix(&self.path).unwrap().display().to_string()
        };
        changed.iter().map(below).collect()
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.path.join(file)).ok()
    }

    /// All names, with `ID` for the chain's.
    fn names(&self, sink: &Sink) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(&sink.id, "ID"))
            .collect();
        names.sort();
        names
    }

    fn generation(&self, sink: &Sink, number: u64) -> PathBuf {
        self.path.join(format!("..scaivault-{}-{number}", sink.id))
    }
}

fn build<'t>(
    targets: impl Iterator<Item = (&'t TargetFile, bool)>,
    is_mount_point: impl Fn(&Path) -> bool,
) -> Sink {
    let target = |(file, is_optional)| Target { file, is_optional, is_signalled: !is_silent(file) };
    Sink::build(targets.map(target), is_mount_point)
}

/// The application is not told of this file.
fn is_silent(file: &TargetFile) -> bool {
    file.as_str().ends_with("/variables")
}

fn put(sink: &Sink, target: &TargetFile, mode: &str) -> Outcome {
    let mut pending = sink.begin();
    pending.put(target, mode.parse().unwrap(), b"new");
    pending.commit(false)
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
}
