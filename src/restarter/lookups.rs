//! Which secrets of ScaiVault are looked up next. No I/O and no clock.
//!
//! There are three reasons for a look-up: an event names the secret, it was not looked up since it is followed, or it is its turn in
//! the slow round over all secrets. They take turns, so many look-ups for one reason do not delay the others.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    time::Duration,
};

use scaivault_client::{Announced, Changes, VERSIONS_BATCH};
use scaivault_contract::SecretPath;
use tokio::time::Instant;

/// How long to wait for the version that an event names, again and again; the slow round finds what takes longer.
const REPEATS: [Duration; 6] = [
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
    Duration::from_mins(1),
];

/// What is to be looked up.
pub(super) struct Lookups {
    poll_interval: Duration,
    /// Paths that events name.
    changed: Queue,
    /// Paths that were not looked up since they are followed.
    added: Queue,
    /// Versions that events name and that ScaiVault has not answered yet.
    awaited: BTreeMap<SecretPath, Awaited>,
    round: Round,
    /// Whose turn it is.
    turn: usize,
    /// Every path was looked up once.
    was_complete: bool,
}

/// Why paths are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Changed,
    Added,
    Round,
}

/// The slow round over all paths.
struct Round {
    /// What earlier calls did not reach.
    rest: VecDeque<SecretPath>,
    /// Whether the next part comes before the rest.
    is_turn_of_part: bool,
    /// The path after which it goes on; none between two rounds.
    next: Option<SecretPath>,
    began: Instant,
    /// Its last call was given out.
    is_over: bool,
}

/// A version that an event has announced.
struct Awaited {
    version: u64,
    /// Numbers begin again with 1.
    is_new_history: bool,
    repeats: usize,
    /// When to look again; none while it is in the queue.
    again_at: Option<Instant>,
}

/// Paths in the order in which they came, each once.
#[derive(Default)]
struct Queue {
    order: VecDeque<SecretPath>,
    members: BTreeSet<SecretPath>,
}

impl Queue {
    fn push(&mut self, path: SecretPath) {
        if self.members.insert(path.clone()) {
            self.order.push_back(path);
        }
    }

    fn take(&mut self) -> Vec<SecretPath> {
        let count = self.order.len().min(VERSIONS_BATCH);
        let batch: Vec<_> = self.order.drain(..count).collect();
        for path in &batch {
            self.members.remove(path);
        }
        batch
    }

    fn retain(&mut self, paths: &BTreeSet<SecretPath>) {
        self.members.retain(|path| paths.contains(path));
        self.order.retain(|path| paths.contains(path));
    }
}

impl Lookups {
    pub(super) fn new(poll_interval: Duration, now: Instant) -> Self {
        Self {
            poll_interval,
            changed: Queue::default(),
            added: Queue::default(),
            awaited: BTreeMap::new(),
            // The first round follows the first look-up of every path.
            round: Round {
                rest: VecDeque::new(),
                is_turn_of_part: false,
                next: None,
                began: now + poll_interval,
                is_over: false,
            },
            turn: 0,
            was_complete: false,
        }
    }

    /// These paths have to be looked up, because they are new or may have changed without an event.
    pub(super) fn add(&mut self, paths: impl IntoIterator<Item = SecretPath>) {
        paths.into_iter().for_each(|path| self.added.push(path));
    }

    /// Forgets all but these.
    pub(super) fn retain(&mut self, paths: &BTreeSet<SecretPath>) {
        self.changed.retain(paths);
        self.added.retain(paths);
        self.round.rest.retain(|path| paths.contains(path));
        self.awaited.retain(|path, _| paths.contains(path));
    }

    /// Takes in what events say about the paths that are followed.
    pub(super) fn hear(&mut self, changes: Changes, paths: &BTreeSet<SecretPath>) {
        let Changes::Of(changes) = changes else { return self.add(paths.iter().cloned()) };
        for (path, Announced { version, is_new_history }) in changes {
            if !paths.contains(&path) {
                continue;
            }
            match version {
                Some(version) => {
                    let awaited = Awaited { version, is_new_history, repeats: 0, again_at: None };
                    self.awaited.insert(path.clone(), awaited);
                }
                None => drop(self.awaited.remove(&path)),
            }
            self.changed.push(path);
        }
    }

