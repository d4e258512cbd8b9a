//! Requests and answers over HTTP/1.1 to a single address. Except for `connect`, no other module
//! uses the HTTP library.
//!
//! Redirects are not followed and cookies are not kept, so a token cannot reach another host. It
//! uses hyper directly, without a client library, because every further crate increases the size of
//! the agent in every pod.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{AnswerFault, ErrorKind, Operation, Timeouts, connect::Connector, lock};

/// The maximum size of an answer in bytes: a secret of the maximum size, and some room for other
/// members. All answers in flight count for the caller's memory.
pub(crate) const BODY_LIMIT: usize = crate::DATA_SIZE_LIMIT + 256 * 1024;

/// The maximum size of an answer's head in bytes, and of a piece of a body that hyper reads.
const HEAD_LIMIT: usize = 32 * 1024;

/// The maximum number of headers in an answer.
const HEADER_COUNT_LIMIT: usize = 100;

/// The maximum number of idle connections: the number of secrets that an agent reads concurrently.
const IDLE_LIMIT: usize = 10;

/// How long an idle connection is kept for related requests. Until it is closed, its buffers
/// contain what was last sent and received: a token and a secret.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// The timeout of a complete answer as a multiple of the idle timeout, so that a server that sends
/// a byte now and then cannot block a caller forever.
const IDLES_IN_TOTAL: u32 = 8;

/// The maximum timeout, so that adding it to a time cannot overflow.
const TIMEOUT_LIMIT: Duration = Duration::from_hours(24);

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("scaivault-client/", env!("CARGO_PKG_VERSION"), " (Rust)"));

/// A request to be sent.
#[derive(Clone)]
pub(crate) struct OutgoingRequest {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    /// A path that starts with a slash, and a query, relative to the address.
    pub(crate) route: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Content>,
    /// Whether the request may be sent twice.
    pub(crate) is_repeatable: bool,
    /// How long to wait for the answer's head in addition to the idle timeout.
    pub(crate) wait: Duration,
    /// The timeout of the answer, instead of the idle and the total timeout.
    pub(crate) patience: Option<Duration>,
}

impl OutgoingRequest {
    pub(crate) fn new(operation: Operation, method: Method, route: String) -> Self {
        Self {
            operation,
            method,
            route,
            headers: HeaderMap::new(),
            body: None,
            is_repeatable: true,
            wait: Duration::ZERO,
            patience: None,
        }
    }

    pub(crate) fn with_body(mut self, body: Content) -> Self {
        self.body = Some(body);
        self
    }

    /// For requests that create something each time.
    pub(crate) fn only_once(mut self) -> Self {
        self.is_repeatable = false;
        self
    }
}

/// A request's body.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) kind: &'static str,
    pub(crate) bytes: Bytes,
}

impl Content {
    pub(crate) fn json(value: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(value).expect("a body's members are text and numbers").into();
        Self { kind: "application/json", bytes }
    }

    pub(crate) fn form(text: String) -> Self {
        Self { kind: "application/x-www-form-urlencoded", bytes: text.into() }
    }
}

/// An answer with any status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Why the body is incomplete.
    pub(crate) cut: Option<ErrorKind>,
}

impl Answer {
    /// An error if the body is incomplete.
    pub(crate) fn whole(mut self) -> Result<Self, ErrorKind> {
        self.cut.take().map_or(Ok(self), Err)
    }
}

/// One server.
pub(crate) struct Transport {
    connector: Connector,
    timeouts: Timeouts,
    idle: Arc<Mutex<Vec<Idle>>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    peer: SocketAddr,
    /// When it is too old for another request.
    ends: Instant,
}

impl Connection {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && Instant::now() < self.ends
    }
}

/// The timeouts of an answer.
struct Limits {
    /// For its head.
    head: Duration,
    /// For each piece of its body.
    idle: Duration,
    /// For the complete answer.
    deadline: Instant,
}

impl Transport {
    pub(crate) fn new(connector: Connector, timeouts: Timeouts) -> Self {
        Self { connector, timeouts, idle: Arc::default() }
    }

    /// Sends the request and reads as much of the answer as possible.
    pub(crate) async fn send(&self, outgoing: OutgoingRequest) -> Result<Answer, ErrorKind> {
        let limits = self.limits(&outgoing);
        loop {
            // The server may close an idle connection at any time, even while a request is being
            // sent. A request that must not be sent twice uses a new connection.
            let kept = if outgoing.is_repeatable { self.take_idle() } else { None };
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let response = connection.sender.send_request(self.request(outgoing.clone()));
            let error = match timeout_at(limits.deadline.min(Instant::now() + limits.head), response).await {
                Ok(Ok(response)) => return self.receive(response, connection, &limits).await,
                Ok(Err(error)) if is_kept && !error.is_parse() => continue,
                Ok(Err(error)) => self.broken(error),
                Err(_) => self.timed_out(limits.head),
            };
            // The other idle connections probably use the same broken path.
            lock(&self.idle).clear();
            self.connector.prefer_others(connection.peer);
            return Err(error);
        }
    }

