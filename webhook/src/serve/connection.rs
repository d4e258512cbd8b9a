//! One connection: handshake, requests, end.

use std::{convert::Infallible, error::Error as _, future::pending, io, pin::pin, sync::Arc};

use axum::{
    extract::Request,
    http::{HeaderValue, header},
    response::Response,
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::Service as _;

use super::{
    port::{LAST_CALL, Port},
    registry::{Busy, Connection, Ticket},
};
use crate::{
    metrics::{CloseReason, HandshakeFailure},
    router::Source,
};

pub(super) async fn serve_connection<S>(port: Arc<Port>, ticket: Ticket, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let aborting = port.aborting.clone();
    let mut stream = Box::pin(TimeoutStream::new(stream));
    // An unread answer keeps its memory, and hyper has no timeout for it.
    stream.as_mut().set_write_timeout_pinned(Some(port.settings.limits.write_timeout));
    let connection = Arc::clone(ticket.connection());
    let served = async {
        match &port.settings.tls {
            None => serve_http(&port, stream, &connection).await,
            Some(acceptor) => {
                let Some(stream) = handshake(acceptor, stream, &port, &connection).await else {
                    return;
                };
                serve_http(&port, stream, &connection).await;
            }
        }
    };
    aborting.run_until_cancelled(served).await;
}

/// Returns `None` and counts the failure if it fails. Continues while the port closes: a request
/// may follow.
async fn handshake<S>(
    acceptor: &TlsAcceptor,
    stream: S,
    port: &Port,
    connection: &Connection,
) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = timeout(port.settings.limits.handshake_timeout, acceptor.accept(stream));
    let failure = match connection.evicted().run_until_cancelled(handshake).await {
        Some(Ok(Ok(stream))) => return Some(stream),
        Some(Ok(Err(error))) => {
            tracing::debug!(%error, "TLS handshake failed");
            classify(&error)
        }
        Some(Err(_elapsed)) => HandshakeFailure::Timeout,
        None => return None,
    };
    port.settings.metrics.handshake_failed(failure);
    None
}

fn classify(error: &io::Error) -> HandshakeFailure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(_)) => HandshakeFailure::Rejected,
        Some(_) => HandshakeFailure::Invalid,
        None => HandshakeFailure::Closed,
    }
}

async fn serve_http<S>(port: &Arc<Port>, stream: S, connection: &Arc<Connection>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn({
        let (port, connection) = (Arc::clone(port), Arc::clone(connection));
        move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(connection.bytes().clone());
            request.extensions_mut().insert(Source(connection.source()));
            answer(Arc::clone(&port), connection.begin(), request)
        }
    });
    let mut http = pin!(port.http.serve_connection(TokioIo::new(stream), service));
    let no_request = async {
        sleep(port.settings.limits.first_request_timeout).await;
        if connection.has_served() {
            pending::<()>().await;
        }
    };
    let closing = async {
        tokio::select! {
            () = connection.evicted().cancelled() => {}
            () = port.closing.cancelled() => {
                if !connection.has_served() {
                    sleep(LAST_CALL).await;
                }
            }
        }
    };
    let ended = tokio::select! {
        biased;
        ended = http.as_mut() => ended,
        () = no_request => return port.settings.metrics.closed(CloseReason::NoRequest),
        () = closing => {
            http.as_mut().graceful_shutdown();
            // Requests in flight have their own limits; what remains is a client that does not
            // read.
            let Ok(ended) = timeout(port.settings.limits.drain_timeout, http.as_mut()).await else {
                return;
            };
            ended
        }
    };
    if let Err(error) = ended {
        if error.is_timeout() {
            port.settings.metrics.closed(CloseReason::Idle);
        } else if is_unread(&error) {
            port.settings.metrics.closed(CloseReason::Unread);
        }
        tracing::debug!(%error, "connection ended");
    }
}

/// Whether a write timed out without progress.
fn is_unread(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

async fn answer(port: Arc<Port>, busy: Busy, request: Request<Incoming>) -> Result<Response, Infallible> {
    let mut response = port.settings.routes.clone().call(request).await?;
    drop(busy);
    if port.settings.readiness.is_draining() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    Ok(response)
}
