//! Reads the versions of ScaiVault's secrets: all of them slowly, one after the other, and those with events
//! at once (see [`Lookups`]). Values are never requested.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{
    Backoff, Client, Error, ListenerPaths, ListenerSettings, ListenerUpdate, SecretVersion, listen,
};
use scaivault_cluster::unix_seconds;
use scaivault_contract::SecretPath;
use scaivault_restarter::Version;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{args::Vault, lookups::Lookups, memory::Memory, metrics::Metrics};
use crate::telemetry::LogThrottle;

/// The minimum time between two requests, because ScaiVault allows an identity 100 a minute.
const CALL_PAUSE: Duration = Duration::from_secs(1);
/// How often new paths are searched for, and how long events are collected.
const LOOK: Duration = Duration::from_secs(1);
/// The backoff after a failure, from and to.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(2));
/// The size of the queue of the listener's updates.
const QUEUE: usize = 64;
/// The maximum number of warnings about secrets without a version for one request.
const NAMED: usize = 10;
/// Of them, how many of workloads in one namespace.
const NAMED_IN_NAMESPACE: usize = 3;
/// How long the controller waits for the first answers before it reports versions as unknown.
const FIRST_ANSWERS: Duration = Duration::from_mins(10);
/// How often it is logged that ScaiVault does not answer.
const REMINDER: Duration = Duration::from_mins(5);

/// Keeps the versions up to date. Never returns. `name` is the subscription's.
pub(super) async fn follow(vault: Arc<Vault>, name: String, memory: Arc<Memory>, metrics: Arc<Metrics>) {
    let client = Arc::clone(&vault.client);
    let (paths, watched_paths) = watch::channel(Arc::default());
    let (updates, receiver) = mpsc::channel(QUEUE);
    let mut follower = Follower::new(Arc::clone(&client), memory, metrics, paths, vault.poll_interval);
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
        // ScaiVault refuses a subscription without paths.
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
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
    paths: watch::Sender<Arc<BTreeSet<SecretPath>>>,
    /// `Catalog::path_changes` when the paths were last collected.
    collected_at: Option<u64>,
    /// Paths of the subscription.
    covered: Arc<BTreeSet<SecretPath>>,
    lookups: Lookups,
    /// Paths without a version.
    failing: BTreeSet<SecretPath>,
    /// When paths without any answer are reported as unknown; `None` after that.
    first_answers: Option<Instant>,
    backoff: Backoff,
    throttle: LogThrottle<Instant>,
}

