//! Requests and answers over HTTP/1.1, to one address and no other: the one module besides `connect` that knows the
//! HTTP library.
//!
//! No redirect is followed and no cookie kept, so a token cannot reach another host. It uses hyper itself and no client library
//! above it, because every further crate is in every pod.

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

/// The most bytes of an answer: a secret of the largest size, and some for what else the answer says. All answers under way
/// count for the caller's memory.
pub(crate) const BODY_LIMIT: usize = crate::DATA_SIZE_LIMIT + 256 * 1024;

/// The most bytes of an answer's head; hyper reads bodies in pieces of this size too.
const HEAD_LIMIT: usize = 32 * 1024;

/// The most headers of an answer.
const HEADER_COUNT_LIMIT: usize = 100;

/// Connections that are kept for the next request: as many as an agent reads secrets at once.
const IDLE_LIMIT: usize = 10;

/// How long a connection is kept for the next request of the same work. Until it is closed its buffers have what was sent and
/// received last: a token and a secret.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// So many times the idle limit an answer may take in total: a server that sends a byte now and then holds nothing for ever.
const IDLES_IN_TOTAL: u32 = 8;

/// The longest patience, so that the sum with a point in time cannot overflow.
const PATIENCE_LIMIT: Duration = Duration::from_hours(24);

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("scaivault-client/", env!("CARGO_PKG_VERSION"), " (Rust)"));

/// A request to be sent.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    /// Behind the address: a path with a slash at its start, and a query.
    pub(crate) route: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Content>,
    /// Whether it does no harm if it arrives twice.
    pub(crate) is_repeatable: bool,
    /// How long to wait for the answer's head on top of the idle limit.
    pub(crate) wait: Duration,
    /// How long to wait for the answer, in place of the idle limit and of the total.
    pub(crate) patience: Option<Duration>,
}

impl Outgoing {
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

    /// For what makes something new each time.
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

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Why the body does not reach to its end.
    pub(crate) cut: Option<ErrorKind>,
}

impl Answer {
    /// An error unless the body is whole.
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

/// How long an answer is waited for.
struct Limits {
    /// For its head.
    head: Duration,
    /// For each piece of its body.
    idle: Duration,
    /// For all of it.
    deadline: Instant,
}

impl Transport {
    pub(crate) fn new(connector: Connector, timeouts: Timeouts) -> Self {
        Self { connector, timeouts, idle: Arc::default() }
    }

    /// Sends the request and reads the answer, to its end if it can be had.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Result<Answer, ErrorKind> {
        let limits = self.limits(&outgoing);
        loop {
            // The server may close a kept connection at any time, also while a request is on its way there: one that must
            // not arrive twice takes a new connection at once.
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
            // The others that are kept probably go the same dead way.
            lock(&self.idle).clear();
            self.connector.prefer_others(connection.peer);
            return Err(error);
        }
    }

    fn limits(&self, outgoing: &Outgoing) -> Limits {
        let idle = outgoing.patience.unwrap_or(self.timeouts.idle).min(PATIENCE_LIMIT);
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
        // It ends with its sender. Its errors are those of the request that is under way.
        tokio::spawn(connection);
        // Not all at the same moment, if all were made at the same moment.
        let age = self.timeouts.connection_age.mul_f64(0.9 + 0.2 * fastrand::f64());
        Ok(Connection { sender, peer, ends: Instant::now() + age })
    }

    fn request(&self, outgoing: Outgoing) -> Request<Full<Bytes>> {
        let Outgoing { operation: _, method, route, headers, body, is_repeatable: _, wait: _, patience: _ } =
            outgoing;
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
                        // Doubled as by itself, but never beyond the limit: all of it counts for the memory.
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
        // The youngest is the likeliest to be open still, and the others can age.
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
