//! Notifying the application of files that have changed, until it has heard.

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

/// Makes one attempt at a time, in a task of its own, and the next one after a pause.
pub(super) struct Notifier {
    reload: Option<Reload>,
    /// When the next attempt is due.
    attempts: Backoff,
    /// The attempt that is being made.
    running: Option<JoinHandle<Result<(), ReloadError>>>,
    /// Whether files have changed since that attempt began: the application may have read the older ones.
    has_changed: bool,
}

impl Notifier {
    /// Nothing is owed yet.
    pub(super) fn new(reload: Option<Reload>) -> Self {
        Self { reload, attempts: Backoff::new(TRY_AGAIN), running: None, has_changed: false }
    }

    /// Whether the application has yet to be notified.
    pub(super) fn is_owed(&self) -> bool {
        self.attempts.due().is_some()
    }

    /// When [`Self::start`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.attempts.due().filter(|_| self.running.is_none())
    }

    /// Notifies it at once.
    fn owe(&mut self) {
        self.has_changed = true;
        if self.reload.is_some() && self.running.is_none() {
            self.attempts.start(Instant::now());
            self.start();
        }
    }

    /// Starts the attempt that is due.
    pub(super) fn start(&mut self) {
        let is_due = self.due().is_some_and(|due| due <= Instant::now());
        if let Some(reload) = self.reload.clone().filter(|_| is_due) {
            self.has_changed = false;
            self.running = Some(tokio::spawn(async move { reload::send(&reload).await }));
        }
    }

    /// Waits for the attempt that is being made. May be dropped at any time.
    pub(super) async fn finished(&mut self) -> Result<(), ReloadError> {
        let Some(running) = &mut self.running else { return pending().await };
        let done = running.await;
        self.running = None;
        done.map_err(io::Error::from)?
    }
}

impl Sidecar {
    /// After the first fetch. An application that does not run yet reads the files at its start; one that runs is notified, also
    /// of what an earlier start wrote and could not tell any more.
    pub(super) fn begin_notifying(&mut self, is_running: bool) {
        if is_running && !self.delivery.sink.is_told() {
            self.notifier.owe();
        } else {
            // Where the init container has told it, the mark now says that the sidecar was started.
            self.delivery.set_told();
        }
    }

    /// Notifies the application of files that have changed. Of variables it cannot be told: they are read at its start.
    pub(super) fn note_changes(&mut self, changed: &[TargetFile]) {
        for file in changed {
            self.metrics.count(Counter::FileChanged);
            tracing::info!(%file, "file changed");
        }
        let variables = self.delivery.config.wanted.variables_file.as_ref();
        if changed.iter().any(|file| Some(file) != variables) {
            self.notifier.owe();
        }
    }

    /// An attempt was made.
    pub(super) fn notified(&mut self, done: Result<(), ReloadError>) {
        let Notifier { attempts, has_changed, .. } = &mut self.notifier;
        match done {
            Ok(()) => {
                self.metrics.count(Counter::Signalled);
                if *has_changed {
                    attempts.start(Instant::now());
                } else {
                    attempts.succeeded();
                    self.delivery.set_told();
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
