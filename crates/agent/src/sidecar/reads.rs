//! Which secrets are to be read, and when. Pure: time and chance are parameters.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::pace::Pace;
use crate::{
    failure::Failure,
    fetch::{Answers, Key},
    listen::{Announced, Changes},
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
    /// The versions that were read last.
    versions: BTreeMap<Key, u64>,
    /// What is to be read: since an event spoke of it, or since it could not be read and written.
    asked: BTreeSet<Key>,
    pace: Pace,
    /// Comparing all files with ScaiVault.
    refresh: Schedule,
    /// Reading what is asked for, before the next refresh.
    attempts: Attempts,
    /// ScaiVault has asked to be left alone until then.
    quiet_until: Instant,
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
        answers: &Answers,
        pace: Pace,
        now: Instant,
        chance: [f64; 2],
    ) -> Self {
        let longest = pace.configured();
        let mut reads = Self {
            wanted: answers.keys().cloned().collect(),
            variables,
            pinned: Answers::new(),
            versions: BTreeMap::new(),
            asked: BTreeSet::new(),
            pace,
            refresh: Schedule::new(pace.interval(), now, chance[0]),
            attempts: Attempts::new(FIRST_PAUSE.min(longest), longest),
            quiet_until: now,
        };
        reads.take(answers, now);
        if !reads.asked.is_empty() {
            reads.attempts.failed(now, chance[1]);
        }
        reads
    }

    /// When something is to be read.
    pub(super) fn due(&self) -> Instant {
        let due = self.attempts.due().map_or(self.refresh.due(), |due| due.min(self.refresh.due()));
        due.max(self.quiet_until)
    }

    /// Changes are heard of from `now` on, or are not.
    pub(super) fn set_hearing(&mut self, is_hearing: bool, now: Instant) {
        self.pace.set_hearing(is_hearing);
        self.refresh.set_interval(self.pace.interval(), now);
    }

    /// Asks for what has changed, to be read at `now`: at once. Not spread over a time: who listens is one of at most 240,
    /// as many polls as ScaiVault grants a minute to all replicas together, and reads only what has changed, of the 1000
    /// reads that it grants them. Should they take more, `Retry-After` spreads them.
    pub(super) fn ask(&mut self, changes: &Changes, now: Instant) {
        let has_changed = |key: &&Key| match changes {
            Changes::Any => true,
            Changes::Of(paths) => paths.get(&key.path).is_some_and(|Announced { version, .. }| {
                // A rotation is told twice, as an update too.
                version.is_none() || self.versions.get(*key) != version.as_ref() || self.asked.contains(*key)
            }),
        };
        let is_meant = |key: &&Key| !self.pinned.contains_key(*key) && has_changed(key);
        let keys: Vec<_> = self.wanted.iter().filter(is_meant).cloned().collect();
        if !keys.is_empty() {
            self.asked.extend(keys);
            self.attempts.start(now);
        }
    }

    /// What is to be read at `now`; none where nothing is. `chance` is from 0 to 1.
    pub(super) fn start(&mut self, now: Instant, chance: f64) -> Option<Round> {
        if now < self.quiet_until {
            return None;
        }
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

    /// The answers of a round at `now`, and what never changes: what is to be written. `left` is the share of ScaiVault's rate
    /// limit that is left, where it says so.
    pub(super) fn answered(&mut self, mut answers: Answers, left: Option<f64>, now: Instant) -> Answers {
        self.take(&answers, now);
        self.pace.read(left);
        self.refresh.set_interval(self.pace.interval(), now);
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

    /// Notes what was answered at `now`.
    fn take(&mut self, answers: &Answers, now: Instant) {
        self.asked.clear();
        let mut asked_pause = None;
        for (key, answer) in answers {
            match answer {
                Ok(secret) => {
                    self.versions.insert(key.clone(), secret.version);
                    if key.version.is_some() {
                        self.pinned.insert(key.clone(), answer.clone());
                    }
                }
                Err(failure) => {
                    self.asked.insert(key.clone());
                    asked_pause = asked_pause.max(Failure::asked_pause(failure));
                }
            }
        }
        if let Some(pause) = asked_pause {
            self.quiet_until = now + pause;
        }
    }
}

#[cfg(test)]
mod tests;
