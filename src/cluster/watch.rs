//! One kind of object, watched into memory: listed once, in pages, then followed by watches that go on where the last one ended.
//! It is listed anew only if the API server no longer has the version to go on from (`410 Gone`).

mod backoff;

use std::{collections::HashSet, marker::PhantomData, pin::pin, sync::Arc, time::SystemTime};

use futures_util::{Stream, StreamExt as _};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, WatchParams},
    core::{PartialObjectMeta, Status, WatchEvent},
};
use scaivault_webhook::{Gate, Metrics, Readiness};
use tokio::time::{Duration, Instant};

use super::{
    Memory,
    client::{is_forbidden, reason},
    list::{self, Page},
    remembered::{Remembered, key},
};
use crate::serve::unix_seconds;
use backoff::Backoff;

/// How often a log line says that a watch still fails.
const REMINDER: Duration = Duration::from_mins(5);

/// Objects in one page of a list, as many as client-go asks for.
const PAGE_SIZE: u32 = 500;

/// A watch that ends sooner than this and brought nothing counts as failed: the API server ends one after minutes.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// Keeps all objects of one kind in memory, for ever. While the API server cannot be reached, what is in memory stays.
pub(super) fn follow<K: Remembered>(
    client: Client,
    memory: &Arc<Memory>,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
) -> impl Future<Output = ()> + Send + use<K> {
    let gate = readiness.gate(K::GATE);
    Follower::<K>::new(Arc::clone(memory), gate, Arc::clone(metrics), Backoff::default()).run(client)
}

/// Takes lists and watches into memory.
struct Follower<K: Remembered> {
    memory: Arc<Memory>,
    gate: Gate,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    /// Set while the watch fails: when that was last said.
    told: Option<Instant>,
    kind: PhantomData<fn() -> K>,
}

/// Why a watch ended.
enum End {
    /// As the API server ends it now and then.
    Closed,
    /// The version to go on from is no longer there.
    Gone,
    Failed(kube::Error),
}

impl<K: Remembered> Follower<K> {
    fn new(memory: Arc<Memory>, gate: Gate, metrics: Arc<Metrics>, backoff: Backoff) -> Self {
        Self { memory, gate, metrics, backoff, told: None, kind: PhantomData }
    }

    async fn run(mut self, client: Client) {
        loop {
            let version = self.list(&client).await;
            self.watch(&client, version).await;
            // The replicas of the injector should not list all at once.
            self.backoff.pause(None).await;
        }
    }

    /// Lists everything, however often that takes, and gives the version from which a watch goes on. What is in memory stays
    /// until the list is complete.
    async fn list(&mut self, client: &Client) -> String {
        let mut params = ListParams::default().limit(PAGE_SIZE);
        let mut listed = HashSet::new();
        loop {
            let page = list::page(client, &params, |object| {
                listed.insert(self.remember(object));
            });
            match page.await {
                Ok(Page::Continues(token)) => params.continue_token = Some(token),
                Ok(Page::Last { resource_version }) => {
                    self.finish_list(&listed);
                    return resource_version;
                }
                // The pages took longer than the API server keeps a version. Like client-go, ask for all at once.
                Err(error) if is_gone(&error) && params.continue_token.is_some() => {
                    tracing::debug!(resource = K::RESOURCE, "continue token expired, listing without pages");
                    listed.clear();
                    params = ListParams::default();
                }
                // The same page again: those before it need not be asked for twice.
                Err(error) => self.fail_and_pause("list", &error).await,
            }
        }
    }

    fn finish_list(&mut self, listed: &HashSet<Arc<str>>) {
        let table = K::table(&self.memory);
        table.retain(listed);
        tracing::debug!(resource = K::RESOURCE, count = table.len(), "listed");
        self.gate.open();
        self.metrics.watched_objects(K::RESOURCE, table.len());
        self.works();
    }

