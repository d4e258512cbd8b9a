//! A proxy between a client and its server that misbehaves like networks, load balancers and
//! servers.
//!
//! It implements HTTP/1.1 itself, because a library would not send a wrong length or half a body.
//! The affected requests and faults are drawn from a seed. The server behind it keeps running when
//! the proxy is [stopped](World::stop), like a database when the servers in front of it are
//! restarted.

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use scaivault_certs::{Authority, CertResolver, server_config};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::SplitMix;

mod message;
mod plan;

pub use message::Answer;
use message::{Request, ask, read_request};
pub use plan::{Calls, Chance, Misbehaviour};
use plan::{Loss, Plan, Rule};

/// The validity of a certificate.
const CERTIFICATE_LIFETIME: Duration = Duration::from_hours(30 * 24);
/// The maximum number of answers that a lagging replica remembers.
const HISTORY_LIMIT: usize = 1000;
/// The chunk size of a trickled answer.
const TRICKLE_BYTES: usize = 16;

/// The treatment of new connections.
#[derive(Clone, Debug)]
pub enum Door {
    /// They are served.
    Open,
    /// They are closed.
    Closed,
    /// They get no answer.
    Silent,
    /// Whatever arrives is answered with these bytes, then the connection is closed.
    /// [`Door::alert`] creates one of these.
    Says(Vec<u8>),
}

impl Door {
    /// A fatal TLS alert with this number before any handshake: 80 is `internal_error`, 112
    /// `unrecognized_name`.
    pub fn alert(number: u8) -> Self {
        Self::Says(vec![0x15, 3, 3, 0, 2, 2, number])
    }
}

/// A processed request.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// For example, `POST`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// When it arrived.
    pub from: Instant,
    /// When the last byte of the answer was written, or the connection ended.
    pub to: Instant,
    /// The server's own answer; `None` if the server did not get the request.
    pub answer: Option<String>,
    /// Whether a complete message with the content of the server's answer was sent, in any shape.
    pub is_delivered: bool,
}

/// A proxy. It stops, with all its connections, on drop.
pub struct World {
    state: Arc<State>,
    address: SocketAddr,
    /// Bound but never listening: while the proxy is stopped, no other socket can get the port.
    _port: TcpSocket,
}

struct State {
    upstream: SocketAddr,
    inner: Mutex<Inner>,
    tls: Option<Tls>,
}

struct Tls {
    names: Vec<String>,
    resolver: Arc<CertResolver>,
    acceptor: TlsAcceptor,
}

struct Inner {
    random: SplitMix,
    rules: Vec<Rule>,
    door: Door,
    history: HashMap<Vec<u8>, Vec<(Instant, Answer)>>,
    seen: Vec<RecordedRequest>,
    connections: u64,
    /// All running tasks: accept loop, connections, requests.
    running: JoinSet<()>,
}

impl World {
    /// Starts in front of a server, on a free loopback port, without TLS on either side. Needs a
    /// tokio runtime, on which it runs.
    pub fn start(upstream: SocketAddr, seed: u64) -> io::Result<Self> {
        Self::run(upstream, seed, None)
    }

    /// The same with TLS for these names. The second result is the first CA, PEM.
    pub fn start_tls(upstream: SocketAddr, seed: u64, names: &[&str]) -> io::Result<(Self, String)> {
        let resolver = Arc::new(CertResolver::empty());
        let config = server_config(Arc::clone(&resolver)).map_err(io::Error::other)?;
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let tls = Tls { names, resolver, acceptor: TlsAcceptor::from(config) };
        let pem = tls.new_authority()?;
        Ok((Self::run(upstream, seed, Some(tls))?, pem))
    }

