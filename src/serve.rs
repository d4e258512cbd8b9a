//! `serve`: the admission server with its certificates, configuration and limits.

mod args;
mod certificate;
mod client_ca;
mod configuration_watch;
mod managed_certificate;
mod settings;

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use scaivault_certs::{mutual_server_config, server_config};
use scaivault_cluster::unix_seconds;
use scaivault_inject::{KubeVersion, Settings};
use scaivault_webhook::{
    AdmissionContext, AllowedSources, Bound, Cluster, Limits, Metrics, NoCluster, PodEvents, Readiness,
    RunningServer, Server, Shutdown, ShutdownReport,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

pub(crate) use args::ServeArgs;

use crate::{
    cluster::{self, ClusterCache},
    config::Follower,
    runtime, telemetry,
};
use args::ClusterArgs;
use certificate::{CertificateManager, SelfSigned};
use client_ca::ClientCaFollower;

/// How long already queued Events may take when the server stops.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// The maximum number of the runtime's workers. Each decides small reviews, so their number bounds
/// the memory for these on a node with many cores.
const MOST_WORKERS: usize = 8;

/// Serves until SIGTERM or SIGINT; a second signal closes connections with requests in flight.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_WORKERS);
    let ShutdownReport { aborted } = runtime::serve(workers, serve(args))?;
    if aborted > 0 {
        bail!("closed {aborted} connections with requests in progress");
    }
    Ok(())
}

async fn serve(args: &ServeArgs) -> anyhow::Result<ShutdownReport> {
    let ServeArgs { listen, ops_listen, tls, config, cluster, allow_source, limits } = args;
    let ClusterArgs { cluster: in_cluster, namespace, kube_version, policies: _, label_namespaces: _ } =
        cluster;
    let features = cluster.features()?;
    let limits = limits.limits()?;
    let certificate = tls.certificate(namespace.as_deref())?;
    let signals = Signals::install()?;
    let (metrics, readiness) = (Metrics::new(), Readiness::new());
    let (follower, settings) = Follower::new(config.config.clone(), namespace.clone())?;
    metrics.read_dropped_log_lines(telemetry::dropped_lines);
    metrics.config_loaded(unix_seconds(SystemTime::now()));
    let (client_ca, clients) = tls
        .client_ca()
        .map(|(path, interval)| ClientCaFollower::new(path, interval, &metrics))
        .transpose()?
        .unzip();
    let client = if *in_cluster {
        Some(cluster::client().await.context("cannot watch the cluster of --cluster")?)
    } else {
        None
    };
    let (manager, resolver) =
        CertificateManager::new(&certificate, client.clone(), &readiness, &metrics, SystemTime::now())?;

    // Background tasks of the server. None of them ends by itself.
    let mut tasks = JoinSet::new();
    let mut posting = JoinSet::new();
    let known: Arc<dyn Cluster>;
    let mut watched = None;
    let mut pod_events = PodEvents::default();
    if let Some(client) = &client {
        let memory = ClusterCache::new(features);
        cluster::follow(client, &memory, &readiness, &metrics, &mut tasks);
        watched = Some(Arc::clone(&memory));
        let (sender, receiver) = mpsc::channel(cluster::QUEUE);
        pod_events = PodEvents::new(sender);
        posting.spawn(cluster::post_events(client.clone(), receiver, Arc::clone(&metrics)));
        known = memory;
    } else {
        known = Arc::new(NoCluster);
    }
    let context = Arc::new(AdmissionContext::new(settings, kube_version.unwrap_or_default(), known));
    metrics.kube_version_minor(context.kube_version().minor());
    if let (Some(client), Some(memory)) = (&client, watched) {
        cluster::report(client, &memory, features, &context, &metrics, &mut tasks);
    }
    if let (Some(client), None) = (client, kube_version) {
        tasks.spawn(cluster::follow_version(client, Arc::clone(&context), &readiness, Arc::clone(&metrics)));
    }
    tasks.spawn(settings::follow(follower, Arc::clone(&context), Arc::clone(&metrics)));
    tasks.spawn(manager.run());
    if let Some(client_ca) = client_ca {
        tasks.spawn(client_ca.run());
    }

    let tls = match &clients {
        Some(clients) => mutual_server_config(resolver, clients),
        None => server_config(resolver),
    };
    if *in_cluster && clients.is_none() && allow_source.is_empty() {
        tracing::warn!(
            "any client that reaches the admission port can read the defaults of namespaces and \
             cause Events; set --client-ca or --allow-source, or restrict access by a network \
             policy"
        );
    }
    let kube_version = context.kube_version();
    let bound = Server {
        listen: *listen,
        ops_listen: *ops_listen,
        tls: tls.context("cannot set up TLS")?,
        context,
        metrics,
        readiness,
        limits,
        sources: AllowedSources::from(allow_source.clone()),
        pod_events,
    }
    .bind()?;
    tracing::info!(address = %bound.address(), ops_address = %bound.ops_address(), %kube_version, "listening");
    let shutdown = Shutdown::new();
    tokio::spawn(signals.forward(shutdown.clone()));
    let stopped = tokio::select! {
        stopped = bound.serve(shutdown).stopped() => stopped,
        // Without this task, certificate or cache would become outdated and the server would fail
        // much later, so it is restarted now.
        _ = tasks.join_next() => bail!("a background task of the server ended; this is a bug"),
    };
    // The server was the last user of the caches and the last sender of Events.
    tasks.shutdown().await;
    let _ = timeout(LAST_EVENTS, posting.join_next()).await;
    Ok(stopped)
}

