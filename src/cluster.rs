//! The cluster in which `serve` runs: its namespaces and service accounts, cached by watches, its
//! version, and the Events that are posted to it.

mod cache;
mod client;
mod events;
mod policies;
mod sharded_map;
mod version;

use std::{sync::Arc, time::SystemTime};

use jiff::Timestamp;

use k8s_openapi::api::core::v1 as core;
use kube::Client;
use scaivault_cluster::{
    ApiClock, Observer, key,
    policies::{InjectionPolicies, keep},
    unix_seconds,
};
use scaivault_inject::Namespace;
use scaivault_webhook::{
    AdmissionContext, Cluster, Gate, Lookup, Metrics, Policies, PolicyReview, PolicyUsage, Readiness,
};
use tokio::{sync::watch as channel, task::JoinSet};

pub(crate) use client::{SelectedCluster, client, named};
pub(crate) use events::{QUEUE, generate_name, host_name, post as post_events};
pub(crate) use version::{follow as follow_version, oldest as oldest_version};

use cache::{Cached, CachedKind};
use policies::{InjectorHost, PolicyMemory};
use sharded_map::ShardedMap;

/// What to watch in addition to namespaces and service accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// `InjectionPolicies` are applied.
    pub(crate) policies: bool,
    /// The namespaces that policies select are labelled.
    pub(crate) label_namespaces: bool,
}

/// The cache of the cluster's objects, kept up to date by the watches of [`follow`].
pub(crate) struct ClusterCache {
    namespaces: ShardedMap<Arc<Namespace>>,
    /// `scaikey.scailabs.ai/role` of every service account, including those without the annotation.
    roles: ShardedMap<Option<Arc<str>>>,
    /// `None` if policies are not watched.
    policies: Option<PolicyMemory>,
    features: Features,
    clock: ApiClock,
    changes: channel::Sender<()>,
}

impl ClusterCache {
    /// Creates an empty cache.
    pub(crate) fn new(features: Features) -> Arc<Self> {
        Arc::new(Self {
            namespaces: ShardedMap::new(),
            roles: ShardedMap::new(),
            policies: features.policies.then(PolicyMemory::new),
            features,
            clock: ApiClock::default(),
            changes: channel::channel(()).0,
        })
    }

    /// Wakes reviews that wait for an object.
    fn changed(&self) {
        self.changes.send_replace(());
    }
}

impl Cluster for ClusterCache {
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
            Some(set) => Lookup::Known(Policies { set, now: self.clock.now(SystemTime::now()) }),
            None => Lookup::Unknown,
        }
    }

    fn policies_used(&self, usage: &PolicyUsage<'_>) {
        if let Some(policies) = &self.policies {
            policies.count(usage, self.clock.now(SystemTime::now()));
        }
    }

    fn review_policy(&self, object: &str) -> PolicyReview {
        policies::review(object)
    }

    fn changes(&self) -> channel::Receiver<()> {
        self.changes.subscribe()
    }
}

/// Watches the cluster's namespaces, service accounts and policies for ever, in some of `tasks`;
/// readiness waits for the first list of each. Needs a tokio runtime.
pub(crate) fn follow(
    client: &Client,
    memory: &Arc<ClusterCache>,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
    tasks: &mut JoinSet<()>,
) {
    follow_kind::<core::Namespace>(client, memory, readiness, metrics, tasks);
    follow_kind::<core::ServiceAccount>(client, memory, readiness, metrics, tasks);
    if memory.policies.is_some() {
        follow_policies(client, memory, readiness, metrics, tasks);
    }
}

fn follow_kind<K: Cached>(
    client: &Client,
    memory: &Arc<ClusterCache>,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
    tasks: &mut JoinSet<()>,
) {
    let observer = WatchObserver::new(K::RESOURCE, memory, readiness.gate(K::GATE), metrics);
    tasks.spawn(scaivault_cluster::follow::<CachedKind<K>>(client.clone(), Arc::clone(memory), observer));
}

/// Watches policies.
fn follow_policies(
    client: &Client,
    memory: &Arc<ClusterCache>,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
    tasks: &mut JoinSet<()>,
) {
    let Some(policies) = &memory.policies else { return };
    let observer = WatchObserver::new(policies::PLURAL, memory, readiness.gate(policies::GATE), metrics);
    let cache = &policies.cache;
    tasks.spawn(scaivault_cluster::follow::<InjectionPolicies>(client.clone(), Arc::clone(cache), observer));
    let (memory, metrics) = (Arc::clone(memory), Arc::clone(metrics));
    let host = InjectorHost { memory, gate: readiness.gate("policies in force"), metrics };
    tasks.spawn(keep(client.clone(), Arc::clone(cache), host));
}

/// Handles the watch events of a kind: metrics, readiness and log.
struct WatchObserver {
    resource: &'static str,
    memory: Arc<ClusterCache>,
    gate: Gate,
    metrics: Arc<Metrics>,
}

impl WatchObserver {
    fn new(resource: &'static str, memory: &Arc<ClusterCache>, gate: Gate, metrics: &Arc<Metrics>) -> Self {
        Self { resource, memory: Arc::clone(memory), gate, metrics: Arc::clone(metrics) }
    }
}

impl Observer for WatchObserver {
    fn listed(&self, count: usize) {
        self.gate.open();
        self.changed(count);
    }

    fn changed(&self, count: usize) {
        self.metrics.watched_objects(self.resource, count);
    }

    fn down_since(&self, since: Option<SystemTime>) {
        self.metrics.watch_down_since(self.resource, since.map_or(0, unix_seconds));
    }

    fn created(&self, time: Timestamp, clock: SystemTime) -> bool {
        self.memory.clock.saw(time, clock)
    }

    fn if_missing(&self) -> &'static str {
        if self.resource == policies::PLURAL {
            policies::IF_MISSING
        } else {
            "check with `kubectl api-resources` whether the cluster serves this resource"
        }
    }
}

/// Writes the status of policies and the labels of the namespaces that they select, for ever, in
/// some of `tasks`.
pub(crate) fn report(
    client: &Client,
    memory: &Arc<ClusterCache>,
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