impl Follower {
    fn new(
        client: Arc<Client>,
        memory: Arc<Memory>,
        metrics: Arc<Metrics>,
        paths: watch::Sender<Arc<BTreeSet<SecretPath>>>,
        poll_interval: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            client,
            memory,
            metrics,
            paths,
            collected_at: None,
            covered: Arc::default(),
            lookups: Lookups::new(poll_interval, now),
            failing: BTreeSet::new(),
            first_answers: Some(now + FIRST_ANSWERS),
            backoff: Backoff::new(PAUSES),
            throttle: LogThrottle::new(REMINDER),
        }
    }

    async fn run(&mut self, mut updates: mpsc::Receiver<ListenerUpdate>) {
        let mut next_look = Instant::now();
        loop {
            tokio::select! {
                Some(update) = updates.recv() => self.receive(update),
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

    fn receive(&mut self, update: ListenerUpdate) {
        match update {
            ListenerUpdate::Connected => self.metrics.vault_connected(true),
            ListenerUpdate::Disconnected => self.metrics.vault_connected(false),
            // Changes from before the subscription included a path have no event.
            ListenerUpdate::Covers(paths) => {
                self.lookups.add(paths.difference(&self.covered).cloned());
                self.covered = paths;
            }
            ListenerUpdate::Changed(changes) => self.lookups.add_changes(changes, &self.paths.borrow()),
            // The listener is connected and does not report it again.
            ListenerUpdate::Subscribed(_) => {
                self.covered = Arc::default();
                self.metrics.vault_connected(true);
            }
        }
    }

    /// Adds the paths of new workloads.
    fn find_new_paths(&mut self) {
        let named = {
            let state = self.memory.lock();
            let changes = Some(state.catalog.path_changes());
            if std::mem::replace(&mut self.collected_at, changes) == changes {
                return;
            }
            state.catalog.paths()
        };
        let named: BTreeSet<SecretPath> = named.into_iter().filter_map(|path| path.try_into().ok()).collect();
        if named == **self.paths.borrow() {
            return;
        }
        self.lookups.add(named.difference(&self.paths.borrow()).cloned());
        self.lookups.retain(&named);
        self.failing.retain(|path| named.contains(path));
        self.paths.send_replace(Arc::new(named));
    }

    /// Sends a request, if one is due. Returns when to call again.
    async fn look_up(&mut self) -> Instant {
        let now = Instant::now();
        let (why, batch) = self.lookups.batch(&self.paths.borrow(), now);
        if batch.is_empty() {
            return now + LOOK;
        }
        let versions = self.client.versions(&batch).await;
        let seen_at = unix_seconds(SystemTime::now());
        let result = if versions.interrupted.is_some() { "failed" } else { "done" };
        self.metrics.vault_called(result);
        // If a batch ended early, only the rest is requested again; otherwise it would never complete under
        // a low rate limit.
        let rest: Vec<_> = batch.into_iter().filter(|path| !versions.found.contains_key(path)).collect();
        let mut named = BTreeMap::new();
        for (path, found) in versions.found {
            self.lookups.answered(&path, found.as_ref().ok().map(|version| version.number), Instant::now());
            match found {
                Ok(version) => {
                    self.failing.remove(&path);
                    let (version, ends) = converted(version);
                    self.memory
                        .change(|state| state.catalog.put_version(path.as_str(), version, ends, seen_at));
                }
                Err(error) => self.fail(&path, &error, &mut named),
            }
        }
        self.metrics.vault_secrets(self.paths.borrow().len(), self.failing.len());
        self.lookups.put_back(why, rest);
        if self.lookups.has_completed() {
            self.metrics.vault_complete(seen_at);
        }
        let Some(error) = versions.interrupted else {
            self.backoff.succeeded();
            if self.throttle.reset() {
                tracing::info!("ScaiVault answers again");
            }
            return Instant::now() + CALL_PAUSE;
        };
        self.backoff.failed(Instant::now(), error.retry());
        self.miss_first_answers(now);
        if self.throttle.is_due(now) {
            tracing::warn!(%error, "versions not read from ScaiVault, keeping those that are known");
        }
        Instant::now() + CALL_PAUSE
    }
}

impl Follower {
    /// Logs that ScaiVault returns no version of a secret. `named` counts the logged secrets of this call by
    /// namespace, so that those of one tenant do not hide the others.
    fn fail(&mut self, path: &SecretPath, error: &Error, named: &mut BTreeMap<Arc<str>, usize>) {
        let may_be_named = self.failing.insert(path.clone()) && named.values().sum::<usize>() < NAMED;
        let mut workload = None;
        self.memory.change(|state| {
            state.catalog.put_unreadable(path.as_str());
            if may_be_named {
                workload = state.catalog.workload_with(path.as_str()).cloned();
            }
        });
        let is_named = workload.as_ref().is_some_and(|workload| {
            let count = named.entry(Arc::clone(&workload.namespace)).or_default();
            let is_named = *count < NAMED_IN_NAMESPACE;
            *count += usize::from(is_named);
            is_named
        });
        if let Some(workload) = workload.filter(|_| is_named) {
            tracing::warn!(%path, %workload, %error, "version not read");
        } else {
            tracing::debug!(%path, %error, "version not read");
        }
    }

    /// Handles a failed request. If none has succeeded since the controller started, no version is known at
    /// all.
    fn miss_first_answers(&mut self, now: Instant) {
        if self.first_answers.take_if(|at| *at <= now).is_none() {
            return;
        }
        self.memory.change(|state| {
            self.paths.borrow().iter().for_each(|path| state.catalog.put_unreadable(path.as_str()));
        });
    }
}

fn converted(version: SecretVersion) -> (Version, Option<i64>) {
    let SecretVersion { number, created, previous_ends } = version;
    (Version::Numbered { time: unix_seconds(created), number }, previous_ends.map(unix_seconds))
}

#[cfg(test)]
mod tests;