/// A server inside this process, on free ports of the loopback address, with its own certificate.
pub(crate) struct InProcess {
    /// The address of the admission port.
    pub(crate) address: SocketAddr,
    /// The CA certificate for clients, PEM.
    pub(crate) ca_pem: String,
    shutdown: Shutdown,
    running: RunningServer,
}

impl InProcess {
    /// Starts it. Needs a tokio runtime, on which it runs.
    #[expect(clippy::unused_async, reason = "so that it is called on a runtime only")]
    pub(crate) async fn start(settings: Settings, kube_version: KubeVersion) -> anyhow::Result<Self> {
        let certificate = SelfSigned::new(&[], SystemTime::now())?;
        let metrics = Metrics::new();
        certificate.show(&metrics);
        let SelfSigned { resolver, ca_pem, .. } = certificate;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bound: Bound = Server {
            listen: loopback,
            ops_listen: loopback,
            tls: server_config(resolver).context("cannot set up TLS")?,
            context: Arc::new(AdmissionContext::new(settings, kube_version, Arc::new(NoCluster))),
            metrics,
            readiness: Readiness::new(),
            // There are no endpoints that have to change first.
            limits: Limits { drain_delay: Duration::ZERO, ..Limits::default() },
            sources: AllowedSources::default(),
            pod_events: PodEvents::default(),
        }
        .bind()?;
        let shutdown = Shutdown::new();
        Ok(Self { address: bound.address(), ca_pem, running: bound.serve(shutdown.clone()), shutdown })
    }

    /// Stops it, once its requests are answered.
    pub(crate) async fn stop(self) -> ShutdownReport {
        self.shutdown.drain();
        self.running.stopped().await
    }
}

/// The signals that stop the server.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on, the signals no longer end the process by default.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The first signal drains, the second aborts.
    async fn forward(mut self, shutdown: Shutdown) {
        self.next().await;
        shutdown.drain();
        self.next().await;
        tracing::warn!("second signal received, not waiting for requests in progress");
        shutdown.abort();
    }

    /// Waits for the next of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_in_process_server_starts_and_stops() {
        let server = InProcess::start(Settings::default(), KubeVersion::OLDEST).await.unwrap();
        assert!(server.address.ip().is_loopback() && server.address.port() != 0);
        assert!(server.ca_pem.starts_with("-----BEGIN CERTIFICATE-----"));
        assert_eq!(server.stop().await, ShutdownReport { aborted: 0 });
    }
}
