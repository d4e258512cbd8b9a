//! When each secret is read next, and which answers are accepted. Pure: time and chance are parameters.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use scaivault_client::{Announced, Backoff, Changes, Fingerprint, Retry, Secret, VersionFloor};
use tokio::time::Instant;

use super::Key;
use crate::{
    failure::{Cause, Failure},
    schedule::RefreshSchedule,
};

/// The most reads in flight: each may hold a whole secret in memory.
const IN_FLIGHT: usize = 3;
/// A read without an answer for this long does not count, so that a few that hang do not keep the others waiting.
const SLOW: Duration = Duration::from_secs(2);
/// The most reads in flight, slow ones counted.
const IN_FLIGHT_WITH_SLOW: usize = IN_FLIGHT + 1;
/// The first and the longest pause after a failure during the initial fetch.
const INITIAL_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// The first pause after a failure later, unless the refresh interval is shorter; the longest is the interval.
const FAILED_PAUSE: Duration = Duration::from_secs(5);
/// The first pause after a version that is older than one known: a replica lags by moments, not by minutes.
const OUTDATED_PAUSE: Duration = Duration::from_secs(1);

/// What is known of each secret, and what is to be read.
pub(crate) struct Reads {
    states: BTreeMap<Key, State>,
    pub(crate) schedule: RefreshSchedule,
    /// The end of the initial fetch, while that runs: what fails for good is not read again before its end.
    deadline: Option<Instant>,
    /// Nothing is read before its due time: all reads need the same login.
    login: Backoff,
}

struct State {
    floor: VersionFloor,
    backoff: Backoff,
    /// Whether the last failure was an outdated version.
    is_outdated: bool,
    /// Asked for by a refresh, an event or a file.
    asked: Option<Instant>,
    /// ScaiVault asked not to read it again before.
    not_before: Option<Instant>,
    /// When the read in flight began.
    started: Option<Instant>,
    /// The version that was read last.
    version: Option<u64>,
    /// The version and the meaning of the data that its files were written from; none if they have to be written.
    written: Option<(u64, Fingerprint)>,
    /// When it was last known to be in its files as ScaiVault has it.
    confirmed: Option<Instant>,
}

impl State {
    fn due(&self) -> Option<Instant> {
        if self.started.is_some() {
            return None;
        }
        let due = [self.asked, self.backoff.due()].into_iter().flatten().min();
        due.map(|due| self.not_before.map_or(due, |not_before| due.max(not_before)))
    }

    fn ask(&mut self, at: Instant) {
        self.asked = Some(self.asked.map_or(at, |asked| asked.min(at)));
    }
}

impl Reads {
    /// Reads that all begin at `now`. Versions below those of `versions` are not accepted.
    pub(crate) fn new(
        keys: BTreeSet<Key>,
        versions: &BTreeMap<String, u64>,
        schedule: RefreshSchedule,
        now: Instant,
    ) -> Self {
        let state = |key: &Key| State {
            floor: VersionFloor::new(versions.get(key.path.as_str()).copied().unwrap_or(0)),
            backoff: Backoff::new(INITIAL_PAUSES),
            is_outdated: false,
            asked: Some(now),
            not_before: None,
            started: None,
            version: None,
            written: None,
            confirmed: None,
        };
        let states =
            keys.into_iter().map(|key| (state(&key), key)).map(|(state, key)| (key, state)).collect();
        let login = pauses(FAILED_PAUSE, schedule.configured());
        let mut reads = Self { states, schedule, deadline: None, login };
        reads.reset_pauses();
        reads
    }

    /// Begins the initial fetch: what cannot be read before `deadline`, or will not change by itself, is given up.
    pub(crate) fn begin_initial(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
        self.reset_pauses();
    }

    /// Whether every secret was read or given up.
    pub(crate) fn is_settled(&self) -> bool {
        self.open().is_empty()
    }

    /// Whether the initial fetch goes on.
    pub(crate) fn is_initial(&self) -> bool {
        self.deadline.is_some()
    }

    /// What has no answer, and is not given up.
    pub(crate) fn open(&self) -> Vec<Key> {
        let is_open = |state: &State| state.started.is_some() || state.due().is_some();
        self.states.iter().filter(|(_, state)| is_open(state)).map(|(key, _)| key.clone()).collect()
    }

