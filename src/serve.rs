//! `serve`: the admission server, wired from certificates, configuration and limits.

mod args;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use scaivault_certs::{Authority, CertResolver, Checked, Reloader, server_config};
use scaivault_inject::{KubeVersion, Settings};
use scaivault_webhook::{
    AdmissionContext, AnyNamespace, Bound, Limits, Metrics, Readiness, Running, Server, Shutdown, Stopped,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use args::ServeArgs;

use crate::config;
use args::TlsArgs;

/// How long a certificate made on the fly is valid. Long enough for any demonstration, too short to be relied on.
const SELF_SIGNED_VALIDITY: Duration = Duration::from_hours(30 * 24);

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
    let ServeArgs { listen, ops_listen, tls, config: config_file, kube_version, limits } = args;
    let signals = Signals::install()?;
    let metrics = Metrics::new();
    let settings = config::read(config_file.as_deref())?;
    let resolver = certificate(tls, &metrics)?;
    let bound = Server {
        listen: *listen,
        ops_listen: *ops_listen,
        tls: server_config(resolver).context("cannot set TLS up")?,
        context: Arc::new(AdmissionContext::new(settings, *kube_version, Arc::new(AnyNamespace))),
        metrics,
        readiness: Readiness::new(),
        limits: limits.limits(),
    }
    .bind()
    .await?;
    tracing::info!(address = %bound.address(), ops_address = %bound.ops_address(), %kube_version, "listening");
    let shutdown = Shutdown::new();
    tokio::spawn(signals.forward(shutdown.clone()));
    Ok(bound.serve(shutdown).stopped().await)
}

/// The certificate to serve; with files, the task that follows them is started.
fn certificate(args: &TlsArgs, metrics: &Arc<Metrics>) -> anyhow::Result<Arc<CertResolver>> {
    let TlsArgs { tls_dir, tls_reload_interval, tls_self_signed: _, tls_name, ca_out } = args;
    let now = SystemTime::now();
    let Some(directory) = tls_dir else {
        let SelfSigned { resolver, ca_pem, not_after } = self_signed(tls_name, now)?;
        metrics.certificate_served(unix_seconds(not_after));
        if let Some(path) = ca_out {
            fs::write(path, ca_pem).with_context(|| format!("cannot write {}", path.display()))?;
        }
        return Ok(resolver);
    };
    let (reloader, resolver, not_after) = Reloader::new(directory, now)?;
    metrics.certificate_served(unix_seconds(not_after));
    let metrics = Arc::clone(metrics);
    tokio::spawn(reloader.run(*tls_reload_interval, move |checked| match checked {
        Checked::Replaced { not_after } => metrics.certificate_replaced(unix_seconds(*not_after)),
        Checked::Kept(_) => metrics.certificate_kept(),
        Checked::Unchanged => {}
    }));
    Ok(resolver)
}

struct SelfSigned {
    resolver: Arc<CertResolver>,
    ca_pem: String,
    not_after: SystemTime,
}

fn self_signed(names: &[String], now: SystemTime) -> anyhow::Result<SelfSigned> {
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    all.extend_from_slice(names);
    let authority = Authority::new("scaivault-injector self-signed", now, SELF_SIGNED_VALIDITY)?;
    let leaf = authority.issue(&all, now, SELF_SIGNED_VALIDITY)?;
    let key = leaf.certified_key().context("cannot use the certificate just made")?;
    Ok(SelfSigned {
        resolver: Arc::new(CertResolver::new(key)),
        ca_pem: authority.certificate_pem().to_owned(),
        not_after: leaf.not_after(),
    })
}

fn unix_seconds(time: SystemTime) -> i64 {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
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
    pub(crate) async fn start(settings: Settings, kube_version: KubeVersion) -> anyhow::Result<Self> {
        let SelfSigned { resolver, ca_pem, not_after } = self_signed(&[], SystemTime::now())?;
        let metrics = Metrics::new();
        metrics.certificate_served(unix_seconds(not_after));
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
        .bind()
        .await?;
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
