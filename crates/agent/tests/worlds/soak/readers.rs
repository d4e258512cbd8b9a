//! A reader that reads all files continuously.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::agents::Fleet;

pub(super) struct Readers {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<ReaderReport>,
}

/// The observations.
#[derive(Default)]
pub(super) struct ReaderReport {
    pub(super) changes: u64,
    /// Each version that was read after a newer one.
    pub(super) backwards: Vec<String>,
    /// How often a file was missing after it had existed.
    pub(super) absent: u64,
}

impl Readers {
    pub(super) fn start(fleet: &Fleet) -> Self {
        let files: Vec<_> = fleet.files().map(|(_, file)| file).collect();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let read = move || {
            let mut seen = ReaderReport::default();
            let mut newest = vec![0_u64; files.len()];
            while !over.load(Ordering::Relaxed) {
                for (file, newest) in files.iter().zip(&mut newest) {
                    // If the reader is delayed inside the kernel for two changes, its generation
                    // may be removed, so it retries once.
                    let text = fs::read_to_string(file).or_else(|_| fs::read_to_string(file));
                    let Ok(version) = text.map(|text| text.parse::<u64>()) else {
                        seen.absent += u64::from(*newest > 0);
                        continue;
                    };
                    let version = version.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                    if version < *newest {
                        seen.backwards.push(format!("{} from {newest} to {version}", file.display()));
                    }
                    seen.changes += u64::from(*newest > 0 && version != *newest);
                    *newest = version;
                }
                thread::park_timeout(Duration::from_millis(5));
            }
            seen
        };
        Self { is_over, thread: thread::spawn(read) }
    }

    pub(super) fn end(self) -> ReaderReport {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
