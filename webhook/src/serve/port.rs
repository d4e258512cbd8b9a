//! The state that the connections of one listening port share.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Shutdown, connection::serve_connection, registry::Registry, sources::AllowedSources};
use crate::{
    limits::Limits,
    metrics::{Metrics, ShedReason},
    readiness::Readiness,
};

/// How long a connection without a request may still send one after the port starts to close: it
/// may have been opened for it.
pub(super) const LAST_CALL: Duration = Duration::from_secs(1);

/// The maximum length of a request head, and the size of one read of a body.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// The settings of a port.
pub(super) struct PortSettings {
    pub(super) name: &'static str,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) routes: Router,
    pub(super) limits: Limits,
    pub(super) sources: AllowedSources,
    pub(super) readiness: Readiness,
    pub(super) metrics: Arc<Metrics>,
}

/// One listening port.
pub(super) struct Port {
    pub(super) settings: PortSettings,
    pub(super) http: http1::Builder,
    pub(super) registry: Arc<Registry>,
    /// Finish the requests in flight and close.
    pub(super) closing: CancellationToken,
    /// Close at once.
    pub(super) aborting: CancellationToken,
    tasks: TaskTracker,
}

impl Port {
    pub(super) fn new(settings: PortSettings) -> Arc<Self> {
        let PortSettings { name, limits, metrics, .. } = &settings;
        let registry = Registry::new(limits, Arc::clone(metrics), metrics.connections(name));
        Arc::new(Self {
            http: builder(limits),
            registry,
            closing: CancellationToken::new(),
            aborting: CancellationToken::new(),
            tasks: TaskTracker::new(),
            settings,
        })
    }

    /// Serves a new connection, unless its source may not connect or a limit is reached and no
    /// other connection can be closed.
    pub(super) fn take<S>(self: &Arc<Self>, stream: S, source: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if !self.settings.sources.allow(source) {
            return self.refuse(source, ShedReason::Source);
        }
        match self.registry.admit(source) {
            Ok(ticket) => {
                self.tasks.spawn(serve_connection(Arc::clone(self), ticket, stream));
            }
            Err(shed) => self.refuse(source, shed),
        }
    }

    fn refuse(&self, source: IpAddr, shed: ShedReason) {
        self.settings.metrics.shed(shed);
        tracing::debug!(%source, ?shed, "connection refused");
    }

    /// Closes an idle connection.
    pub(super) fn make_room(&self) {
        self.registry.make_room();
    }

    /// Closes every connection once its requests are answered, at the latest after `patience` or
    /// when `shutdown` is aborted. Returns the number of connections that were cut off.
    pub(super) async fn close(&self, patience: Duration, shutdown: &Shutdown) -> usize {
        self.tasks.close();
        self.closing.cancel();
        let in_time = async {
            tokio::select! {
                biased;
                () = self.tasks.wait() => {}
                () = shutdown.aborted() => {}
            }
        };
        let _ = timeout(patience, in_time).await;
        // Closing a connection without a request in flight loses nothing.
        let cut = self.registry.busy();
        self.aborting.cancel();
        self.tasks.wait().await;
        cut
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // hyper counts it from the end of the previous request: it is the time between two
        // requests.
        .header_read_timeout(limits.keep_alive)
        .max_buf_size(READ_BUFFER_BYTES);
    builder
}