    fn run(upstream: SocketAddr, seed: u64, tls: Option<Tls>) -> io::Result<Self> {
        let inner = Inner {
            random: SplitMix::new(seed),
            rules: Vec::new(),
            door: Door::Open,
            history: HashMap::new(),
            seen: Vec::new(),
            connections: 0,
            running: JoinSet::new(),
        };
        let state = Arc::new(State { upstream, inner: Mutex::new(inner), tls });
        let port = bound((Ipv4Addr::LOCALHOST, 0).into())?;
        let world = Self { state, address: port.local_addr()?, _port: port };
        world.resume()?;
        Ok(world)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server URL for clients. The host is `localhost` with TLS.
    pub fn url(&self) -> String {
        match self.state.tls {
            None => format!("http://{}", self.address),
            Some(_) => format!("https://localhost:{}", self.address.port()),
        }
    }

    /// Uses a certificate of a new CA for new connections; returns the CA, PEM.
    ///
    /// # Panics
    ///
    /// If it runs without TLS.
    pub fn new_authority(&self) -> io::Result<String> {
        self.state.tls.as_ref().expect("it has TLS").new_authority()
    }

    /// Adds a rule: from now on some requests are affected, in addition to earlier rules.
    pub fn add(&self, calls: Calls, chance: Chance, misbehaviour: Misbehaviour) {
        self.state.lock().rules.push(Rule { calls, chance, misbehaviour, count: 0 });
    }

    /// Removes all rules. Requests that are already affected stay affected.
    pub fn clear(&self) {
        let mut inner = self.state.lock();
        inner.rules.clear();
        inner.door = Door::Open;
    }

    /// Sets the treatment of new connections.
    pub fn set_door(&self, door: Door) {
        self.state.lock().door = door;
    }

    /// The completed requests so far.
    pub fn seen(&self, calls: Calls) -> Vec<RecordedRequest> {
        self.state.lock().seen.iter().filter(|seen| calls.has(&seen.method, &seen.path)).cloned().collect()
    }

    /// Also listens on another loopback address with the same port, until it is stopped.
    pub async fn listen_at(&self, ip: Ipv4Addr) -> io::Result<()> {
        let listener = TcpListener::bind((ip, self.address.port())).await?;
        self.state.spawn(accept(listener, Arc::clone(&self.state)));
        Ok(())
    }

    /// The number of connections so far.
    pub fn connections(&self) -> u64 {
        self.state.lock().connections
    }

    /// Closes all connections with their requests, and refuses new ones.
    pub async fn stop(&self) {
        let mut running = std::mem::take(&mut self.state.lock().running);
        running.shutdown().await;
    }

    /// Listens again on the same port.
    pub fn resume(&self) -> io::Result<()> {
        let listener = bound(self.address)?.listen(1024)?;
        self.state.spawn(accept(listener, Arc::clone(&self.state)));
        Ok(())
    }
}

/// Several sockets may be bound to the address, of which one listens.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Drop for World {
    fn drop(&mut self) {
        self.state.lock().running.abort_all();
    }
}

impl Tls {
    fn new_authority(&self) -> io::Result<String> {
        let now = SystemTime::now();
        let authority = Authority::new("world", now, CERTIFICATE_LIFETIME).map_err(io::Error::other)?;
        let leaf = authority.issue(&self.names, now, CERTIFICATE_LIFETIME).map_err(io::Error::other)?;
        self.resolver.replace(leaf.certified_key().map_err(io::Error::other)?);
        Ok(authority.certificate_pem().to_owned())
    }
}

impl State {
    /// No code panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut inner = self.lock();
        while inner.running.try_join_next().is_some() {}
        inner.running.spawn(task);
    }

    fn plan(&self, request: &Request) -> Plan {
        let Inner { random, rules, .. } = &mut *self.lock();
        Plan::new(rules, request, random)
    }

    /// Sends the request to the server; returns the answer, and the server's own one.
    async fn carry_out(&self, request: &Request, plan: &Plan) -> io::Result<(Answer, Option<String>)> {
        sleep(plan.before).await;
        if let Some(answer) = &plan.answer {
            sleep(plan.after).await;
            return Ok((answer.clone(), None));
        }
        let mut answer = ask(self.upstream, request).await?;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        sleep(plan.after).await;
        answer = self.remember(request, answer, plan.lag);
        if let Some(replacement) = &plan.replacement {
            answer = replacement.clone();
        }
        if answer.is_success()
            && !plan.reshapes.is_empty()
            && let Ok(mut value) = serde_json::from_slice::<Value>(&answer.body)
        {
            for reshape in &plan.reshapes {
                reshape(&mut value, &mut self.lock().random);
            }
            answer.body = value.to_string().into_bytes();
        }
        Ok((answer, Some(said)))
    }

    /// Records an answer for lagging replicas, and returns theirs.
    fn remember(&self, request: &Request, answer: Answer, lag: Option<Duration>) -> Answer {
        if request.method != "GET" || !answer.is_success() {
            return answer;
        }
        let now = Instant::now();
        let mut inner = self.lock();
        let key = [request.method.as_bytes(), request.path.as_bytes(), &request.body].join(&b' ');
        let history = inner.history.entry(key).or_default();
        if history.last().is_none_or(|(_, last)| last.body != answer.body) {
            history.push((now, answer.clone()));
        }
        if history.len() > HISTORY_LIMIT {
            history.remove(0);
        }
        let Some(lag) = lag else { return answer };
        let old = history.iter().rev().find(|(time, _)| now.duration_since(*time) >= lag);
        old.or(history.first()).map_or(answer, |(_, answer)| answer.clone())
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // A failed accept only affects that connection.
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            state.spawn(connection(stream, Arc::clone(&state)));
        }
    }
}

