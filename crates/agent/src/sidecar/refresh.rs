//! Reading what is to be read, and writing what has changed.

use std::time::SystemTime;

use tokio::time::Instant;

use super::{Sidecar, TRY_TIMEOUT, reads::Round};
use crate::{
    chance,
    compose::Variables,
    fetch::{self, Answers, Patience},
    metrics::Counter,
    sink::Outcome,
};

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Every file is as it should be.
    All,
    /// Some files were left out: they could not be read or composed.
    Partly,
    /// A volume could not be written.
    Failed,
}

impl Sidecar {
    /// Makes one round of reading, and writes what has changed. What fails stays asked for.
    pub(super) async fn refresh(&mut self, round: Round) {
        let patience = Patience::once(Instant::now() + TRY_TIMEOUT);
        let client = &self.delivery.client;
        let answers = match fetch::log_in(client, patience).await {
            Ok(()) => fetch::read_all(client, round.keys.clone(), patience).await,
            Err(login) => fetch::refused(round.keys.clone(), &login),
        };
        let left = self.delivery.client.reads_left(SystemTime::now());
        let answers = self.reads.answered(answers, left, Instant::now());
        let written = self.write(&answers);
        let is_fresh = written == Written::All;
        self.metrics.count(if is_fresh { Counter::Refreshed } else { Counter::NotRefreshed });
        if is_fresh && round.is_all {
            self.metrics.fresh(SystemTime::now());
        }
        self.reads.done(round, written != Written::Failed, Instant::now(), chance::any());
        self.keep_state().await;
    }

    /// Writes what differs of these answers and of all leases.
    pub(super) fn write(&mut self, answers: &Answers) -> Written {
        let composition = self.delivery.compose(answers, Variables::AllOrNone);
        for failure in &composition.failures {
            tracing::warn!(%failure, "not refreshed, keeping the file as it is");
            self.metrics.failed(failure.class(), SystemTime::now());
        }
        let Outcome { changed, done } = self.delivery.write(&composition, false);
        let is_all = composition.failures.is_empty();
        self.note_changes(&changed);
        match done {
            Ok(()) => {
                self.writing.succeeded();
                if is_all { Written::All } else { Written::Partly }
            }
            Err(error) => {
                tracing::error!(%error, "not refreshed, trying again");
                self.metrics.failed("volume", SystemTime::now());
                self.writing.failed(Instant::now(), chance::any());
                Written::Failed
            }
        }
    }
}
