//! Selects the ScaiVault secrets whose versions are read next. No I/O and no clock.
//!
//! There are three reasons for a look-up: an event names the secret, the secret is new, or the periodic round
//! over all secrets reaches it. They take turns, so that many look-ups for one reason do not delay the
//! others.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    time::Duration,
};

use scaivault_client::{AnnouncedChange, Changes, VERSIONS_BATCH};
use scaivault_contract::SecretPath;
use tokio::time::Instant;

/// The pauses between look-ups until ScaiVault returns the version of an event. The round finds later ones.
const REPEATS: [Duration; 6] = [
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
    Duration::from_mins(1),
];

/// Pending look-ups.
pub(super) struct Lookups {
    poll_interval: Duration,
    /// Paths in events.
    changed: Queue,
    /// New paths.
    added: Queue,
    /// Versions in events that ScaiVault has not returned yet.
    awaited: BTreeMap<SecretPath, AwaitedVersion>,
    round: Round,
    /// The reason that is served next.
    turn: usize,
    /// Whether every path was looked up once.
    was_complete: bool,
}

/// The reason of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Changed,
    Added,
    Round,
}

/// The periodic round over all paths.
struct Round {
    /// Paths that earlier calls did not reach.
    rest: VecDeque<SecretPath>,
    /// Whether the next part of the round comes before the rest.
    is_turn_of_part: bool,
    /// The last path of the previous call; `None` between two rounds.
    next: Option<SecretPath>,
    began: Instant,
    /// Whether the last call of the round has begun.
    is_over: bool,
}

/// The version in an event.
struct AwaitedVersion {
    version: u64,
    /// Whether version numbers may start again with 1.
    is_new_history: bool,
    repeats: usize,
    /// When to look it up again; `None` while it is in the queue.
    again_at: Option<Instant>,
}

/// Paths in the order of their arrival, without duplicates.
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
            // The first round begins after all paths were looked up as new ones.
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

    /// Queues paths that are new or may have changed without an event.
    pub(super) fn add(&mut self, paths: impl IntoIterator<Item = SecretPath>) {
        paths.into_iter().for_each(|path| self.added.push(path));
    }

    /// Removes all other paths.
    pub(super) fn retain(&mut self, paths: &BTreeSet<SecretPath>) {
        self.changed.retain(paths);
        self.added.retain(paths);
        self.round.rest.retain(|path| paths.contains(path));
        self.awaited.retain(|path, _| paths.contains(path));
    }

    /// Queues the paths in events that are followed.
    pub(super) fn add_changes(&mut self, changes: Changes, paths: &BTreeSet<SecretPath>) {
        let Changes::Of(changes) = changes else { return self.add(paths.iter().cloned()) };
        for (path, AnnouncedChange { version, is_new_history }) in changes {
            if !paths.contains(&path) {
                continue;
            }
            match version {
                Some(version) => {
                    let awaited = AwaitedVersion { version, is_new_history, repeats: 0, again_at: None };
                    self.awaited.insert(path.clone(), awaited);
                }
                None => drop(self.awaited.remove(&path)),
            }
            self.changed.push(path);
        }
    }

    /// The paths of the next call and the reason. Empty if nothing is due.
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

    /// Records the answer for a path: the number of its version (0 if it has none), or `None` for an error.
    pub(super) fn answered(&mut self, path: &SecretPath, number: Option<u32>, now: Instant) {
        let Some(awaited) = self.awaited.get_mut(path) else { return };
        let has_arrived = number.map(u64::from).is_some_and(|number| match awaited.is_new_history {
            _ if number == 0 => true,
            true => number == awaited.version,
            false => number >= awaited.version,
        });
        match REPEATS.get(awaited.repeats) {
            // Another replica of ScaiVault may have the version already.
            Some(pause) if !has_arrived => {
                awaited.repeats += 1;
                awaited.again_at = Some(now + *pause);
            }
            _ => drop(self.awaited.remove(path)),
        }
    }

    /// Queues the paths that a call did not reach. The first one failed and is looked up last, so that a
    /// secret that always fails does not delay the others.
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

    /// Whether the versions of all paths were looked up since the last call of this method.
    pub(super) fn has_completed(&mut self) -> bool {
        let is_first = !self.was_complete && self.added.order.is_empty();
        let is_round = self.round.rest.is_empty() && std::mem::take(&mut self.round.is_over);
        self.was_complete |= is_first || is_round;
        is_first || is_round
    }
}

impl Round {
    /// Alternates between paths that earlier calls did not reach and the next part of the round.
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

    /// The next part of the round, if it is due. The calls are spread over the interval.
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
