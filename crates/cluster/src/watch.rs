//! Watches one kind of object and caches it: one list in pages, then watches that resume where the
//! last one ended. It is listed again only if the API server no longer has the version to resume
//! from (`410 Gone`).

mod backoff;

use std::{collections::HashSet, marker::PhantomData, pin::pin, sync::Arc, time::SystemTime};

use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use kube::{
    Client,
    api::{ListParams, WatchParams},
    core::{ObjectMeta, Request, Status, WatchEvent},
};
use tokio::time::{Duration, Instant};

use crate::{
    client::{RETRIED, is_forbidden, reason},
    list::{self, Page},
    watched::Watched,
};
use backoff::Backoff;

/// How often a log line says that the watch is still failing.
const REMINDER: Duration = Duration::from_mins(5);

/// Objects per page of a list, the default of client-go.
const PAGE_SIZE: u32 = 500;

/// A watch that ends sooner than this without an event counts as failed: the API server ends
/// watches after minutes.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// Callbacks to the process that hosts a watch: readiness, metrics and logging.
pub trait Observer: Send + Sync + 'static {
    /// A list of all objects starts.
    fn lists(&self) {}

    /// All objects were listed; this many are cached.
    fn listed(&self, _count: usize) {}

    /// The number of cached objects changed.
    fn changed(&self, _count: usize) {}

    /// Since when lists and watches are failing; `None` if they work.
    fn down_since(&self, _since: Option<SystemTime>) {}

    /// An object was created at this time, by the API server's clock. Returns true for the first
    /// time that is ahead of `clock` by more than the tolerance.
    fn created(&self, time: Timestamp, clock: SystemTime) -> bool;

    /// The API server does not serve the resource. Returns true if the process can run without it;
    /// then no failure is logged.
    fn missing(&self) -> bool {
        false
    }

    /// The fix to log if the API server does not know the resource.
    fn if_missing(&self) -> &'static str {
        "check with `kubectl api-resources` whether the cluster serves this resource"
    }
}

/// Keeps a cache of all objects of one kind. Never returns. While the API server is unreachable,
/// the cache stays as it is.
pub fn follow<K: Watched>(
    client: Client,
    memory: Arc<K::Memory>,
    observer: impl Observer,
) -> impl Future<Output = ()> + Send {
    Follower::<K>::new(memory, Box::new(observer), Backoff::default()).run(client)
}

/// Applies lists and watches to the cache.
struct Follower<K: Watched> {
    memory: Arc<K::Memory>,
    observer: Box<dyn Observer>,
    backoff: Backoff,
    /// While the watch fails: when the log last said so.
    reported_at: Option<Instant>,
    kind: PhantomData<fn() -> K>,
}

/// Why a watch ended.
enum End {
    /// The API server closed it, which it does from time to time.
    Closed,
    /// The version to resume from no longer exists.
    Gone,
    Failed(kube::Error),
}

impl<K: Watched> Follower<K> {
    fn new(memory: Arc<K::Memory>, observer: Box<dyn Observer>, backoff: Backoff) -> Self {
        Self { memory, observer, backoff, reported_at: None, kind: PhantomData }
    }

    async fn run(mut self, client: Client) {
        loop {
            let version = self.list(&client).await;
            self.watch(&client, version).await;
            // With jitter, so that processes on many nodes do not list at the same time.
            self.backoff.pause(None).await;
        }
    }

    /// Lists all objects, retrying until it succeeds, and returns the version from which a watch
    /// continues. Deleted objects stay cached until the list is complete.
    async fn list(&mut self, client: &Client) -> String {
        let mut params = ListParams { limit: Some(PAGE_SIZE), ..list_params::<K>(&self.memory) };
        let mut listed = HashSet::new();
        self.observer.lists();
        loop {
            let page = list::page::<K>(client, &params, |object| {
                listed.insert(self.put(object));
            });
            match page.await {
                Ok(Page::Continues(token)) => params.continue_token = Some(token),
                Ok(Page::Last { resource_version }) => {
                    self.finish_list(&listed);
                    return resource_version;
                }
                // The list took longer than the API server keeps a version. Like client-go, fall
                // back to a list without pages.
                Err(error) if is_gone(&error) && params.continue_token.is_some() => {
                    tracing::debug!(resource = K::RESOURCE, "continue token expired, listing without pages");
                    listed.clear();
                    self.observer.lists();
                    params = list_params::<K>(&self.memory);
                }
                // Retry the same page; the earlier ones need not be requested again.
                Err(error) => self.fail_and_pause("list", &error).await,
            }
        }
    }

    fn finish_list(&mut self, listed: &HashSet<Arc<str>>) {
        K::finish_list(&self.memory, listed);
        let count = K::count(&self.memory);
        tracing::debug!(resource = K::RESOURCE, count, "listed");
        self.observer.listed(count);
        self.works();
    }

