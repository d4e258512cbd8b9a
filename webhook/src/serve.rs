//! The server: bound first, then running, then drained. Each step is a type, so none can be skipped.
//!
//! Own accept loop instead of a framework's, because of what this port has to survive: it is reachable from every
//! pod, and while it cannot be reached by the API server no annotated pod starts. So connections are counted, the
//! ones that do nothing are closed first, and what one caller may take is bounded.

mod accept;
mod connection;
mod port;
mod registry;
mod sources;

use std::{io, net::SocketAddr, panic::resume_unwind, sync::Arc, thread};

use axum::Router;
use rustls::ServerConfig;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{Builder, Handle},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    context::AdmissionContext, limits::Limits, metrics::Metrics, notices::Notices, ops, readiness::Readiness,
    router::router, shutdown::Shutdown,
};
pub(crate) use accept::Accept;
use accept::accept_loop;
use port::{Port, PortSettings};
pub use sources::{AllowedSources, Network, NetworkError};

/// How many connections may wait for their accept. The usual 128 are used up by one burst, and then the API server's
/// next attempt waits for a whole second. The kernel's limit (`somaxconn`, 4096) may be lower.
const BACKLOG: u32 = 4096;

/// A server that is not bound yet.
pub struct Server {
    /// Where admission is served over TLS. Port 0 for a free one.
    pub listen: SocketAddr,
    /// Where probes and metrics are served in the clear.
    pub ops_listen: SocketAddr,
    /// Certificates, protocol versions, ALPN.
    pub tls: Arc<ServerConfig>,
    /// What decisions need.
    pub context: Arc<AdmissionContext>,
    /// Where everything is counted.
    pub metrics: Arc<Metrics>,
    /// When requests are wanted.
    pub readiness: Readiness,
    /// How much of everything.
    pub limits: Limits,
    /// Who may connect to the admission port.
    pub sources: AllowedSources,
    /// Where the owners of pods are told.
    pub notices: Notices,
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
    /// Takes both addresses. Nothing is accepted yet. Needs a tokio runtime.
    pub fn bind(self) -> Result<Bound, BindError> {
        let https = bind(self.listen, "--listen")?;
        let failed = |source| BindError { address: self.ops_listen, flag: "--ops-listen", source };
        let ops_thread = OpsThread::start().map_err(failed)?;
        let ops = {
            let _on = ops_thread.handle.enter();
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
    // As the standard library does: the port can be taken again while old connections end.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A thread with a runtime of its own, for probes and metrics: whatever load there is on admission, the kubelet gets its
/// answer and does not restart the container.
struct OpsThread {
    handle: Handle,
    /// Ends the thread.
    _stop: DropGuard,
}

impl OpsThread {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        thread::Builder::new().name("ops".to_owned()).spawn(move || runtime.block_on(stopped))?;
        Ok(Self { handle, _stop: stop.drop_guard() })
    }
}

struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

/// A server with its addresses, not accepting yet.
pub struct Bound {
    server: Server,
    https: Listener,
    ops: Listener,
    ops_thread: OpsThread,
}

impl Bound {
    /// Where admission will be served.
    pub fn address(&self) -> SocketAddr {
        self.https.address
    }

    /// Where probes and metrics will be served.
    pub fn ops_address(&self) -> SocketAddr {
        self.ops.address
    }

    /// Accepts from now on, until `shutdown`. Needs a tokio runtime.
    pub fn serve(self, shutdown: Shutdown) -> Running {
        let Server { context, metrics, limits, notices, .. } = &self.server;
        let routes = router(Arc::clone(context), Arc::clone(metrics), notices.clone(), *limits);
        self.serve_routes(routes, shutdown)
    }

    /// The same server with other routes on the admission port: what a benchmark compares with.
    pub fn serve_routes(self, routes: Router, shutdown: Shutdown) -> Running {
        let Self { server, https, ops, ops_thread } = self;
        let ops = OpsServer::start(&server, ops.listener, ops_thread);
        Running { task: tokio::spawn(run(server, routes, https.listener, ops, shutdown)) }
    }
}

/// A server that accepts.
pub struct Running {
    task: JoinHandle<Stopped>,
}

impl Running {
    /// Until the server has stopped.
    pub async fn stopped(self) -> Stopped {
        match self.task.await {
            Ok(stopped) => stopped,
            // Nobody else holds the task, so it was not cancelled: its panic is passed on.
            Err(error) => resume_unwind(error.into_panic()),
        }
    }
}

/// A server that has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that had to be cut because their requests did not end in time.
    pub aborted: usize,
}

/// Probes and metrics, answered from the moment it is made.
struct OpsServer {
    port: Arc<Port>,
    accepting: JoinHandle<()>,
    stop: CancellationToken,
    _thread: OpsThread,
}

impl OpsServer {
    fn start(server: &Server, listener: impl Accept, thread: OpsThread) -> Self {
        let port = {
            let _on = thread.handle.enter();
            Port::new(PortSettings {
                name: "ops",
                tls: None,
                routes: ops::router(server.readiness.clone(), Arc::clone(&server.metrics)),
                limits: server.limits.ops(),
                // The kubelet's probes come from the node's address, which nobody knows beforehand.
                sources: AllowedSources::default(),
                readiness: server.readiness.clone(),
                metrics: Arc::clone(&server.metrics),
            })
        };
        let stop = CancellationToken::new();
        let accepting = thread.handle.spawn(accept_loop(listener, Arc::clone(&port), stop.clone()));
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
) -> Stopped {
    let Server { listen: _, ops_listen: _, tls, context: _, metrics, readiness, limits, sources, notices: _ } =
        server;
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
    // Either the delay is over or somebody has no patience for it.
    let _ = timeout(limits.drain_delay, shutdown.aborted()).await;

    stop_https.cancel();
    let _ = accepting.await;
    let aborted = https_port.close(limits.drain_timeout, &shutdown).await;
    // Last, so that probes and metrics tell of the drain to its end.
    ops.close(&shutdown).await;
    tracing::info!(aborted, "stopped");
    Stopped { aborted }
}

#[cfg(test)]
mod tests;
