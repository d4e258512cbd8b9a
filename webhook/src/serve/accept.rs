//! Accepts connections from a listener.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::port::Port;
use crate::throttled_log::Cause;

/// How long to wait if the system has no file descriptor or memory for a connection: other
/// connections end meanwhile.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);

/// A source of connections: a socket, or memory in tests.
pub(crate) trait Accept: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection and its source. Cancel safe.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, IpAddr)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, IpAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        // Answers are written at once, so waiting for more data would only delay them. A failure is
        // not fatal.
        let _ = stream.set_nodelay(true);
        Ok((stream, peer.ip().to_canonical()))
    }
}

/// Hands connections to `port` until `stop`, and then those that are already in the backlog:
/// closing the socket would reset them.
pub(super) async fn accept_loop<A: Accept>(mut listener: A, port: Arc<Port>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => take(accepted, &port).await,
        }
    }
    while let Ok(accepted @ Ok(_)) = timeout(Duration::ZERO, listener.accept()).await {
        take(accepted, &port).await;
    }
}

async fn take<S>(accepted: io::Result<(S, IpAddr)>, port: &Arc<Port>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match accepted {
        Ok((stream, source)) => port.take(stream, source),
        Err(error) if is_about_one_connection(&error) => {}
        Err(error) => {
            port.settings.metrics.throttled_log.raise(Cause::NotAccepted, Some(&error));
            port.make_room();
            sleep(EXHAUSTED_PAUSE).await;
        }
    }
}

/// The client disconnected before the connection was accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