    /// Watches from this version until it is gone.
    async fn watch(&mut self, client: &Client, mut version: String) {
        loop {
            let (started, before) = (Instant::now(), version.clone());
            let end = match watch::<K>(client, &self.memory, &version).await {
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

    /// Applies the events of a watch; `version` is updated with each event.
    async fn take_all(
        &mut self,
        events: impl Stream<Item = kube::Result<WatchEvent<K::Item>>>,
        version: &mut String,
    ) -> End {
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            let seen = match event {
                Ok(WatchEvent::Bookmark(bookmark)) => Some(bookmark.metadata.resource_version),
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    let seen = K::metadata(&object).resource_version.clone();
                    self.put(object);
                    seen
                }
                Ok(WatchEvent::Deleted(object)) => {
                    let metadata = K::metadata(&object);
                    K::remove(&self.memory, &key_of(metadata));
                    metadata.resource_version.clone()
                }
                Ok(WatchEvent::Error(status)) if is_gone_status(&status) => return End::Gone,
                Ok(WatchEvent::Error(status)) => return End::Failed(kube::Error::Api(status)),
                Err(error) if is_gone(&error) => return End::Gone,
                Err(error) => return End::Failed(error),
            };
            if let Some(seen) = seen.filter(|seen| !seen.is_empty()) {
                *version = seen;
            }
            self.observer.changed(K::count(&self.memory));
        }
        End::Closed
    }

    fn put(&self, object: K::Item) -> Arc<str> {
        let metadata = K::metadata(&object);
        let key = key_of(metadata);
        if let Some(created) = &metadata.creation_timestamp
            && self.observer.created(created.0, SystemTime::now())
        {
            tracing::warn!(
                resource = K::RESOURCE, object = &*key, created = %created.0,
                fix = "set the clock of this node; if the clock of the API server was ahead, make the object again and restart this process",
                "an object was created in the future: exceptions of policies end by its time"
            );
        }
        K::put(&self.memory, &key, object);
        key
    }

    fn works(&mut self) {
        if self.reported_at.take().is_some() {
            self.observer.down_since(None);
            tracing::info!(resource = K::RESOURCE, "watch works again");
        }
    }

    async fn fail_and_pause(&mut self, verb: &'static str, error: &kube::Error) {
        self.fail(verb, error, Instant::now(), SystemTime::now());
        self.backoff.pause(retry_after(error)).await;
    }

    fn fail(&mut self, verb: &'static str, error: &kube::Error, now: Instant, time: SystemTime) {
        if is_missing(error) && self.observer.missing() {
            // If it was down before, the API server answers again.
            self.works();
            return;
        }
        if self.reported_at.is_none() {
            self.observer.down_since(Some(time));
        }
        if self.reported_at.is_none_or(|reported_at| now.duration_since(reported_at) >= REMINDER) {
            self.reported_at = Some(now);
            let (resource, fix) = (K::RESOURCE, fix(error, self.observer.if_missing()));
            tracing::warn!(
                resource,
                verb,
                error = reason(error),
                fix,
                "watch of the Kubernetes API failed, keeping the cached objects"
            );
        }
    }
}

/// Requests all changes after this version.
async fn watch<K: Watched>(
    client: &Client,
    memory: &K::Memory,
    version: &str,
) -> kube::Result<impl Stream<Item = kube::Result<WatchEvent<K::Item>>> + use<K>> {
    let (request, mut params) = (Request::new(K::url_path()), WatchParams::default());
    params.field_selector = K::field_selector(memory).map(str::to_owned);
    let request = if K::IS_METADATA {
        request.watch_metadata(&params, version)
    } else {
        request.watch(&params, version)
    };
    client.request_events::<K::Item>(request.map_err(kube::Error::BuildRequest)?).await
}

fn list_params<K: Watched>(memory: &K::Memory) -> ListParams {
    ListParams { field_selector: K::field_selector(memory).map(str::to_owned), ..ListParams::default() }
}

fn key_of(metadata: &ObjectMeta) -> Arc<str> {
    key(metadata.namespace.as_deref(), metadata.name.as_deref().unwrap_or_default())
}

/// The key of an object in its cache. Neither part can contain a slash.
pub fn key(namespace: Option<&str>, name: &str) -> Arc<str> {
    match namespace {
        None => name.into(),
        Some(namespace) => format!("{namespace}/{name}").into(),
    }
}

/// Whether the API server does not serve the resource.
fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether a version or a continue token has expired.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if is_gone_status(status))
}

fn is_gone_status(status: &Status) -> bool {
    status.code == 410
}

/// How long the API server asks to wait (`retryAfterSeconds`), for example when it throttles (429).
fn retry_after(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    Some(Duration::from_secs(seconds.into()))
}

/// The fix to log for a failure.
fn fix(error: &kube::Error, if_missing: &'static str) -> &'static str {
    if is_missing(error) {
        if_missing
    } else if is_forbidden(error) {
        "grant the service account of this process list and watch on this resource in the whole cluster"
    } else {
        RETRIED
    }
}

#[cfg(test)]
mod tests;