    /// Ends the initial fetch at `now`. What could not be read is read again after a pause.
    pub(crate) fn end_initial(&mut self, now: Instant, chance: f64) {
        self.deadline = None;
        self.schedule.done(now, chance);
        self.reset_pauses();
        for state in self.states.values_mut() {
            (state.asked, state.not_before, state.started) = (None, None, None);
            if state.confirmed.is_none() {
                state.backoff.failed(now, Retry::Backoff);
            }
        }
    }

    fn reset_pauses(&mut self) {
        for state in self.states.values_mut() {
            state.is_outdated = false;
            state.backoff = match self.deadline {
                Some(_) => Backoff::new(INITIAL_PAUSES),
                None => pauses(FAILED_PAUSE, self.schedule.configured()),
            };
        }
    }

    /// When [`Self::next`] or [`Self::refresh`] has something to do.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        let refresh = self.deadline.unwrap_or_else(|| self.schedule.due());
        let reads = self.states.values().filter_map(State::due).min();
        // Without room the next answer makes some.
        reads.zip(self.room_at(now)).map_or(refresh, |(due, room)| due.max(room).min(refresh))
    }

    /// When one more read may begin; none if an answer has to come first.
    fn room_at(&self, now: Instant) -> Option<Instant> {
        let started = || self.states.values().filter_map(|state| state.started);
        let is_login_failing = self.login.failures() > 0;
        // One login fails like the others.
        let limit = if is_login_failing { 1 } else { IN_FLIGHT_WITH_SLOW };
        if started().count() >= limit {
            return None;
        }
        let quick = || started().filter(|started| now < *started + SLOW);
        let room = if quick().count() < IN_FLIGHT { now } else { quick().min()? + SLOW };
        Some(self.login.due().map_or(room, |login| login.max(room)))
    }

    /// Asks for all secrets if a refresh is due at `now`. Of a pinned version only if it is not written yet, or if
    /// `has_files` denies its files.
    pub(crate) fn refresh(&mut self, now: Instant, chance: f64, has_files: impl Fn(&Key) -> bool) {
        if self.deadline.is_none() && self.schedule.due() <= now {
            self.schedule.done(now, chance);
            for (key, state) in &mut self.states {
                if key.version.is_none() || state.written.is_none() || !has_files(key) {
                    state.ask(now);
                }
            }
        }
    }

    /// Asks for all secrets at `now`, whatever failed before and whatever pause ScaiVault asked for.
    pub(crate) fn refresh_now(&mut self, now: Instant) {
        self.reset_pauses();
        self.login.succeeded();
        for state in self.states.values_mut() {
            (state.not_before, state.asked) = (None, Some(now));
        }
    }

    /// The next read to send at `now`.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Key> {
        self.room_at(now).filter(|room| *room <= now)?;
        let due = self.states.iter_mut().filter_map(|(key, state)| Some((state.due()?, key, state)));
        let (_, key, state) = due.filter(|(due, ..)| *due <= now).min_by_key(|(due, ..)| *due)?;
        (state.started, state.asked) = (Some(now), None);
        Some(key.clone())
    }

    /// Events told of `changes`, which are read at `now`: at once. Not spread over a time: of the replicas of a workload at
    /// most 240 are connected, as many polls as ScaiVault grants a minute, and each reads only what has changed.
    pub(crate) fn announce(&mut self, changes: &Changes, now: Instant) {
        for (key, state) in &mut self.states {
            let announced = match changes {
                _ if key.version.is_some() && state.written.is_some() => continue,
                Changes::Any => Announced::default(),
                Changes::Of(paths) => match paths.get(&key.path) {
                    Some(announced) => *announced,
                    None => continue,
                },
            };
            let Announced { version, is_new_history } = announced;
            if is_new_history {
                state.floor.expect_new_history(now);
                state.version = None;
            }
            if let Some(version) = version {
                state.floor.raise(version);
                let is_known = state.written.is_some() && state.version.is_some_and(|known| known >= version);
                // A rotation is told twice, as an update too. The floor holds for the answer of a read in flight.
                if is_known || state.started.is_some() && !is_new_history {
                    continue;
                }
            }
            state.ask(now);
        }
    }

    /// Asks for secrets that a file of several needs, unless they are read or tried again anyway.
    pub(crate) fn need(&mut self, keys: &BTreeSet<Key>, now: Instant) {
        for key in keys {
            if let Some(state) = self.states.get_mut(key)
                && state.started.is_none()
                && state.due().is_none()
            {
                state.ask(now);
            }
        }
    }

    /// Whether the answer to a read may be used that came at `now` with this version. Otherwise the version that is expected.
    pub(crate) fn accept(&mut self, key: &Key, version: u64, now: Instant) -> Result<(), u64> {
        let Some(state) = self.states.get_mut(key) else { return Ok(()) };
        let expected = match key.version {
            Some(pinned) => u64::from(pinned.get()),
            None => state.floor.version(),
        };
        let is_accepted =
            if key.version.is_some() { version == expected } else { state.floor.accept(version, now) };
        if !is_accepted {
            return Err(expected);
        }
        state.version = Some(version);
        Ok(())
    }

    /// A read brought `secret` at `now`. Whether that is something else than its files were written from.
    pub(crate) fn succeeded(&mut self, key: &Key, secret: &Secret, now: Instant) -> bool {
        let written = (secret.version, secret.data.fingerprint());
        self.confirm(key, now).is_none_or(|state| state.written.replace(written) != Some(written))
    }

    /// The secret does not exist at `now`, and need not.
    pub(crate) fn absent(&mut self, key: &Key, now: Instant) {
        if let Some(state) = self.confirm(key, now) {
            state.floor.expect_new_history(now);
            (state.version, state.written) = (None, None);
        }
    }

    fn confirm(&mut self, key: &Key, now: Instant) -> Option<&mut State> {
        self.login.succeeded();
        let state = self.states.get_mut(key)?;
        state.backoff.succeeded();
        (state.started, state.not_before, state.confirmed) = (None, None, Some(now));
        Some(state)
    }

    /// A read failed at `now`. When it is sent again; none if the initial fetch gives it up.
    pub(crate) fn failed(&mut self, key: &Key, failure: &Failure, now: Instant) -> Option<Instant> {
        let state = self.states.get_mut(key)?;
        state.started = None;
        if failure.cause == Cause::Absent {
            // Should it be created again, its versions start with 1.
            state.floor.expect_new_history(now);
            state.version = None;
        }
        let Some(deadline) = self.deadline else {
            let longest = self.schedule.configured();
            // What a person has to mend is mended some time.
            let retry = failure.retry.always(longest);
            if failure.cause == Cause::Login {
                state.ask(now);
                return self.login.failed(now, retry);
            }
            self.login.succeeded();
            let is_outdated = failure.cause == Cause::Outdated;
            if is_outdated != state.is_outdated {
                state.is_outdated = is_outdated;
                state.backoff = pauses(if is_outdated { OUTDATED_PAUSE } else { FAILED_PAUSE }, longest);
            }
            let due = state.backoff.failed(now, retry);
            state.not_before = due.filter(|_| matches!(retry, Retry::After(_)));
            return due;
        };
        let due = state.backoff.failed(now, failure.retry).filter(|due| *due < deadline);
        if due.is_none() {
            state.backoff.succeeded();
            state.asked = None;
        }
        due
    }

    /// The reads in flight are lost: a task panicked.
    pub(crate) fn lost(&mut self, now: Instant) {
        for state in self.states.values_mut().filter(|state| state.started.is_some()) {
            state.started = None;
            state.backoff.failed(now, Retry::Backoff);
        }
    }

    /// Files of these secrets are not as they should be: they are written at the next answer, which is asked for `at` a time
    /// or comes with the next refresh.
    pub(crate) fn not_written<'a>(&mut self, keys: impl IntoIterator<Item = &'a Key>, at: Option<Instant>) {
        for key in keys {
            if let Some(state) = self.states.get_mut(key) {
                (state.written, state.confirmed) = (None, None);
                if let Some(at) = at {
                    state.ask(at);
                }
            }
        }
    }

    /// The lowest versions that are accepted, but for pinned ones and those of which nothing is known.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&Key, u64)> {
        let current = self.states.iter().filter(|(key, _)| key.version.is_none());
        current.map(|(key, state)| (key, state.floor.version())).filter(|(_, version)| *version > 0)
    }

    /// The last moment at which all files were known to be as ScaiVault has them; none if there was none yet. `now` if
    /// nothing is read that can change.
    pub(crate) fn confirmed(&self, now: Instant) -> Option<Instant> {
        self.states.iter().try_fold(now, |confirmed, (key, state)| match key.version {
            Some(_) => state.confirmed.map(|_| confirmed),
            None => state.confirmed.map(|this| this.min(confirmed)),
        })
    }

    /// Every secret that is read.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.states.keys()
    }
}

fn pauses(first: Duration, longest: Duration) -> Backoff {
    Backoff::new((first.min(longest), longest))
}

#[cfg(test)]
mod tests;