    /// Watches from this version on, until it is gone.
    async fn watch(&mut self, client: &Client, mut version: String) {
        // Metadata alone: neither the API server nor we handle the rest.
        let api = Api::<K>::all(client.clone());
        loop {
            let (started, before) = (Instant::now(), version.clone());
            let end = match api.watch_metadata(&WatchParams::default(), &version).await {
                Ok(events) => {
                    self.works();
                    self.take_all(events, &mut version).await
                }
                Err(error) if is_gone(&error) => End::Gone,
                Err(error) => End::Failed(error),
            };
            let is_short = version == before && started.elapsed() < SHORTEST_WATCH;
            if !is_short {
                self.backoff.reset();
            }
            match end {
                End::Gone => {
                    tracing::debug!(resource = K::RESOURCE, version, "version gone, listing again");
                    return;
                }
                End::Failed(error) => self.fail_and_pause("watch", &error).await,
                End::Closed if is_short => self.backoff.pause(None).await,
                End::Closed => {}
            }
        }
    }

    /// Takes in what a watch brings; `version` follows it.
    async fn take_all(
        &mut self,
        events: impl Stream<Item = kube::Result<WatchEvent<PartialObjectMeta<K>>>>,
        version: &mut String,
    ) -> End {
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            let seen = match event {
                Ok(WatchEvent::Bookmark(bookmark)) => Some(bookmark.metadata.resource_version),
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    let seen = object.resource_version();
                    self.remember(object);
                    seen
                }
                Ok(WatchEvent::Deleted(object)) => {
                    K::table(&self.memory).remove(&key(object.namespace().as_deref(), &object.name_any()));
                    object.resource_version()
                }
                Ok(WatchEvent::Error(status)) if is_gone_status(&status) => return End::Gone,
                Ok(WatchEvent::Error(status)) => return End::Failed(kube::Error::Api(status)),
                Err(error) if is_gone(&error) => return End::Gone,
                Err(error) => return End::Failed(error),
            };
            if let Some(seen) = seen.filter(|seen| !seen.is_empty()) {
                *version = seen;
            }
            self.metrics.watched_objects(K::RESOURCE, K::table(&self.memory).len());
        }
        End::Closed
    }

    fn remember(&self, object: PartialObjectMeta<K>) -> Arc<str> {
        let key =
            key(object.metadata.namespace.as_deref(), object.metadata.name.as_deref().unwrap_or_default());
        if K::table(&self.memory).insert(&key, K::kept(object.metadata)) {
            self.memory.changed();
        }
        key
    }

    fn works(&mut self) {
        if self.told.take().is_some() {
            self.metrics.watch_down_since(K::RESOURCE, 0);
            tracing::info!(resource = K::RESOURCE, "watch works again");
        }
    }

    async fn fail_and_pause(&mut self, verb: &'static str, error: &kube::Error) {
        self.fail(verb, error, Instant::now(), SystemTime::now());
        self.backoff.pause(retry_after(error)).await;
    }

    fn fail(&mut self, verb: &'static str, error: &kube::Error, now: Instant, time: SystemTime) {
        if self.told.is_none() {
            self.metrics.watch_down_since(K::RESOURCE, unix_seconds(time));
        }
        if self.told.is_none_or(|told| now.duration_since(told) >= REMINDER) {
            self.told = Some(now);
            let (resource, cure) = (K::RESOURCE, cure(error));
            tracing::warn!(
                resource,
                verb,
                error = reason(error),
                cure,
                "the Kubernetes API cannot be followed, keeping the cached objects"
            );
        }
    }
}

/// Whether a version or a continue token is no longer there.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if is_gone_status(status))
}

fn is_gone_status(status: &Status) -> bool {
    status.code == 410
}

/// How long the API server asks to wait, which it does where it is overloaded (429).
fn retry_after(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    Some(Duration::from_secs(seconds.into()))
}

/// What a person can do about a failure.
fn cure(error: &kube::Error) -> &'static str {
    if is_forbidden(error) {
        "grant the injector's service account list and watch on this resource in the whole cluster"
    } else {
        "none needed if the API server comes back: it is tried again"
    }
}

#[cfg(test)]
mod tests;
