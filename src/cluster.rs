//! The cluster that `serve` runs in: its namespaces and service accounts, watched into memory, its version, and the
//! Events that are posted to it.

mod client;
mod events;
mod list;
mod remembered;
mod table;
#[cfg(test)]
mod testing;
mod version;
mod watch;

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use kube::Client;
use scaivault_inject::Namespace;
use scaivault_webhook::{Cluster, Lookup, Metrics, Readiness};
use tokio::{sync::watch as channel, task::JoinSet};

pub(crate) use client::client;
pub(crate) use events::{QUEUE, post as post_events};
pub(crate) use version::follow as follow_version;

use remembered::key;
use table::Table;

/// What is known of the cluster. Kept up to date by the watches of [`follow`].
pub(crate) struct Memory {
    namespaces: Table<Arc<Namespace>>,
    /// `scaikey.scailabs.ai/role` of every service account, also of those without.
    roles: Table<Option<Arc<str>>>,
    changes: channel::Sender<()>,
}

impl Memory {
    /// Nothing is known yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { namespaces: Table::new(), roles: Table::new(), changes: channel::channel(()).0 })
    }

    /// Tells those who wait for something that they should look again.
    fn changed(&self) {
        self.changes.send_replace(());
    }
}

impl Cluster for Memory {
    fn namespace(&self, name: &str) -> Lookup<Arc<Namespace>> {
        self.namespaces.get(name).map_or(Lookup::Unknown, Lookup::Known)
    }

    fn service_account_role(&self, namespace: &str, service_account: &str) -> Lookup<Option<Arc<str>>> {
        self.roles.get(&key(Some(namespace), service_account)).map_or(Lookup::Unknown, Lookup::Known)
    }

    fn changes(&self) -> channel::Receiver<()> {
        self.changes.subscribe()
    }
}

/// Follows the cluster's namespaces and service accounts for ever, in two of `tasks`; readiness waits for both. Needs a
/// tokio runtime.
pub(crate) fn follow(
    client: &Client,
    memory: &Arc<Memory>,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
    tasks: &mut JoinSet<()>,
) {
    tasks.spawn(watch::follow::<core::Namespace>(client.clone(), memory, readiness, metrics));
    tasks.spawn(watch::follow::<core::ServiceAccount>(client.clone(), memory, readiness, metrics));
}