    /// The paths of the next call, and why they are looked up. Empty if there is nothing to do.
    pub(super) fn batch(&mut self, paths: &BTreeSet<SecretPath>, now: Instant) -> (Why, Vec<SecretPath>) {
        for (path, awaited) in &mut self.awaited {
            if awaited.again_at.is_some_and(|at| at <= now) {
                awaited.again_at = None;
                self.changed.push(path.clone());
            }
        }
        let turns = [Why::Changed, Why::Added, Why::Round];
        for offset in 0..turns.len() {
            let index = (self.turn + offset) % turns.len();
            let batch = match turns[index] {
                Why::Changed => self.changed.take(),
                Why::Added => self.added.take(),
                Why::Round => self.round.take(paths, self.poll_interval, now),
            };
            if !batch.is_empty() {
                self.turn = index + 1;
                return (turns[index], batch);
            }
        }
        (Why::Round, Vec::new())
    }

    /// ScaiVault has answered about a path: with the number of its version (0: it has none), or with an error.
    pub(super) fn answered(&mut self, path: &SecretPath, number: Option<u32>, now: Instant) {
        let Some(awaited) = self.awaited.get_mut(path) else { return };
        let is_there = number.map(u64::from).is_some_and(|number| match awaited.is_new_history {
            _ if number == 0 => true,
            true => number == awaited.version,
            false => number >= awaited.version,
        });
        match REPEATS.get(awaited.repeats) {
            // Another replica of ScaiVault may have the version already.
            Some(pause) if !is_there => {
                awaited.repeats += 1;
                awaited.again_at = Some(now + *pause);
            }
            _ => drop(self.awaited.remove(path)),
        }
    }

    /// The call ended at the first of these. That one is looked up last, because a secret for which ScaiVault
    /// always fails must not hold up the others.
    pub(super) fn put_back(&mut self, why: Why, mut rest: Vec<SecretPath>) {
        let first = usize::from(!rest.is_empty());
        rest.rotate_left(first);
        let queue = match why {
            Why::Changed => &mut self.changed,
            Why::Added => &mut self.added,
            Why::Round => return self.round.rest.extend(rest),
        };
        for path in rest {
            queue.push(path);
        }
    }

    /// Whether the versions of all paths were looked up since this was last asked.
    pub(super) fn has_completed(&mut self) -> bool {
        let is_first = !self.was_complete && self.added.order.is_empty();
        let is_round = self.round.rest.is_empty() && std::mem::take(&mut self.round.is_over);
        self.was_complete |= is_first || is_round;
        is_first || is_round
    }
}

impl Round {
    /// What earlier calls did not reach, and the next part of the round, in turns.
    fn take(&mut self, paths: &BTreeSet<SecretPath>, interval: Duration, now: Instant) -> Vec<SecretPath> {
        self.is_turn_of_part = !self.is_turn_of_part;
        if self.is_turn_of_part || self.rest.is_empty() {
            let part = self.part(paths, interval, now);
            if !part.is_empty() {
                return part;
            }
        }
        let count = self.rest.len().min(VERSIONS_BATCH);
        self.rest.drain(..count).collect()
    }

    /// As much of it as is due: its calls are spread over the interval.
    fn part(&mut self, paths: &BTreeSet<SecretPath>, interval: Duration, now: Instant) -> Vec<SecretPath> {
        let calls = u32::try_from(paths.len().div_ceil(VERSIONS_BATCH)).unwrap_or(u32::MAX);
        let done = self.next.as_ref().map_or(0, |next| paths.range(..=next).count().div_ceil(VERSIONS_BATCH));
        let done = u32::try_from(done).unwrap_or(u32::MAX);
        let due_at = match calls {
            0 => return Vec::new(),
            _ if self.next.is_none() => self.began,
            calls => self.began + interval / calls * done,
        };
        if now < due_at {
            return Vec::new();
        }
        let start = self.next.take().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = paths.range((start, Bound::Unbounded));
        let batch: Vec<_> = rest.take(VERSIONS_BATCH).cloned().collect();
        self.next = batch.last().cloned();
        if self.next.as_ref() == paths.last() || batch.is_empty() {
            self.next = None;
            self.began = now.max(self.began + interval);
            self.is_over = true;
        }
        batch
    }
}

#[cfg(test)]
mod tests;
