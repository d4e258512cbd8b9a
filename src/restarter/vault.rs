//! The versions of ScaiVault's secrets: all are looked up slowly, one after the other, and those that events name at once. Values are
//! never asked for.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{
    Backoff, Changes, Client, ListenerPaths, ListenerSettings, ListenerUpdate, SecretVersion, VERSIONS_BATCH,
    listen,
};
use scaivault_cluster::unix_seconds;
use scaivault_contract::SecretPath;
use scaivault_restarter::Version;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{args::Vault, memory::Memory, metrics::Metrics};
use crate::telemetry::LogThrottle;

/// The shortest time between two calls: ScaiVault grants 100 a minute to an identity.
const CALL_PAUSE: Duration = Duration::from_secs(1);
/// How often new paths are looked for, and how long events are gathered.
const LOOK: Duration = Duration::from_secs(1);
/// The first and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(2));
/// Updates of the listener that wait.
const QUEUE: usize = 64;
/// How many secrets of one call are named in warnings when they begin to have no version.
const NAMED: usize = 10;
/// How often a log line says that ScaiVault does not answer.
const REMINDER: Duration = Duration::from_mins(5);

/// Follows the versions for ever. `name` is the subscription's.
pub(super) async fn follow(vault: Arc<Vault>, name: String, memory: Arc<Memory>, metrics: Arc<Metrics>) {
    let client = Arc::clone(&vault.client);
    let (paths, watched_paths) = watch::channel(BTreeSet::new());
    let (updates, receiver) = mpsc::channel(QUEUE);
    let mut follower = Follower {
        client: Arc::clone(&client),
        poll_interval: vault.poll_interval,
        memory,
        metrics,
        paths,
        urgent: BTreeSet::new(),
        failing: BTreeSet::new(),
        next: None,
        // The first round follows the first look-up of every path.
        round_began: Instant::now() + vault.poll_interval,
        is_round_over: true,
        backoff: Backoff::new(PAUSES),
        throttle: LogThrottle::new(REMINDER),
    };
    if !vault.has_events {
        drop(updates);
        return follower.run(receiver).await;
    }
    let mut some_paths = watched_paths.clone();
    let settings = ListenerSettings {
        client: watch::channel(client).1,
        name,
        paths: ListenerPaths::Changing(watched_paths),
        kept: None,
        may_have_left: true,
    };
    let listening = async {
        // ScaiVault refuses a subscription to nothing.
        if some_paths.wait_for(|paths| !paths.is_empty()).await.is_ok() {
            listen(settings, updates).await;
        }
    };
    tokio::select! {
        () = listening => {}
        () = follower.run(receiver) => {}
    }
}

struct Follower {
    client: Arc<Client>,
    poll_interval: Duration,
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
    paths: watch::Sender<BTreeSet<SecretPath>>,
    /// Paths to be looked up at once.
    urgent: BTreeSet<SecretPath>,
    /// Paths without a version.
    failing: BTreeSet<SecretPath>,
    /// The path after which the slow round goes on; none between two rounds.
    next: Option<SecretPath>,
    round_began: Instant,
    /// Once the urgent paths are read, all versions are as new as a round makes them.
    is_round_over: bool,
    backoff: Backoff,
    throttle: LogThrottle<Instant>,
}

impl Follower {
    async fn run(&mut self, mut updates: mpsc::Receiver<ListenerUpdate>) {
        let mut next_look = Instant::now();
        loop {
            tokio::select! {
                Some(update) = updates.recv() => self.hear(update),
                () = sleep_until(next_look) => {
                    self.find_new_paths();
                    next_look = Instant::now() + LOOK;
                    if !self.backoff.is_waiting(Instant::now()) {
                        next_look = self.look_up().await;
                    }
                }
            }
        }
    }

    fn hear(&mut self, update: ListenerUpdate) {
        match update {
            ListenerUpdate::Connected => self.metrics.vault_connected(true),
            ListenerUpdate::Disconnected => self.metrics.vault_connected(false),
            // What changed before the subscription was made has no event.
            ListenerUpdate::Covers(paths) => self.urgent.extend(paths),
            ListenerUpdate::Changed(Changes::Of(paths)) => self.urgent.extend(paths.into_keys()),
            ListenerUpdate::Changed(Changes::Any) => self.urgent.extend(self.paths.borrow().iter().cloned()),
            ListenerUpdate::Subscribed(_) => {}
        }
    }

