//! The cluster that `serve` runs in: its namespaces and service accounts, watched into memory, its version, and the
//! Events that are posted to it.

mod client;
mod events;
mod list;
mod policies;
mod remembered;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod version;
mod watch;
mod watched;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::SystemTime,
};

use jiff::Timestamp;

use k8s_openapi::api::core::v1 as core;
use kube::Client;
use scaivault_inject::Namespace;
use scaivault_webhook::{
    AdmissionContext, Cluster, Lookup, Metrics, Policies, PolicyReview, PolicyUsage, Readiness,
};
use tokio::{sync::watch as channel, task::JoinSet};

use crate::serve::unix_seconds;

pub(crate) use client::{Named, client, is_forbidden, named, reason};
pub(crate) use events::{QUEUE, post as post_events};
pub(crate) use list::{Content, ListEnd, Page, page_of_items};
pub(crate) use version::{follow as follow_version, oldest as oldest_version};

use policies::{InjectionPolicies, PolicyMemory};
use remembered::key;
use table::Table;

/// How far the clocks of the API server and of this replica may be apart before the log says so, seconds.
const CLOCK_TOLERANCE: i64 = 5 * 60;

/// What of the cluster is followed besides namespaces and service accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// `InjectionPolicies` are in force.
    pub(crate) policies: bool,
    /// The namespaces that they select are labelled.
    pub(crate) label_namespaces: bool,
}

/// What is known of the cluster. Kept up to date by the watches of [`follow`].
pub(crate) struct Memory {
    namespaces: Table<Arc<Namespace>>,
    /// `scaikey.scailabs.ai/role` of every service account, also of those without.
    roles: Table<Option<Arc<str>>>,
    /// Without policies: none.
    policies: Option<PolicyMemory>,
    features: Features,
    /// The newest time that the API server has written, Unix seconds: a clock that is behind it is wrong.
    newest: AtomicI64,
    changes: channel::Sender<()>,
}

impl Memory {
    /// Nothing is known yet.
    pub(crate) fn new(features: Features) -> Arc<Self> {
        Arc::new(Self {
            namespaces: Table::new(),
            roles: Table::new(),
            policies: features.policies.then(PolicyMemory::new),
            features,
            newest: AtomicI64::new(0),
            changes: channel::channel(()).0,
        })
    }

    /// The API server has written this time. True for the first one that is further ahead of this clock than clocks should differ.
    fn saw(&self, time: Timestamp, clock: SystemTime) -> bool {
        let (time, latest) = (time.as_second(), unix_seconds(clock).saturating_add(CLOCK_TOLERANCE));
        let former = self.newest.fetch_max(time, Ordering::Relaxed);
        former <= latest && latest < time
    }

    /// The time, Unix seconds. Where the clock is behind what the API server has written, that: an exception must not outlive its
    /// date because of a wrong clock.
    fn now(&self, clock: SystemTime) -> i64 {
        unix_seconds(clock).max(self.newest.load(Ordering::Relaxed))
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

    fn has_policies(&self) -> bool {
        self.policies.is_some()
    }

    fn policies(&self) -> Lookup<Policies> {
        let Some(policies) = &self.policies else { return Lookup::Known(Policies::none()) };
        match policies.in_force() {
            Some(set) => Lookup::Known(Policies { set, now: self.now(SystemTime::now()) }),
            None => Lookup::Unknown,
        }
    }

    fn policies_used(&self, usage: &PolicyUsage<'_>) {
        if let Some(policies) = &self.policies {
            policies.count(usage, self.now(SystemTime::now()));
        }
    }

    fn review_policy(&self, object: &str) -> PolicyReview {
        policies::review(object)
    }

    fn changes(&self) -> channel::Receiver<()> {
        self.changes.subscribe()
    }
}

/// Follows the cluster's namespaces, service accounts and policies for ever, in some of `tasks`; readiness waits for the first list
/// of each. Needs a tokio runtime.
pub(crate) fn follow(
    client: &Client,
    memory: &Arc<Memory>,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
    tasks: &mut JoinSet<()>,
) {
    tasks.spawn(watch::follow::<core::Namespace>(client.clone(), memory, readiness, metrics));
    tasks.spawn(watch::follow::<core::ServiceAccount>(client.clone(), memory, readiness, metrics));
    if memory.policies.is_some() {
        follow_policies(client, memory, readiness, metrics, tasks);
    }
}

/// Follows policies alone.
fn follow_policies(
    client: &Client,
    memory: &Arc<Memory>,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
    tasks: &mut JoinSet<()>,
) {
    tasks.spawn(watch::follow::<InjectionPolicies>(client.clone(), memory, readiness, metrics));
    let gate = readiness.gate("policies in force");
    tasks.spawn(policies::keep(client.clone(), Arc::clone(memory), gate, Arc::clone(metrics)));
}

/// Writes the status of policies, and the labels of namespaces that they select, for ever, in some of `tasks`.
pub(crate) fn report(
    client: &Client,
    memory: &Arc<Memory>,
    features: Features,
    context: &Arc<AdmissionContext>,
    metrics: &Arc<Metrics>,
    tasks: &mut JoinSet<()>,
) {
    if features.policies {
        tasks.spawn(policies::report_status(
            client.clone(),
            Arc::clone(memory),
            Arc::clone(context),
            Arc::clone(metrics),
        ));
    }
    if features.label_namespaces {
        tasks.spawn(policies::label_namespaces(
            client.clone(),
            Arc::clone(memory),
            Arc::clone(context),
            Arc::clone(metrics),
        ));
    }
}
