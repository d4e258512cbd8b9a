//! Which secrets are to be read, and when. Pure: time and chance are parameters.

use std::{collections::BTreeSet, time::Duration};

use scaivault_contract::SecretPath;
use tokio::time::Instant;

use crate::{
    fetch::{Answers, Key},
    schedule::{Attempts, Schedule},
};

/// The first pause after a read that failed, where the interval is not shorter; the longest is the interval.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// What has been read, and what is to be.
pub(super) struct Reads {
    /// Every secret that is wanted.
    wanted: BTreeSet<Key>,
    /// Those of the variables' file, which is written as a whole.
    variables: BTreeSet<Key>,
    /// Answers of pinned versions, which never change.
    pinned: Answers,
    /// What is to be read: since an event spoke of it, or since it could not be read and written.
    asked: BTreeSet<Key>,
    /// Comparing all files with ScaiVault.
    refresh: Schedule,
    /// Reading what is asked for, before the next refresh.
    attempts: Attempts,
}

/// One round of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// What is read.
    pub(super) keys: BTreeSet<Key>,
    /// Whether after it all files are known to be as ScaiVault has them, if all goes well.
    pub(super) is_all: bool,
}

impl Reads {
    /// After the first fetch, which brought `answers` to all that is wanted. `chance` is from 0 to 1.
    pub(super) fn new(
        variables: BTreeSet<Key>,
        answers: Answers,
        interval: Duration,
        now: Instant,
        chance: [f64; 2],
    ) -> Self {
        let mut reads = Self {
            wanted: answers.keys().cloned().collect(),
            variables,
            asked: failed(&answers),
            pinned: pinned(&answers),
            refresh: Schedule::new(interval, now, chance[0]),
            attempts: Attempts::new(FIRST_PAUSE.min(interval), interval),
        };
        if !reads.asked.is_empty() {
            reads.attempts.failed(now, chance[1]);
        }
        reads
    }

    /// When something is to be read.
    pub(super) fn due(&self) -> Instant {
        self.attempts.due().map_or(self.refresh.due(), |due| due.min(self.refresh.due()))
    }

    /// Asks for the secrets of these paths, of no path for all, to be read at `due`.
    pub(super) fn ask(&mut self, paths: &BTreeSet<SecretPath>, due: Instant) {
        let is_meant =
            |key: &&Key| !self.pinned.contains_key(key) && (paths.is_empty() || paths.contains(&key.path));
        let keys: Vec<_> = self.wanted.iter().filter(is_meant).cloned().collect();
        if !keys.is_empty() {
            self.asked.extend(keys);
            self.attempts.start(due);
        }
    }

    /// What is to be read at `now`; none where nothing is. `chance` is from 0 to 1.
    pub(super) fn start(&mut self, now: Instant, chance: f64) -> Option<Round> {
        if self.refresh.due() <= now {
            self.asked = self.wanted.clone();
            self.refresh.done(now, chance);
        } else if !self.attempts.is_due(now) {
            return None;
        }
        let mut keys = self.asked.clone();
        if !keys.is_disjoint(&self.variables) {
            keys.extend(self.variables.iter().cloned());
        }
        keys.retain(|key| !self.pinned.contains_key(key));
        if keys.is_empty() {
            self.asked.clear();
            self.attempts.succeeded();
            return None;
        }
        let is_all = self.wanted.iter().all(|key| keys.contains(key) || self.pinned.contains_key(key));
        Some(Round { keys, is_all })
    }

    /// The answers of a round, and what never changes: what is to be written.
    pub(super) fn answered(&mut self, mut answers: Answers) -> Answers {
        self.pinned.extend(pinned(&answers));
        self.asked = failed(&answers);
        answers.extend(self.pinned.clone());
        answers
    }

    /// What was read at `now` was written everywhere, or is to be read again to be written. `chance` is from 0 to 1.
    pub(super) fn done(&mut self, round: Round, is_written: bool, now: Instant, chance: f64) {
        if !is_written {
            self.asked.extend(round.keys);
        }
        if self.asked.is_empty() {
            self.attempts.succeeded();
        } else {
            self.attempts.failed(now, chance);
        }
    }
}

/// The answers that never change: good ones of pinned versions.
fn pinned(answers: &Answers) -> Answers {
    let pinned = answers.iter().filter(|(key, answer)| key.version.is_some() && answer.is_ok());
    pinned.map(|(key, answer)| (key.clone(), answer.clone())).collect()
}

fn failed(answers: &Answers) -> BTreeSet<Key> {
    answers.iter().filter(|(_, answer)| answer.is_err()).map(|(key, _)| key.clone()).collect()
}
