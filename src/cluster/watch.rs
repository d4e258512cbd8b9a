//! One kind of object, watched into memory.

use std::{
    collections::HashSet,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::StreamExt as _;
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use scaivault_webhook::{Gate, Metrics, Readiness};
use tokio::time::{Instant, timeout};

use super::{
    Memory,
    client::{is_forbidden, reason},
    remembered::{Remembered, key},
};
use crate::serve::unix_seconds;

/// A watch that has not failed for so long works: the watcher tells failures but not that a retry has gone well, and
/// in a quiet cluster there is no other news for hours. It retries twice a minute at least.
const WORKS_AFTER: Duration = Duration::from_mins(2);

/// How often a log line says that a watch still fails.
const REMINDER: Duration = Duration::from_mins(5);

/// Objects in one page of a list. Their metadata comes whole, annotations of 256 KiB and `managedFields` included, and
/// a page stands in memory at once: a tenant may write large ones, so there are few on a page.
const PAGE_SIZE: u32 = 20;

/// Keeps all objects of one kind in memory, for ever. While the API server cannot be reached, what is in memory stays.
pub(super) fn follow<K: Remembered>(
    client: Client,
    memory: &Arc<Memory>,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
) -> impl Future<Output = ()> + Send + use<K> {
    let mut follower = Follower::<K>::new(Arc::clone(memory), readiness.gate(K::GATE), Arc::clone(metrics));
    async move {
        // Metadata alone: neither the API server nor we handle the rest.
        let api = Api::<PartialObjectMeta<K>>::all(client);
        let events = watcher(api, watcher::Config::default().page_size(PAGE_SIZE)).default_backoff();
        let mut events = pin!(events);
        loop {
            match timeout(WORKS_AFTER, events.next()).await {
                Ok(Some(Ok(event))) => follower.take(event),
                Ok(Some(Err(error))) => follower.fail(&error, Instant::now(), SystemTime::now()),
                // The watcher's stream has no end.
                Ok(None) => return,
                Err(_) => follower.works(),
            }
        }
    }
}

/// The events of one watch, taken into memory.
struct Follower<K: Remembered> {
    memory: Arc<Memory>,
    gate: Gate,
    metrics: Arc<Metrics>,
    /// During a list: the keys that it has so far.
    listed: HashSet<Arc<str>>,
    /// Set while the watch fails: when that was last said.
    told: Option<Instant>,
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<K: Remembered> Follower<K> {
    fn new(memory: Arc<Memory>, gate: Gate, metrics: Arc<Metrics>) -> Self {
        Self { memory, gate, metrics, listed: HashSet::new(), told: None, kind: std::marker::PhantomData }
    }

    fn take(&mut self, event: Event<PartialObjectMeta<K>>) {
        let table = K::table(&self.memory);
        match event {
            // Only the beginning of an attempt to list.
            Event::Init => {
                self.listed.clear();
                return;
            }
            Event::InitApply(object) => {
                let key = self.remember(object);
                self.listed.insert(key);
                return;
            }
            Event::InitDone => {
                table.retain(&std::mem::take(&mut self.listed));
                tracing::debug!(resource = K::RESOURCE, count = table.len(), "listed");
                self.gate.open();
            }
            Event::Apply(object) => {
                self.remember(object);
            }
            Event::Delete(object) => table.remove(&key(object.namespace().as_deref(), &object.name_any())),
        }
        self.metrics.watched_objects(K::RESOURCE, K::table(&self.memory).len());
        self.works();
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

    fn fail(&mut self, error: &watcher::Error, now: Instant, time: SystemTime) {
        // A version that the API server has forgotten: the next thing is a new list, as it is meant to be.
        if matches!(error, watcher::Error::WatchError(status) if status.code == 410) {
            tracing::debug!(resource = K::RESOURCE, "watch too old, listing again");
            return;
        }
        if self.told.is_none() {
            self.metrics.watch_down_since(K::RESOURCE, unix_seconds(time));
        }
        if self.told.is_none_or(|told| now.duration_since(told) >= REMINDER) {
            self.told = Some(now);
            let Complaint { verb, error, cure } = complaint(error);
            let resource = K::RESOURCE;
            tracing::warn!(resource, verb, error, cure, "watch fails, what is in memory stays");
        }
    }
}

/// What a person has to know of a failure.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    /// What was tried, as in RBAC rules.
    verb: &'static str,
    error: String,
    cure: &'static str,
}

fn complaint(error: &watcher::Error) -> Complaint {
    const WAIT: &str = "none needed if the API server comes back: it is tried again";
    const GRANT: &str =
        "grant the injector's service account list and watch on this resource in the whole cluster";
    let of = |verb, error: &kube::Error| {
        let cure = if is_forbidden(error) { GRANT } else { WAIT };
        Complaint { verb, error: reason(error), cure }
    };
    match error {
        watcher::Error::InitialListFailed(error) => of("list", error),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => of("watch", error),
        watcher::Error::WatchError(status) => of("watch", &kube::Error::Api(status.clone())),
        watcher::Error::NoResourceVersion => Complaint { verb: "list", error: error.to_string(), cure: WAIT },
    }
}

#[cfg(test)]
mod tests;
