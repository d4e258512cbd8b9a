//! Reads secrets and writes their files, one secret at a time: a secret's data is dropped once its
//! files are written.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{Backoff, Client, Retry, Secret};
use scaivault_contract::{SecretPath, SecretRef, TargetFile};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    atomic_writer::{AtomicWriter, Outcome, PendingWrites, WriteError},
    compose::{ComposeResult, Composer, compose_leases},
    config::Outputs,
    delivery::Delivery,
    failure::{Cause, Failure},
    init::StartKind,
    leases::Leases,
    schedule::RefreshSchedule,
};

mod reads;

use reads::Reads;

/// How long changes wait for other reads in flight, so that they appear in one generation and need
/// one signal.
const TOGETHER: Duration = Duration::from_secs(1);
/// The first and the longest pause after files could not be written.
const WRITE_PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));

/// The parameters of one read: all fields of a secret are read together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) path: SecretPath,
    pub(crate) version: Option<NonZeroU32>,
}

impl Key {
    pub(crate) fn from_secret(secret: &SecretRef) -> Self {
        Self { path: secret.path.clone(), version: secret.version }
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        self.version.map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

/// The response to one read.
pub(crate) type Answer = (Key, Result<Secret, Failure>);

/// Sends due reads, and writes changes.
pub(crate) struct Fetcher {
    client: Arc<Client>,
    writer: &'static AtomicWriter,
    outputs: &'static Outputs,
    pub(crate) reads: Reads,
    composer: Composer,
    in_flight: JoinSet<Answer>,
    /// Answers since the last commit.
    pass: Option<Pass>,
    /// Backoff for files that could not be written.
    writing: Backoff,
    /// Optional files that were reported as omitted.
    absent: BTreeSet<&'static TargetFile>,
}

/// Answers whose files are committed together.
struct Pass {
    began: Instant,
    pending: PendingWrites<'static>,
    keys: BTreeSet<Key>,
    failures: Vec<Failure>,
}

/// The result of a commit.
pub(crate) struct CommitReport {
    pub(crate) changed: Vec<TargetFile>,
    /// Failures to read or compose.
    pub(crate) failures: Vec<Failure>,
    /// Whether every volume could be written.
    pub(crate) done: Result<(), WriteError>,
    /// Whether it contained answers, and not only leases.
    pub(crate) has_answers: bool,
}

impl Fetcher {
    /// All reads are due at `now`.
    pub(crate) fn new(delivery: &Delivery, start: StartKind, now: Instant) -> Self {
        let config = &delivery.config.sidecar;
        let composer = Composer::new(&delivery.config.outputs);
        let schedule = RefreshSchedule::new(config.refresh_interval, config.on_event, now, fastrand::f64());
        // When a pod starts, the application has not read any version yet.
        let versions = match start {
            StartKind::Cold => BTreeMap::new(),
            StartKind::Restart => delivery.writer.versions(),
        };
        Self {
            client: Arc::clone(&delivery.client),
            writer: delivery.writer,
            outputs: &delivery.config.outputs,
            reads: Reads::new(composer.keys(), &versions, schedule, now),
            composer,
            in_flight: JoinSet::new(),
            pass: None,
            writing: Backoff::new(WRITE_PAUSES),
            absent: BTreeSet::new(),
        }
    }

    /// When [`Self::send_due`] or [`Self::commit`] next has work.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        let mut due = self.reads.due(now);
        if let Some(pass) = &self.pass {
            due = due.min(if self.in_flight.is_empty() { now } else { pass.began + TOGETHER });
        }
        self.writing.due().map_or(due, |writing| due.min(writing))
    }

    /// Sends the reads that are due at `now`.
    pub(crate) fn send_due(&mut self, now: Instant) {
        let Self { writer, composer, reads, .. } = self;
        let files = writer.files();
        reads.refresh(now, fastrand::f64(), |key| files.has(composer.targets(key)));
        while let Some(key) = self.reads.next(now) {
            let client = Arc::clone(&self.client);
            self.in_flight.spawn(async move {
                let read = client.read(&key.path, key.version).await;
                let answer = read.map_err(|error| Failure::from_error(&key, &error));
                (key, answer)
            });
        }
    }

    /// The next answer; `None` if no read is in flight. Cancel safe.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        loop {
            match self.in_flight.join_next().await? {
                Ok(answer) => return Some(answer),
                // A task that panicked does not report its key.
                Err(_) => self.reads.lost(Instant::now()),
            }
        }
    }

    /// Processes an answer at `now`, and writes the files that it completes.
    pub(crate) fn take(&mut self, (key, answer): Answer, now: Instant) {
        let answer = answer.and_then(|secret| match self.reads.accept(&key, secret.version, now) {
            Ok(()) => Ok(secret),
            Err(asked) if key.version.is_some() => Err(Failure::wrong_version(&key, secret.version, asked)),
            Err(expected) => Err(Failure::outdated(&key, secret.version, expected)),
        });
        let (is_changed, failed) = match &answer {
            Ok(secret) => {
                let is_new = self.reads.succeeded(&key, secret, now);
                (is_new || !self.writer.files().has(self.composer.targets(&key)), None)
            }
            Err(failure) if failure.cause == Cause::Absent && self.composer.is_optional(&key) => {
                self.reads.absent(&key, now);
                let absent: Vec<_> = self.composer.targets(&key).collect();
                self.report_absent(absent);
                (false, None)
            }
            Err(failure) => {
                let is_initial = self.reads.is_initial();
                let again = self.reads.failed(&key, failure, now);
                if let (true, Some(again)) = (is_initial, again) {
                    let pause = again.saturating_duration_since(now);
                    tracing::warn!(%failure, pause_seconds = pause.as_secs_f64(), "trying again");
                    return;
                }
                (false, Some(failure.clone()))
            }
        };
        self.compose(&key, answer, is_changed, failed, now);
        let left = self.client.reads_left(SystemTime::now());
        self.reads.schedule.set_share_left(left, now);
    }

    fn compose(
        &mut self,
        key: &Key,
        answer: Result<Secret, Failure>,
        is_changed: bool,
        failed: Option<Failure>,
        now: Instant,
    ) {
        let is_initial = self.reads.is_initial();
        let writer = self.writer;
        let pass = self.pass.get_or_insert_with(|| Pass::new(writer, now));
        let absent = &mut self.absent;
        let composed = self.composer.take(key, answer, is_changed, |target, mode, bytes| {
            absent.remove(target);
            pass.pending.put(target, mode, bytes);
        });
        let ComposeResult { failures, absent, not_written, needed } = composed;
        pass.keys.insert(key.clone());
        for failure in failed.into_iter().chain(failures) {
            if !is_initial {
                tracing::warn!(%failure, "not refreshed, keeping the file as it is");
            }
            pass.failures.push(failure);
        }
        self.reads.not_written(&not_written, None);
        self.reads.need(&needed, now);
        self.report_absent(absent);
    }

    fn report_absent(&mut self, files: impl IntoIterator<Item = &'static TargetFile>) {
        for file in files {
            if self.absent.insert(file) {
                tracing::info!(%file, "optional secret or field does not exist, leaving its file out or as it is");
            }
        }
    }

    /// Whether the files of the answers so far should be committed at `now`, or a failed commit
    /// retried.
    pub(crate) fn is_commit_due(&self, now: Instant) -> bool {
        let is_over = |pass: &Pass| self.in_flight.is_empty() || pass.began + TOGETHER <= now;
        self.pass.as_ref().is_some_and(is_over) || self.writing.is_due(now)
    }

    /// Puts the files of all held leases in addition to those of the answers so far.
    pub(crate) fn put_leases(&mut self, leases: &Leases, now: Instant) {
        let writer = self.writer;
        let Pass { pending, failures, .. } = self.pass.get_or_insert_with(|| Pass::new(writer, now));
        let put = |target: &'static TargetFile, mode, bytes: &[u8]| pending.put(target, mode, bytes);
        failures.extend(compose_leases(self.outputs, leases, put));
    }

    /// Commits the written files. With `mark_incomplete`, missing files are treated as intentionally missing.
    pub(crate) fn commit(&mut self, mark_incomplete: bool, now: Instant) -> CommitReport {
        let writer = self.writer;
        let Pass { began: _, mut pending, keys, failures } =
            self.pass.take().unwrap_or_else(|| Pass::new(writer, now));
        for (key, version) in self.reads.versions() {
            pending.note_version(self.composer.targets(key), key.path.as_str(), version);
        }
        let Outcome { changed, done } = pending.commit(mark_incomplete);
        if done.is_ok() {
            self.writing.succeeded();
        } else {
            let again = self.writing.failed(now, Retry::Backoff);
            self.reads.not_written(&keys, again);
        }
        CommitReport { changed, failures, done, has_answers: !keys.is_empty() }
    }

    /// Whether a file of the answers so far could not be written.
    pub(crate) fn has_failed_to_write(&self) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.pending.has_failed())
    }

    /// Failures since the last commit: failures to read or compose, and reads given up during the
    /// initial fetch.
    pub(crate) fn failures(&self) -> &[Failure] {
        self.pass.as_ref().map_or(&[], |pass| &pass.failures)
    }

    /// Reads until every secret was read or given up. With `has_partial_variables` the variables' file is
    /// written without those that could not be read.
    pub(crate) async fn fetch_initially(&mut self, deadline: Instant, has_partial_variables: bool) {
        self.reads.begin_initial(deadline);
        self.composer.set_partial_variables(has_partial_variables);
        loop {
            let now = Instant::now();
            self.send_due(now);
            // If a volume is full, reading the rest is useless, and it may be the reason for the
            // delay.
            if now >= deadline || self.reads.is_settled() || self.has_failed_to_write() {
                break;
            }
            let due = self.reads.due(now);
            tokio::select! {
                Some(answer) = self.answer() => self.take(answer, Instant::now()),
                () = sleep_until(due) => {}
            }
        }
        // Dropping the set cancels reads without an answer.
        self.in_flight = JoinSet::new();
        let now = Instant::now();
        for key in self.reads.open() {
            let late = Failure::late(&key);
            self.compose(&key, Err(late.clone()), false, Some(late), now);
        }
        self.reads.end_initial(now, fastrand::f64());
        self.composer.set_partial_variables(false);
    }
}

impl Pass {
    fn new(writer: &'static AtomicWriter, now: Instant) -> Self {
        Self { began: now, pending: writer.begin(), keys: BTreeSet::new(), failures: Vec::new() }
    }
}
