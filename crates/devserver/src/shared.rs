//! The state shared by requests, tests and the admin port.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::{clock::Clock, postgres::Databases, refetch::Refetch, route::Route, vault::Vault};

pub(crate) struct Shared {
    vault: Mutex<Vault>,
    /// `None` if the keys are constant.
    refetch: Option<Refetch>,
    clock: Clock,
    /// Notified when subscribers may have new events.
    published: Notify,
    /// The databases of the engines that have one.
    databases: Databases,
    /// Notified when a lease may end earlier than the others.
    leases_changed: Notify,
    requests: watch::Sender<BTreeMap<Route, u64>>,
    is_ready: AtomicBool,
}

impl Shared {
    pub(crate) fn new(vault: Vault, databases: Databases) -> Self {
        Self {
            refetch: vault.keys.url().map(Refetch::new),
            vault: Mutex::new(vault),
            clock: Clock::default(),
            published: Notify::new(),
            databases,
            leases_changed: Notify::new(),
            requests: watch::Sender::default(),
            is_ready: AtomicBool::new(true),
        }
    }

    pub(crate) fn vault(&self) -> MutexGuard<'_, Vault> {
        self.vault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn refetch(&self) -> Option<&Refetch> {
        self.refetch.as_ref()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Advances the time by whole seconds.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.leases_changed.notify_one();
    }

    pub(crate) fn published(&self) -> &Notify {
        &self.published
    }

    pub(crate) fn databases(&self) -> &Databases {
        &self.databases
    }

    pub(crate) fn leases_changed(&self) -> &Notify {
        &self.leases_changed
    }

    pub(crate) fn count(&self, route: Route) {
        self.requests.send_modify(|requests| *requests.entry(route).or_default() += 1);
    }

    pub(crate) fn requests(&self) -> watch::Receiver<BTreeMap<Route, u64>> {
        self.requests.subscribe()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }
}
