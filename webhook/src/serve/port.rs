//! What the connections of one listening port share.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{connection::serve_connection, registry::Registry};
use crate::{limits::Limits, metrics::Metrics, readiness::Readiness, shutdown::Shutdown};

/// How long, when the port closes, a connection that has not sent a request yet may still do so: it may have been
/// opened for one.
pub(super) const LAST_CALL: Duration = Duration::from_secs(1);

/// The longest request head, and how much of a body is read at once.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// HTTP/2 flow control: what a client may send unasked on one stream and on one connection. It lies in memory
/// outside of the budget for bodies, so it is small.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// HTTP/2 request heads; ours have a handful of fields.
const HEADER_LIST_BYTES: u32 = 16 * 1024;
/// A silent HTTP/2 connection is asked for a sign of life this often.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// And closed if none comes within this time.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What a port is made of.
pub(super) struct PortSettings {
    pub(super) name: &'static str,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) routes: Router,
    pub(super) limits: Limits,
    pub(super) readiness: Readiness,
    pub(super) metrics: Arc<Metrics>,
}

/// One listening port.
pub(super) struct Port {
    pub(super) settings: PortSettings,
    pub(super) http: auto::Builder<TokioExecutor>,
    pub(super) registry: Arc<Registry>,
    /// Finish what is under way and close.
    pub(super) closing: CancellationToken,
    /// Close whatever is under way.
    pub(super) aborting: CancellationToken,
    tasks: TaskTracker,
}

impl Port {
    /// Needs a tokio runtime: starts the task that closes connections whose time is over.
    pub(super) fn new(settings: PortSettings) -> Arc<Self> {
        let PortSettings { name, limits, metrics, .. } = &settings;
        let registry = Registry::new(limits, Arc::clone(metrics), metrics.connections(name));
        let port = Arc::new(Self {
            http: builder(limits),
            registry,
            closing: CancellationToken::new(),
            aborting: CancellationToken::new(),
            tasks: TaskTracker::new(),
            settings,
        });
        let registry = Arc::clone(&port.registry);
        let period = registry.sweep_period();
        let sweep = async move {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                registry.sweep();
            }
        };
        // Ends with the port: the token outlives every connection.
        tokio::spawn(port.aborting.clone().run_until_cancelled_owned(sweep));
        port
    }

    /// Serves a new connection, unless a limit is reached and nothing can make room for it.
    pub(super) fn take<S>(self: &Arc<Self>, stream: S, source: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.registry.admit(source) {
            Ok(ticket) => {
                self.tasks.spawn(serve_connection(Arc::clone(self), ticket, stream));
            }
            Err(shed) => {
                self.settings.metrics.shed(shed);
                tracing::debug!(%source, ?shed, "connection refused");
            }
        }
    }

    /// Closes the connection that has been idle longest.
    pub(super) fn make_room(&self) {
        self.registry.evict_longest_idle();
    }

    /// Closes every connection once its requests are answered, at the latest after `patience` or when `shutdown`
    /// says so. Gives the number of those that were cut.
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
        let cut = self.tasks.len();
        self.aborting.cancel();
        self.tasks.wait().await;
        cut
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        // The registry keeps the time: hyper's timer would run between requests too, and be set anew for each.
        .header_read_timeout(None)
        .max_buf_size(READ_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(HEADER_LIST_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
