//! Decides when each secret is read next, and which answers are accepted. Pure: time and random
//! numbers are parameters.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use scaivault_client::{AnnouncedChange, Backoff, Changes, Fingerprint, Retry, Secret, VersionFloor};
use tokio::time::Instant;

use super::Key;
use crate::{
    failure::{Cause, Failure},
    schedule::RefreshSchedule,
};

/// The maximum number of reads in flight: each may hold a complete secret in memory.
const IN_FLIGHT: usize = 3;
/// A read that takes longer than this is not counted, so that a few hanging reads do not block the
/// others.
const SLOW: Duration = Duration::from_secs(2);
/// The maximum number of reads in flight, including slow ones.
const IN_FLIGHT_WITH_SLOW: usize = IN_FLIGHT + 1;
/// The first and the longest pause after a failure during the initial fetch.
const INITIAL_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// The first pause after a later failure, unless the refresh interval is shorter; the longest is
/// the interval.
const FAILED_PAUSE: Duration = Duration::from_secs(5);
/// The first pause after a version older than a known one: a replica lags by moments, not by
/// minutes.
const OUTDATED_PAUSE: Duration = Duration::from_secs(1);

/// The state of each secret, and the pending reads.
pub(crate) struct Reads {
    states: BTreeMap<Key, State>,
    pub(crate) schedule: RefreshSchedule,
    /// The deadline of the initial fetch while it runs: until then, a permanent failure is not
    /// retried.
    deadline: Option<Instant>,
    /// Backoff of the login: no read is sent before its due time, because all reads need the same
    /// login.
    login: Backoff,
}

struct State {
    floor: VersionFloor,
    backoff: Backoff,
    /// Whether the last failure was an outdated version.
    is_outdated: bool,
    /// Requested by a refresh, an event or a file, and due then.
    asked: Option<Instant>,
    /// ScaiVault requested a pause until then.
    not_before: Option<Instant>,
    /// When the read in flight started.
    started: Option<Instant>,
    /// The version of the last read.
    version: Option<u64>,
    /// The version and the fingerprint of the data in its files; `None` if they have to be written.
    written: Option<(u64, Fingerprint)>,
    /// When its files were last known to match ScaiVault.
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
    /// Reads that are all due at `now`. Versions below those of `versions` are not accepted.
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

    /// Starts the initial fetch: reads that cannot succeed before `deadline`, or fail permanently,
    /// are given up.
    pub(crate) fn begin_initial(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
        self.reset_pauses();
    }

    /// Whether every secret was read or given up.
    pub(crate) fn is_settled(&self) -> bool {
        self.open().is_empty()
    }

    /// Whether the initial fetch is running.
    pub(crate) fn is_initial(&self) -> bool {
        self.deadline.is_some()
    }

    /// Secrets without an answer that are not given up.
    pub(crate) fn open(&self) -> Vec<Key> {
        let is_open = |state: &State| state.started.is_some() || state.due().is_some();
        self.states.iter().filter(|(_, state)| is_open(state)).map(|(key, _)| key.clone()).collect()
    }

    /// Ends the initial fetch at `now`. Failed reads are retried after a pause.
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