    /// Follows what workloads deliver.
    fn find_new_paths(&mut self) {
        let named = self.memory.lock().catalog.paths();
        let is_same = {
            let known = self.paths.borrow();
            // Both are sorted by text.
            known.len() == named.len()
                && known.iter().map(SecretPath::as_str).eq(named.iter().map(|path| &**path))
        };
        if is_same {
            return;
        }
        let named: BTreeSet<SecretPath> = named.iter().filter_map(|path| path.parse().ok()).collect();
        self.urgent.extend(named.difference(&self.paths.borrow()).cloned());
        self.failing.retain(|path| named.contains(path));
        self.paths.send_replace(named);
    }

    /// One call, if one is due. Returns when to look again.
    async fn look_up(&mut self) -> Instant {
        let now = Instant::now();
        let batch = self.batch(now);
        if batch.is_empty() {
            return now + LOOK;
        }
        let versions = self.client.versions(&batch).await;
        let seen_at = unix_seconds(SystemTime::now());
        let result = if versions.interrupted.is_some() { "failed" } else { "done" };
        self.metrics.vault_called(result);
        // Of a batch that ended early, only the rest is asked for again: else a low rate limit would let none through to the end.
        let rest: Vec<_> = batch.into_iter().filter(|path| !versions.found.contains_key(path)).collect();
        let mut named = 0;
        for (path, found) in versions.found {
            self.urgent.remove(&path);
            match found {
                Ok(version) => {
                    self.failing.remove(&path);
                    let (version, ends) = converted(version);
                    self.memory
                        .change(|state| state.catalog.put_version(path.as_str(), version, ends, seen_at));
                }
                Err(error) => {
                    if named < NAMED && !self.failing.contains(&path) {
                        named += 1;
                        tracing::warn!(%path, %error, "version not read");
                    } else {
                        tracing::debug!(%path, %error, "version not read");
                    }
                    self.failing.insert(path);
                }
            }
        }
        self.metrics.vault_secrets(self.paths.borrow().len(), self.failing.len());
        let Some(error) = versions.interrupted else {
            self.backoff.succeeded();
            if self.urgent.is_empty() && std::mem::take(&mut self.is_round_over) {
                self.metrics.vault_complete(seen_at);
            }
            if self.throttle.reset() {
                tracing::info!("ScaiVault answers again");
            }
            return Instant::now() + CALL_PAUSE;
        };
        self.backoff.failed(Instant::now(), error.retry());
        self.urgent.extend(rest);
        if self.throttle.is_due(now) {
            tracing::warn!(%error, "versions not read from ScaiVault, keeping those that are known");
        }
        Instant::now() + CALL_PAUSE
    }

    /// The paths of the next call: urgent ones, and as many of the slow round as are due.
    fn batch(&mut self, now: Instant) -> Vec<SecretPath> {
        let mut batch: Vec<SecretPath> = self.urgent.iter().take(VERSIONS_BATCH).cloned().collect();
        if !batch.is_empty() {
            return batch;
        }
        let paths = self.paths.borrow();
        let calls = u32::try_from(paths.len().div_ceil(VERSIONS_BATCH)).unwrap_or(u32::MAX);
        let done = self.next.as_ref().map_or(0, |next| paths.range(..=next).count().div_ceil(VERSIONS_BATCH));
        let done = u32::try_from(done).unwrap_or(u32::MAX);
        // The calls of a round are spread over the interval.
        let due_at = match calls {
            0 => return batch,
            _ if self.next.is_none() => self.round_began,
            calls => self.round_began + self.poll_interval / calls * done,
        };
        if now < due_at {
            return batch;
        }
        let rest = self.next.take().map_or_else(
            || paths.range::<SecretPath, _>(..),
            |next| paths.range((std::ops::Bound::Excluded(next), std::ops::Bound::Unbounded)),
        );
        batch.extend(rest.take(VERSIONS_BATCH).cloned());
        self.next = batch.last().cloned();
        if self.next.as_ref() == paths.last() {
            self.next = None;
            self.round_began = now.max(self.round_began + self.poll_interval);
            self.is_round_over = true;
        }
        batch
    }
}

fn converted(version: SecretVersion) -> (Version, Option<i64>) {
    let SecretVersion { number, created, previous_ends } = version;
    (Version::Numbered { time: unix_seconds(created), number }, previous_ends.map(unix_seconds))
}