async fn connection(mut stream: TcpStream, state: Arc<State>) {
    let door = {
        let mut inner = state.lock();
        inner.connections += 1;
        inner.door.clone()
    };
    match door {
        Door::Open => {}
        Door::Closed => return,
        Door::Silent => return std::future::pending().await,
        Door::Says(bytes) => {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&bytes).await;
            return;
        }
    }
    let is_reset = match &state.tls {
        None => serve(&mut stream, &state).await,
        Some(tls) => match tls.acceptor.clone().accept(&mut stream).await {
            Ok(mut stream) => serve(&mut stream, &state).await,
            Err(_) => return,
        },
    };
    // An error ends the connection, which the client observes.
    if is_reset.is_err() {
        let _ = stream.set_zero_linger();
    }
}

/// Serves requests until the client or the proxy ends the connection; an error resets it.
async fn serve(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), state: &Arc<State>) -> io::Result<()> {
    let mut buffered = Vec::new();
    while let Some(request) = read_request(stream, &mut buffered).await? {
        let plan = Arc::new(state.plan(&request));
        if plan.loss == Some(Loss::Reset) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        // Like a server, it completes a request even if the client no longer waits.
        let (done, outcome) = oneshot::channel();
        let work = work(Arc::clone(state), request, Arc::clone(&plan), done);
        state.spawn(work);
        let (answer, number) = tokio::select! {
            biased;
            read = stream.read_buf(&mut buffered) => {
                // The client has disconnected, because no client pipelines.
                read?;
                return Ok(());
            }
            outcome = outcome => outcome.map_err(|_| ErrorKind::ConnectionReset)?,
        };
        if plan.loss == Some(Loss::ResetAnswer) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if plan.loss == Some(Loss::Hanging) {
            stream.read_buf(&mut buffered).await?;
            return Ok(());
        }
        write_answer(stream, answer, &plan).await?;
        let mut inner = state.lock();
        inner.seen[number].to = Instant::now();
        inner.seen[number].is_delivered = plan.delivers();
        if plan.loss == Some(Loss::Cut) || plan.length < 0 {
            return Ok(());
        }
    }
    Ok(())
}

/// Processes a request, and sends the answer with the index of the record. Sends nothing if there
/// is no answer.
async fn work(state: Arc<State>, request: Request, plan: Arc<Plan>, done: oneshot::Sender<(Answer, usize)>) {
    let from = Instant::now();
    let outcome = state.carry_out(&request, &plan).await;
    let (answer, said) = match outcome {
        Ok((answer, said)) => (Some(answer), said),
        Err(_) => (None, None),
    };
    let Request { method, path, .. } = request;
    let seen = RecordedRequest { method, path, from, to: Instant::now(), answer: said, is_delivered: false };
    let number = {
        let mut inner = state.lock();
        inner.seen.push(seen);
        inner.seen.len() - 1
    };
    if let Some(answer) = answer {
        // The receiver may no longer wait.
        let _ = done.send((answer, number));
    }
}

async fn write_answer(stream: &mut (impl AsyncWrite + Unpin), answer: Answer, plan: &Plan) -> io::Result<()> {
    let Answer { mut head, mut body } = answer;
    let half = body.len() / 2;
    if plan.loss == Some(Loss::Truncated) {
        body.truncate(half);
    }
    let length = i64::try_from(body.len()).map_err(io::Error::other)?.saturating_add(plan.length).max(0);
    head.extend(["Content-Length: ", &length.to_string(), "\r\n\r\n"]);
    if plan.loss == Some(Loss::Cut) {
        body.truncate(half);
    }
    match plan.trickle {
        None => {
            let whole = [head.as_bytes(), &body].concat();
            stream.write_all(&whole).await?;
        }
        Some(pause) => {
            stream.write_all(head.as_bytes()).await?;
            for bytes in body.chunks(TRICKLE_BYTES) {
                stream.write_all(bytes).await?;
                stream.flush().await?;
                sleep(pause).await;
            }
        }
    }
    stream.flush().await
}

#[cfg(test)]
mod tests;