    /// When [`Self::next`] or [`Self::refresh`] next has work.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        let refresh = self.deadline.unwrap_or_else(|| self.schedule.due());
        let reads = self.states.values().filter_map(State::due).min();
        // If no more reads may be sent, the next answer makes room.
        reads.zip(self.room_at(now)).map_or(refresh, |(due, room)| due.max(room).min(refresh))
    }

    /// When one more read may be sent; `None` if an answer has to arrive first.
    fn room_at(&self, now: Instant) -> Option<Instant> {
        let started = || self.states.values().filter_map(|state| state.started);
        let is_login_failing = self.login.failures() > 0;
        // While the login fails, one read is enough to test it.
        let limit = if is_login_failing { 1 } else { IN_FLIGHT_WITH_SLOW };
        if started().count() >= limit {
            return None;
        }
        let quick = || started().filter(|started| now < *started + SLOW);
        let room = if quick().count() < IN_FLIGHT { now } else { quick().min()? + SLOW };
        Some(self.login.due().map_or(room, |login| login.max(room)))
    }

    /// Requests all secrets if a refresh is due at `now`. Pinned versions are only requested if
    /// they are not written yet, or if `has_files` reports missing files.
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

    /// Requests all secrets at `now`, ignoring earlier failures and pauses requested by ScaiVault.
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

    /// Processes `changes` announced by events, which are read at `now`. They are not spread over
    /// time: at most 240 replicas of a workload are connected, as many polls as ScaiVault allows a
    /// minute, and each reads only what has changed.
    pub(crate) fn announce(&mut self, changes: &Changes, now: Instant) {
        for (key, state) in &mut self.states {
            let announced = match changes {
                _ if key.version.is_some() && state.written.is_some() => continue,
                Changes::Any => AnnouncedChange::default(),
                Changes::Of(paths) => match paths.get(&key.path) {
                    Some(announced) => *announced,
                    None => continue,
                },
            };
            let AnnouncedChange { version, is_new_history } = announced;
            if is_new_history {
                state.floor.expect_new_history(now);
                state.version = None;
            }
            if let Some(version) = version {
                state.floor.raise(version);
                let is_known = state.written.is_some() && state.version.is_some_and(|known| known >= version);
                // A rotation is announced twice, also as an update. The version floor applies to
                // the answer of a read in flight.
                if is_known || state.started.is_some() && !is_new_history {
                    continue;
                }
            }
            state.ask(now);
        }
    }

    /// Requests secrets that a file of several needs, unless they are already being read or
    /// retried.
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

    /// Whether an answer with this version at `now` may be used. The error is the expected version.
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

    /// Processes a successful read at `now`. Returns whether the data differs from what its files
    /// were written from.
    pub(crate) fn succeeded(&mut self, key: &Key, secret: &Secret, now: Instant) -> bool {
        let written = (secret.version, secret.data.fingerprint());
        self.confirm(key, now).is_none_or(|state| state.written.replace(written) != Some(written))
    }

    /// Records at `now` that an optional secret does not exist.
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

    /// Records a failed read at `now`. Returns when it will be retried; `None` if the initial fetch
    /// gives it up.
    pub(crate) fn failed(&mut self, key: &Key, failure: &Failure, now: Instant) -> Option<Instant> {
        let state = self.states.get_mut(key)?;
        state.started = None;
        if failure.cause == Cause::Absent {
            // If it is created again, its versions start with 1.
            state.floor.expect_new_history(now);
            state.version = None;
        }
        let Some(deadline) = self.deadline else {
            let longest = self.schedule.configured();
            // A failure that needs a fix is retried too, because it may be fixed meanwhile.
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

    /// The reads in flight are lost, because a task panicked.
    pub(crate) fn lost(&mut self, now: Instant) {
        for state in self.states.values_mut().filter(|state| state.started.is_some()) {
            state.started = None;
            state.backoff.failed(now, Retry::Backoff);
        }
    }

    /// Records that files of these secrets are not written: they are written with the next answer,
    /// which is requested `at` a time or arrives with the next refresh.
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

    /// The lowest accepted versions, except for pinned and unknown ones.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&Key, u64)> {
        let current = self.states.iter().filter(|(key, _)| key.version.is_none());
        current.map(|(key, state)| (key, state.floor.version())).filter(|(_, version)| *version > 0)
    }

    /// The last time at which all files were known to match ScaiVault; `None` if there was none
    /// yet. `now` if no read secret can change.
    pub(crate) fn confirmed(&self, now: Instant) -> Option<Instant> {
        self.states.iter().try_fold(now, |confirmed, (key, state)| match key.version {
            Some(_) => state.confirmed.map(|_| confirmed),
            None => state.confirmed.map(|this| this.min(confirmed)),
        })
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.states.keys()
    }
}

fn pauses(first: Duration, longest: Duration) -> Backoff {
    Backoff::new((first.min(longest), longest))
}

#[cfg(test)]
mod tests;
