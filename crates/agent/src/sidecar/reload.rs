//! Notifies the application of changed files until a notification succeeds.

use std::{future::pending, io};

use scaivault_client::{Backoff, Retry};
use scaivault_contract::TargetFile;
use tokio::{task::JoinHandle, time::Instant};

use super::{Sidecar, TRY_AGAIN};
use crate::{
    config::Reload,
    metrics::Counter,
    reload::{self, ReloadError},
};

/// Makes one attempt at a time in a separate task, and the next one after a pause.
pub(super) struct Notifier {
    reload: Option<Reload>,
    /// The due time of the next attempt.
    attempts: Backoff,
    /// The attempt in flight.
    running: Option<JoinHandle<Result<(), ReloadError>>>,
    /// Whether files have changed since that attempt started: the application may have read the
    /// older ones.
    has_changed: bool,
}

impl Notifier {
    /// Starts without a pending notification.
    pub(super) fn new(reload: Option<Reload>) -> Self {
        Self { reload, attempts: Backoff::new(TRY_AGAIN), running: None, has_changed: false }
    }

    /// Whether the application still has to be notified.
    pub(super) fn is_owed(&self) -> bool {
        self.attempts.due().is_some()
    }

    /// When [`Self::start`] next has work.
    pub(super) fn due(&self) -> Option<Instant> {
        self.attempts.due().filter(|_| self.running.is_none())
    }

    /// Makes a notification due immediately.
    fn owe(&mut self) {
        self.has_changed = true;
        if self.reload.is_some() && self.running.is_none() {
            self.attempts.start(Instant::now());
            self.start();
        }
    }

    /// Starts an attempt if it is due.
    pub(super) fn start(&mut self) {
        let is_due = self.due().is_some_and(|due| due <= Instant::now());
        if let Some(reload) = self.reload.clone().filter(|_| is_due) {
            self.has_changed = false;
            self.running = Some(tokio::spawn(async move { reload::send(&reload).await }));
        }
    }

    /// Waits for the attempt in flight. Cancel safe.
    pub(super) async fn finished(&mut self) -> Result<(), ReloadError> {
        let Some(running) = &mut self.running else { return pending().await };
        let done = running.await;
        self.running = None;
        done.map_err(io::Error::from)?
    }
}

impl Sidecar {
    /// Called after the first fetch. An application that is not running yet reads the files when it
    /// starts; a running one is notified, also of files that the previous run wrote without
    /// notifying it.
    pub(super) fn begin_notifying(&mut self, is_running: bool) {
        if is_running && !self.delivery.writer.is_notified() {
            self.notifier.owe();
        } else {
            // If the init container has set the mark, it now records that the sidecar was started.
            self.delivery.mark_notified();
        }
    }

    /// Requests a notification of changed files. A change of variables only causes a log line,
    /// because variables are read when the application starts.
    pub(super) fn note_changes(&mut self, changed: &[TargetFile]) {
        for file in changed {
            self.metrics.count(Counter::FileChanged);
            tracing::info!(%file, "file changed");
        }
        let variables = self.delivery.config.outputs.variables_file.as_ref();
        if changed.iter().any(|file| Some(file) != variables) {
            self.notifier.owe();
        }
    }

    /// Processes the result of an attempt.
    pub(super) fn notified(&mut self, done: Result<(), ReloadError>) {
        let Notifier { attempts, has_changed, .. } = &mut self.notifier;
        match done {
            Ok(()) => {
                self.metrics.count(Counter::Signalled);
                if *has_changed {
                    attempts.start(Instant::now());
                } else {
                    attempts.succeeded();
                    self.delivery.mark_notified();
                }
            }
            Err(error) => {
                self.metrics.count(Counter::NotSignalled);
                if attempts.failures() == 0 {
                    tracing::warn!(%error, "application not notified, trying again");
                } else {
                    tracing::debug!(%error, "application not notified, trying again");
                }
                attempts.failed(Instant::now(), Retry::Backoff);
            }
        }
    }
}
