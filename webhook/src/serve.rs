//! The server: bound, then running, then drained. Each step is a type, so none can be skipped.
//!
//! It has its own accept loop instead of a framework's, because the port is reachable from every
//! pod, and no annotated pod starts while the API server cannot reach it. So connections are
//! counted, idle connections are closed first, and the resources of one client are bounded.

use std::{io, net::SocketAddr, panic::resume_unwind, sync::Arc};

use axum::Router;
use rustls::ServerConfig;
use scaivault_ops_thread::OpsThread;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    context::AdmissionContext, limits::Limits, metrics::Metrics, ops, pod_events::PodEvents,
    readiness::Readiness, router::router,
};

mod accept;
mod connection;
mod port;
mod registry;
mod sources;

pub(crate) use accept::Accept;
use accept::accept_loop;
use port::{Port, PortSettings};
pub use sources::{AllowedSources, Network, NetworkError};

/// The length of the accept queue. The usual 128 are exhausted by one burst, and then the API
/// server's next attempt waits for a second. The kernel's limit (`somaxconn`, 4096) may be lower.
const BACKLOG: u32 = 4096;

/// A server that is not bound yet.
pub struct Server {
    /// The address of the admission port (TLS). Port 0 selects a free port.
    pub listen: SocketAddr,
    /// The address of the plain-text port for probes and metrics.
    pub ops_listen: SocketAddr,
    /// Certificates, protocol versions, ALPN.
    pub tls: Arc<ServerConfig>,
    /// The input of decisions.
    pub context: Arc<AdmissionContext>,
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    /// Whether requests are accepted.
    pub readiness: Readiness,
    /// The limits of connections and requests.
    pub limits: Limits,
    /// The clients that may connect to the admission port.
    pub sources: AllowedSources,
    /// The queue of Events for the owners of pods.
    pub pod_events: PodEvents,
}

/// Why a server could not be bound.
#[derive(Debug, Error)]
#[error("cannot listen on {address}; choose another address with {flag}")]
pub struct BindError {
    address: SocketAddr,
    flag: &'static str,
    source: io::Error,
}

impl Server {
    /// Binds both addresses without accepting connections. Needs a tokio runtime.
    pub fn bind(self) -> Result<Bound, BindError> {
        let https = bind(self.listen, "--listen")?;
        let failed = |source| BindError { address: self.ops_listen, flag: "--ops-listen", source };
        let ops_thread = OpsThread::start().map_err(failed)?;
        let ops = {
            let _on = ops_thread.handle().enter();
            bind(self.ops_listen, "--ops-listen")?
        };
        Ok(Bound { server: self, https, ops, ops_thread })
    }
}

fn bind(address: SocketAddr, flag: &'static str) -> Result<Listener, BindError> {
    let failed = |source| BindError { address, flag, source };
    let listener = listen(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Listener { listener, address })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As in the standard library: the port can be bound again while old connections are closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

/// A server that is bound but does not accept connections yet.
pub struct Bound {
    server: Server,
    https: Listener,
    ops: Listener,
    ops_thread: OpsThread,
}

impl Bound {
    /// The address of the admission port.
    pub fn address(&self) -> SocketAddr {
        self.https.address
    }

    /// The address of the port for probes and metrics.
    pub fn ops_address(&self) -> SocketAddr {
        self.ops.address
    }

    /// Accepts connections until `shutdown`. Needs a tokio runtime.
    pub fn serve(self, shutdown: Shutdown) -> RunningServer {
        let Server { context, metrics, limits, pod_events, .. } = &self.server;
        let routes = router(Arc::clone(context), Arc::clone(metrics), pod_events.clone(), *limits);
        self.serve_routes(routes, shutdown)
    }

    /// The same server with other routes on the admission port, as a baseline for benchmarks.
    pub fn serve_routes(self, routes: Router, shutdown: Shutdown) -> RunningServer {
        let Self { server, https, ops, ops_thread } = self;
        let ops = OpsServer::start(&server, ops.listener, ops_thread);
        RunningServer { task: tokio::spawn(run(server, routes, https.listener, ops, shutdown)) }
    }
}

/// A running server.
pub struct RunningServer {
    task: JoinHandle<ShutdownReport>,
}

impl RunningServer {
    /// Completes when the server has stopped.
    pub async fn stopped(self) -> ShutdownReport {
        match self.task.await {
            Ok(stopped) => stopped,
            // The task cannot be cancelled, because there is no other handle to it: its panic is
            // passed on.
            Err(error) => resume_unwind(error.into_panic()),
        }
    }
}

/// A server that has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Connections that were closed because their requests did not end in time.
    pub aborted: usize,
}

/// Serves probes and metrics from its creation on.
struct OpsServer {
    port: Arc<Port>,
    accepting: JoinHandle<()>,
    stop: CancellationToken,
    _thread: OpsThread,
}

impl OpsServer {
    fn start(server: &Server, listener: impl Accept, thread: OpsThread) -> Self {
        let port = {
            let _on = thread.handle().enter();
            Port::new(PortSettings {
                name: "ops",
                tls: None,
                routes: ops::router(server.readiness.clone(), Arc::clone(&server.metrics)),
                limits: server.limits.ops(),
                // The kubelet's probes come from the node's address, which is not known in advance.
                sources: AllowedSources::default(),
                readiness: server.readiness.clone(),
                metrics: Arc::clone(&server.metrics),
            })
        };
        let stop = CancellationToken::new();
        let accepting = thread.handle().spawn(accept_loop(listener, Arc::clone(&port), stop.clone()));
        Self { port, accepting, stop, _thread: thread }
    }

    async fn close(self, shutdown: &Shutdown) {
        self.stop.cancel();
        let _ = self.accepting.await;
        self.port.close(port::LAST_CALL, shutdown).await;
    }
}

async fn run(
    server: Server,
    routes: Router,
    https: impl Accept,
    ops: OpsServer,
    shutdown: Shutdown,
) -> ShutdownReport {
    let Server {
        listen: _,
        ops_listen: _,
        tls,
        context: _,
        metrics,
        readiness,
        limits,
        sources,
        pod_events: _,
    } = server;
    let https_port = Port::new(PortSettings {
        name: "https",
        tls: Some(TlsAcceptor::from(tls)),
        routes,
        limits,
        sources,
        readiness: readiness.clone(),
        metrics,
    });
    let stop_https = CancellationToken::new();
    let accepting = tokio::spawn(accept_loop(https, Arc::clone(&https_port), stop_https.clone()));

    shutdown.draining().await;
    readiness.drain();
    tracing::info!(drain_delay = ?limits.drain_delay, "draining: still answering while the endpoints change");
    // Ends when the delay has passed or an abort is requested.
    let _ = timeout(limits.drain_delay, shutdown.aborted()).await;

    stop_https.cancel();
    let _ = accepting.await;
    let aborted = https_port.close(limits.drain_timeout, &shutdown).await;
    // Closed last, so that probes and metrics report the whole drain.
    ops.close(&shutdown).await;
    tracing::info!(aborted, "stopped");
    ShutdownReport { aborted }
}

/// Stops a running server. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    abort: CancellationToken,
}

impl Shutdown {
    /// Nothing is stopped yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops without losing a request: the first signal.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Stops immediately, with requests in flight: the second signal.
    pub fn abort(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }

    /// Completes when [`Self::drain`] was called.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Completes when [`Self::abort`] was called.
    pub async fn aborted(&self) {
        self.abort.cancelled().await;
    }
}

#[cfg(test)]
mod tests;
