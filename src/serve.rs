//! `serve`: the admission server, wired from certificates, configuration and limits.

mod args;
mod certificate;
mod managed_certificate;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use scaivault_certs::{mutual_server_config, server_config};
use scaivault_inject::{KubeVersion, Settings};
use scaivault_webhook::{
    AdmissionContext, AnyNamespace, Bound, Limits, Metrics, Readiness, Running, Server, Shutdown, Stopped,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use args::ServeArgs;

use crate::config;
use args::Certificate;
use certificate::{Keeper, SelfSigned};

/// Serves until SIGTERM or SIGINT; a second signal cuts what is under way.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let Stopped { aborted } = runtime.block_on(serve(args))?;
    if aborted > 0 {
        bail!("{aborted} connections were cut with requests under way");
    }
    Ok(())
}

async fn serve(args: &ServeArgs) -> anyhow::Result<Stopped> {
    let ServeArgs { listen, ops_listen, namespace, tls, cluster, limits } = args;
    let kube_version = cluster.kube_version.kube_version;
    let limits = limits.limits()?;
    let certificate = tls.certificate(namespace.as_deref())?;
    let clients = tls.client_authorities()?;
    let signals = Signals::install()?;
    let (metrics, readiness) = (Metrics::new(), Readiness::new());
    let settings = config::read(cluster.config.as_deref())?;
    let client = match certificate {
        Certificate::Managed { .. } => {
            Some(kube::Client::try_default().await.context("cannot find a Kubernetes API for --tls-secret")?)
        }
        Certificate::Local(_) => None,
    };
    let (keeper, resolver) = Keeper::new(&certificate, client, &readiness, &metrics, SystemTime::now())?;
    let tls = match &clients {
        Some(clients) => mutual_server_config(resolver, clients),
        None => server_config(resolver),
    };
    let bound = Server {
        listen: *listen,
        ops_listen: *ops_listen,
        tls: tls.context("cannot set TLS up")?,
        context: Arc::new(AdmissionContext::new(settings, kube_version, Arc::new(AnyNamespace))),
        metrics,
        readiness,
        limits,
    }
    .bind()?;
    tracing::info!(address = %bound.address(), ops_address = %bound.ops_address(), %kube_version, "listening");
    let shutdown = Shutdown::new();
    tokio::spawn(signals.forward(shutdown.clone()));
    let keeping = tokio::spawn(keeper.run());
    tokio::select! {
        stopped = bound.serve(shutdown).stopped() => Ok(stopped),
        // A server whose certificate nobody looks after would fail weeks later: it is better started again now.
        _ = keeping => bail!("the task that looks after the certificate has ended; this is a bug"),
    }
}

/// A server inside this process, on free ports of the loopback address, with a certificate of its own.
pub(crate) struct InProcess {
    /// Where admission is served.
    pub(crate) address: SocketAddr,
    /// What a client has to trust, PEM.
    pub(crate) ca_pem: String,
    shutdown: Shutdown,
    running: Running,
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
            tls: server_config(resolver).context("cannot set TLS up")?,
            context: Arc::new(AdmissionContext::new(settings, kube_version, Arc::new(AnyNamespace))),
            metrics,
            readiness: Readiness::new(),
            // Nobody's endpoints have to change.
            limits: Limits { drain_delay: Duration::ZERO, ..Limits::default() },
        }
        .bind()?;
        let shutdown = Shutdown::new();
        Ok(Self { address: bound.address(), ca_pem, running: bound.serve(shutdown.clone()), shutdown })
    }

    /// Stops it, once its requests are answered.
    pub(crate) async fn stop(self) -> Stopped {
        self.shutdown.drain();
        self.running.stopped().await
    }
}

/// The signals that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on the signals do not end the process by themselves.
    fn install() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The first drains, the second aborts.
    async fn forward(mut self, shutdown: Shutdown) {
        self.next().await;
        shutdown.drain();
        self.next().await;
        tracing::warn!("second signal: not waiting for requests under way");
        shutdown.abort();
    }

    async fn next(&mut self) {
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
        assert_eq!(server.stop().await, Stopped { aborted: 0 });
    }
}
