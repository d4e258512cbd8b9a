//! `restarter`: restarts workloads after rotations of their secrets. `scaivault_restarter` decides; this
//! module supplies the state of the cluster and of ScaiVault, and executes the steps.
//!
//! ```text
//! watches, versions -> Memory (Catalog) -> decide -> Writer: patch of the template, RotationRollout
//! ```

mod args;
mod controller;
mod events;
mod kinds;
mod lease;
mod lookups;
mod memory;
mod metrics;
mod ops;
mod reader;
mod release;
mod vault;
mod writer;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use kube::Client;
use scaivault_certs::CheckResult;
use scaivault_cluster::{
    follow,
    policies::{InjectionPolicies, PolicyCache, keep},
};
use scaivault_ops_thread::OpsThread;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

pub(crate) use args::{HELP, RestarterArgs};
pub(crate) use release::{HELP as RESTART_HELP, RestartArgs, run as release};

use crate::{cluster, config::Follower, runtime, serve::Signals};
use controller::Controller;
use kinds::{
    Cataloged, ClassStatuses, Classes, DaemonSets, Deployments, NAMESPACES, Namespaces, Objects, POLICIES,
    Pods, PolicyHost, Records, Rollouts, Secrets, StatefulSets, WatchObserver,
};
use lease::Candidate;
use memory::Memory;
use metrics::Metrics;
use writer::Writer;

/// How often to check whether the first lists are complete.
const LISTED_INTERVAL: Duration = Duration::from_millis(100);
/// The resources that must be listed before workloads are read.
const FIRST: [&str; 2] = [NAMESPACES, POLICIES];
/// How long the release of the Lease may take.
const RELEASE: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(args: &RestarterArgs) -> anyhow::Result<()> {
    runtime::serve(2, serve(args))
}

async fn serve(args: &RestarterArgs) -> anyhow::Result<()> {
    let settings = args.settings()?;
    let vault = args.vault.vault(args.dry_run)?.map(Arc::new);
    let (config, injector_settings) = Follower::new(args.config.config.clone(), args.namespace.clone())?;
    let client = cluster::client().await?;
    let ops_thread = OpsThread::start().context("cannot start the thread of the probes")?;
    let listener = ops_thread.handle().spawn(TcpListener::bind(args.ops_listen)).await;
    let listener = listener
        .context("cannot listen")?
        .with_context(|| format!("cannot listen at {} (--ops-listen)", args.ops_listen))?;
    let ops_address = listener.local_addr().context("cannot listen")?;
    let mut signals = Signals::install()?;

    let policies = args.policies.then(PolicyCache::new);
    let memory = Memory::new(args.defaults(), injector_settings, policies.clone());
    let metrics = Arc::new(Metrics::default());
    let mut tasks = JoinSet::new();
    let watches =
        Watches { client: client.clone(), memory: Arc::clone(&memory), metrics: Arc::clone(&metrics) };
    watches.start(policies, args.native_secrets, &mut tasks);
    tasks.spawn(reader::run(client.clone(), Arc::clone(&memory)));
    tasks.spawn(follow_config(config, Arc::clone(&memory)));
    let mut probes = JoinSet::new();
    probes.spawn_on(ops::serve(listener, Arc::clone(&memory), Arc::clone(&metrics)), ops_thread.handle());

    let identity = identity();
    let (leads, leading) = watch::channel(false);
    let (stop, stopping) = watch::channel(false);
    let mut candidate = JoinSet::new();
    match args.lease().filter(|_| !args.dry_run) {
        Some((namespace, name)) => {
            let lease = Candidate::new(client.clone(), namespace, name, identity.clone());
            candidate.spawn(lease.run(leads, stopping));
        }
        // A dry run writes nothing, not even a Lease.
        None => drop(candidate.spawn(async move {
            leads.send_replace(true);
            leads.closed().await;
        })),
    }
    tasks.spawn(follow_leadership(leading.clone(), Arc::clone(&metrics)));
    if let Some(vault) = vault {
        let owner =
            args.lease().map_or_else(String::new, |(namespace, lease)| format!("{namespace}/{lease}"));
        let (memory, metrics) = (Arc::clone(&memory), Arc::clone(&metrics));
        tasks.spawn(follow_vault(leading.clone(), vault, owner, memory, metrics));
    }
    let (events, receiver) = mpsc::channel(events::QUEUE);
    tasks.spawn(events::post(client.clone(), identity, receiver, Arc::clone(&metrics)));
    let writer = Writer::new(client, Arc::clone(&memory), Arc::clone(&metrics), events);
    tasks.spawn(Controller::new(memory, metrics, settings, writer).run(leading));
    tracing::info!(%ops_address, dry_run = args.dry_run, "listening");
    tokio::select! {
        () = signals.next() => {}
        _ = tasks.join_next() => bail!("a task of the restarter has ended; this is a bug"),
        _ = probes.join_next() => bail!("the ops port has failed; this is a bug"),
    }
    tracing::info!("stopping");
    stop.send_replace(true);
    tasks.shutdown().await;
    // Releases the Lease, so that the next leader does not have to wait until it expires.
    let _ = timeout(RELEASE, candidate.join_next()).await;
    Ok(())
}