    fn limits(&self, outgoing: &OutgoingRequest) -> Limits {
        let idle = outgoing.patience.unwrap_or(self.timeouts.idle).min(TIMEOUT_LIMIT);
        let head = idle + outgoing.wait;
        let total = if outgoing.patience.is_some() { idle } else { head + idle * (IDLES_IN_TOTAL - 1) };
        Limits { head, idle, deadline: Instant::now() + total }
    }

    async fn connect(&self) -> Result<Connection, ErrorKind> {
        let (stream, peer) = self.connector.connect(self.timeouts.connect).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .max_headers(HEADER_COUNT_LIMIT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        // It ends with its sender. Its errors are reported by the request in flight.
        tokio::spawn(connection);
        // Jitter, so that connections opened together are not closed together.
        let age = self.timeouts.connection_age.mul_f64(0.9 + 0.2 * fastrand::f64());
        Ok(Connection { sender, peer, ends: Instant::now() + age })
    }

    fn request(&self, outgoing: OutgoingRequest) -> Request<Full<Bytes>> {
        let OutgoingRequest {
            operation: _,
            method,
            route,
            headers,
            body,
            is_repeatable: _,
            wait: _,
            patience: _,
        } = outgoing;
        let address = &self.connector.address;
        let host = HeaderValue::from_str(&address.authority()).expect("an authority is plain text");
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        // A token endpoint may be an address without a path.
        let path = format!("{}{route}", address.path());
        let path = if path.is_empty() { "/" } else { &path };
        *request.uri_mut() = path.parse().expect("routes are made of checked words");
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(Content { kind, bytes }) = body {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            *request.body_mut() = Full::new(bytes);
        }
        request
    }

    async fn receive(
        &self,
        response: Response<Incoming>,
        connection: Connection,
        limits: &Limits,
    ) -> Result<Answer, ErrorKind> {
        let (head, mut body) = response.into_parts();
        let status = head.status.as_u16();
        if head.status.is_redirection() {
            return Err(AnswerFault::Redirect(status).into());
        }
        let mut bytes = Vec::new();
        let cut = loop {
            match timeout_at(limits.deadline.min(Instant::now() + limits.idle), body.frame()).await {
                Ok(None) => break None,
                Ok(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    let length = bytes.len() + data.len();
                    if length > BODY_LIMIT {
                        break Some(AnswerFault::TooLarge { limit: BODY_LIMIT }.into());
                    }
                    if length > bytes.capacity() {
                        // Doubles the capacity as usual, but not beyond the limit, because all of
                        // it counts for the memory.
                        bytes.reserve_exact(length.max(2 * bytes.len()).min(BODY_LIMIT) - bytes.len());
                    }
                    bytes.extend_from_slice(&data);
                }
                Ok(Some(Err(error))) => break Some(self.broken(error)),
                Err(_) => break Some(self.timed_out(limits.idle)),
            }
        };
        if cut.is_none() {
            self.connector.answered(connection.peer);
            self.keep(connection);
        }
        Ok(Answer { status, headers: head.headers, body: bytes, cut })
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(|Idle { connection, since }| connection.is_usable() && since.elapsed() < IDLE_TIMEOUT);
        // The most recent connection is the most likely to be open, and the others can expire.
        idle.pop().map(|idle| idle.connection)
    }

    fn keep(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_LIMIT && connection.is_usable() {
            idle.push(Idle { connection, since: Instant::now() });
            let kept = Arc::downgrade(&self.idle);
            tokio::spawn(async move {
                sleep(IDLE_TIMEOUT).await;
                if let Some(idle) = kept.upgrade() {
                    lock(&idle).retain(|idle| idle.since.elapsed() < IDLE_TIMEOUT);
                }
            });
        }
    }

    fn timed_out(&self, after: Duration) -> ErrorKind {
        ErrorKind::Timeout { address: self.connector.address.host_and_port(), after }
    }

    fn broken(&self, error: hyper::Error) -> ErrorKind {
        if error.is_parse_too_large() {
            return AnswerFault::TooLarge { limit: HEAD_LIMIT }.into();
        }
        if error.is_parse() {
            return AnswerFault::NotHttp.into();
        }
        let address = self.connector.address.host_and_port();
        ErrorKind::Broken { address, source: error.into() }
    }
}
