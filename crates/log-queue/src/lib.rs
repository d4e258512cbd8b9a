//! A queue between a process and its log, so that a log that is not read cannot block an agent or
//! an admission webhook.

use std::{
    io::{self, Write},
    mem,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    stdio,
};

mod logger;

pub use logger::Format;

/// How long lines are collected before they are written together. One system call per line costs as
/// much as formatting the line.
const GATHER: Duration = Duration::from_millis(5);
/// How long [`LogQueue::flush`] waits before it checks whether the log is writable.
const TIMEOUT: Duration = Duration::from_millis(100);
/// Maximum number of such waits while the log is writable: the writer thread may be short of CPU
/// time.
const MAX_WAITS: usize = 20;

/// A bounded queue of log lines. Writing to it never blocks: lines that do not fit are dropped and
/// counted.
#[derive(Debug)]
pub struct LogQueue {
    /// Maximum number of bytes that wait to be written. As many again may be in the writer's hands.
    max_bytes: usize,
    lines: Mutex<Lines>,
    has_changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Lines {
    /// Complete lines, in order.
    waiting: Vec<u8>,
    /// Whether the writer has taken lines and has not written them yet.
    is_writing: bool,
    /// Whether a thread waits until all lines are written.
    is_flushing: bool,
}

impl Lines {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.is_writing
    }
}

impl LogQueue {
    /// A queue of at most `max_bytes`. Nothing is written until [`LogQueue::start`].
    pub const fn new(max_bytes: usize) -> Self {
        let lines = Lines { waiting: Vec::new(), is_writing: false, is_flushing: false };
        Self { max_bytes, lines: Mutex::new(lines), has_changed: Condvar::new(), dropped: AtomicU64::new(0) }
    }

    /// The number of lines that were lost because the queue was full or the log could not be
    /// written.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Starts a thread that writes the lines to stderr. Fails if the thread cannot be started.
    pub fn start(&'static self) -> io::Result<()> {
        thread::Builder::new().name("log".to_owned()).spawn(|| self.write_to(io::stderr())).map(drop)
    }

    /// Waits until all lines are written, but only 100 ms if stderr is not being read.
    pub fn flush(&self) {
        self.flush_while(|| {
            let mut stderr = [PollFd::from_borrowed_fd(stdio::stderr(), PollFlags::OUT)];
            // A full pipe is not ready. A pipe without a reader reports an error, and then the
            // writer thread gets an error too.
            poll(&mut stderr, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
        });
    }

    /// Writes lines as they arrive. May block and never returns.
    fn write_to(&self, mut log: impl Write) -> ! {
        let mut lines = Vec::new();
        loop {
            let is_idle = |lines: &mut Lines| lines.waiting.is_empty();
            let idle =
                self.has_changed.wait_while(self.lines(), is_idle).unwrap_or_else(PoisonError::into_inner);
            let has_room = |lines: &mut Lines| lines.waiting.len() < self.max_bytes / 2 && !lines.is_flushing;
            let gathered = self.has_changed.wait_timeout_while(idle, GATHER, has_room);
            let mut shared = gathered.unwrap_or_else(PoisonError::into_inner).0;
            mem::swap(&mut lines, &mut shared.waiting);
            shared.is_writing = true;
            drop(shared);
            if log.write_all(&lines).is_err() {
                self.drop_lines(lines.split(|byte| *byte == b'\n').count() - 1);
            }
            lines.clear();
            self.lines().is_writing = false;
            self.has_changed.notify_all();
        }
    }

    /// Waits until all lines are written, or until `is_writable` returns false.
    fn flush_while(&self, is_writable: impl Fn() -> bool) {
        self.lines().is_flushing = true;
        self.has_changed.notify_all();
        for _ in 0..MAX_WAITS {
            let is_busy = |lines: &mut Lines| !lines.is_empty();
            let waited = self.has_changed.wait_timeout_while(self.lines(), TIMEOUT, is_busy);
            if waited.unwrap_or_else(PoisonError::into_inner).0.is_empty() || !is_writable() {
                break;
            }
        }
        self.lines().is_flushing = false;
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_lines(&self, count: usize) {
        self.dropped.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Expects complete lines: a logger writes each event with one call.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines();
        let before = lines.waiting.len();
        let after = before + line.len();
        if after > self.max_bytes {
            self.drop_lines(1);
        } else {
            lines.waiting.extend_from_slice(line);
            // Wakes the thread only for the first line and when the queue becomes half full.
            if before == 0 || (before < self.max_bytes / 2 && after >= self.max_bytes / 2) {
                self.has_changed.notify_all();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        time::Instant,
    };

    use super::*;

    const MAX_BYTES: usize = 64 * 1024;

    /// A log that blocks until the test opens it.
    struct GatedLog {
        gate: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for GatedLog {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.gate.recv().map_err(io::Error::other)?;
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start() -> (Arc<LogQueue>, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (opened, gate) = mpsc::channel();
        let (queue, written) = (Arc::new(LogQueue::new(MAX_BYTES)), Arc::default());
        let log = GatedLog { gate, written: Arc::clone(&written) };
        let writer = Arc::clone(&queue);
        thread::spawn(move || writer.write_to(log));
        (queue, opened, written)
    }

    fn push(queue: &LogQueue, line: &[u8]) {
        let mut writer = queue;
        writer.write_all(line).unwrap();
    }

    #[test]
    fn a_blocked_log_does_not_block_writers() {
        let (queue, gate, written) = start();
        let line = |number: usize| format!("{number:0>1023}\n");
        let lines = 4 * MAX_BYTES / 1024;
        push(&queue, line(0).as_bytes());
        // Wait until there is room: a line dropped here would leave a gap.
        while !queue.lines().waiting.is_empty() {
            thread::yield_now();
        }
        for number in 1..lines {
            push(&queue, line(number).as_bytes());
        }
        let dropped = usize::try_from(queue.dropped()).unwrap();
        // One buffer waits, and the writer may hold one more.
        assert!((lines / 2..=lines * 3 / 4).contains(&dropped), "{dropped} of {lines}");
        let started = Instant::now();
        queue.flush_while(|| false);
        assert!(started.elapsed() < 10 * TIMEOUT, "a stuck log ends the waiting");
        (0..2).for_each(|_| gate.send(()).unwrap());
        queue.flush_while(|| true);
        let expected: String = (0..lines - dropped).map(line).collect();
        assert_eq!(String::from_utf8(written.lock().unwrap().clone()).unwrap(), expected);
    }

    #[test]
    fn flush_waits_for_a_slow_log_that_can_be_written() {
        let (queue, gate, written) = start();
        push(&queue, b"last words\n");
        // The log becomes writable after the second check.
        let looks = AtomicU64::new(0);
        queue.flush_while(|| {
            if looks.fetch_add(1, Ordering::Relaxed) == 1 {
                gate.send(()).unwrap();
            }
            true
        });
        assert_eq!(*written.lock().unwrap(), b"last words\n");
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (queue, gate, _) = start();
        push(&queue, b"one\ntwo\n");
        drop(gate);
        queue.flush_while(|| true);
        assert_eq!(queue.dropped(), 2);
    }
}