/// The parameters of the watches.
struct Watches {
    client: Client,
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
}

impl Watches {
    /// Starts all watches. Namespaces and policies are listed first, because the secrets of a template depend
    /// on them.
    fn start(&self, policies: Option<Arc<PolicyCache>>, has_secrets: bool, tasks: &mut JoinSet<()>) {
        let Self { client, memory, .. } = self;
        memory.expect(NAMESPACES);
        let observer = self.observer(NAMESPACES, false);
        tasks.spawn(follow::<Namespaces>(client.clone(), Arc::clone(memory), observer));
        if let Some(cache) = policies {
            memory.expect(POLICIES);
            let observer = self.observer(POLICIES, true);
            tasks.spawn(follow::<InjectionPolicies>(client.clone(), Arc::clone(&cache), observer));
            tasks.spawn(keep(client.clone(), cache, PolicyHost(Arc::clone(memory))));
        }
        let mut others = JoinSet::new();
        self.follow::<Deployments>(false, &mut others);
        self.follow::<StatefulSets>(false, &mut others);
        self.follow::<DaemonSets>(false, &mut others);
        self.follow::<Rollouts>(true, &mut others);
        self.follow::<Pods>(false, &mut others);
        self.follow::<Classes>(true, &mut others);
        self.follow::<ClassStatuses>(true, &mut others);
        self.follow::<Records>(false, &mut others);
        if has_secrets {
            self.follow::<Secrets>(false, &mut others);
        }
        tasks.spawn(async move { drop(others.join_all().await) });
    }

    fn follow<K: Cataloged>(&self, is_optional: bool, tasks: &mut JoinSet<()>) {
        let (client, memory) = (self.client.clone(), Arc::clone(&self.memory));
        let observer = self.observer(K::RESOURCE, is_optional);
        memory.expect(K::RESOURCE);
        tasks.spawn(async move {
            until_listed(&memory, &FIRST).await;
            follow::<Objects<K>>(client, memory, observer).await;
        });
    }

    fn observer(&self, resource: &'static str, is_optional: bool) -> WatchObserver {
        let (memory, metrics) = (Arc::clone(&self.memory), Arc::clone(&self.metrics));
        WatchObserver { resource, memory, metrics, is_optional }
    }
}

/// Waits until these resources are listed.
async fn until_listed(memory: &Memory, resources: &[&'static str]) {
    while memory.is_waiting_for_any(resources) {
        sleep(LISTED_INTERVAL).await;
    }
}

/// Exports leadership as a metric.
async fn follow_leadership(mut leading: watch::Receiver<bool>, metrics: Arc<Metrics>) {
    loop {
        metrics.leads(*leading.borrow_and_update());
        if leading.changed().await.is_err() {
            return;
        }
    }
}

/// Reads versions from ScaiVault while this replica leads. The subscription is named after the cluster and
/// the Lease, so that the next leader continues it and no other cluster does.
async fn follow_vault(
    mut leading: watch::Receiver<bool>,
    vault: Arc<args::Vault>,
    owner: String,
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
) {
    until_listed(&memory, &[NAMESPACES]).await;
    let cluster = memory.lock().cluster().to_owned();
    let name = format!("scaivault-restarter/{cluster}/{owner}");
    while leading.wait_for(|leads| *leads).await.is_ok() {
        tokio::select! {
            () = vault::follow(Arc::clone(&vault), name.clone(), Arc::clone(&memory), Arc::clone(&metrics)) => {}
            _ = leading.wait_for(|leads| !*leads) => {}
        }
    }
}

/// Reloads the injector's configuration file when it changes.
async fn follow_config(config: Follower, memory: Arc<Memory>) {
    let take = |config: &mut Follower| match config.check() {
        CheckResult::Unchanged => {}
        CheckResult::Replaced(settings) => {
            tracing::info!("configuration replaced");
            memory.settings_changed(settings);
        }
        CheckResult::Kept(error) => {
            tracing::error!(error, "configuration rejected, keeping the previous one");
        }
    };
    config.each_interval(take).await;
}

/// A unique name of this process among the replicas, also of those on the same host.
fn identity() -> String {
    format!("{}_{:016x}", cluster::host_name(100), RandomState::new().hash_one(()))
}

#[cfg(test)]
mod fake_api;
