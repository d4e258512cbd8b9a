//! Opens a stream for HTTP to an address: name resolution, TCP, proxy, TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1, header, upgrade};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::{Address, ErrorKind, Proxy, SetupError, certificate, lock, proxy::Route, tls::Authorities};

/// How long a connection attempt runs before the next address is tried concurrently, as recommended
/// by RFC 8305.
const NEXT_ATTEMPT: Duration = Duration::from_millis(250);

/// Maximum number of concurrent name lookups. Each blocks a thread until the system's resolver
/// gives up.
const LOOKUPS: usize = 4;

/// Maximum number of remembered addresses that failed.
const FAILED_ADDRESSES: usize = 16;

/// The stream for HTTP.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections to one address.
pub(crate) struct Connector {
    pub(crate) address: Address,
    route: Option<Route>,
    /// `None` for plain HTTP.
    tls: Option<Tls>,
    lookups: Arc<Semaphore>,
    /// Addresses that accepted a connection that could not be used, the latest last: others are
    /// tried first.
    failed: Mutex<Vec<SocketAddr>>,
}

struct Tls {
    name: ServerName<'static>,
    authorities: Arc<Authorities>,
    /// The variable that configures the trusted CAs, for errors.
    setting: &'static str,
}

impl Connector {
    pub(crate) fn new(
        address: Address,
        proxy: Option<&Proxy>,
        authorities: Arc<Authorities>,
        setting: &'static str,
    ) -> Result<Self, SetupError> {
        let tls = if address.is_https() {
            let host = address.host().to_owned();
            let name = ServerName::try_from(host.clone()).map_err(|_| SetupError::Host(host))?;
            Some(Tls { name, authorities, setting })
        } else {
            None
        };
        let route = proxy.and_then(|proxy| proxy.route_to(&address));
        Ok(Self { address, route, tls, lookups: Arc::new(Semaphore::new(LOOKUPS)), failed: Mutex::default() })
    }

    /// A new connection with its peer address, within `limit`.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<(Box<dyn Stream>, SocketAddr), ErrorKind> {
        let deadline = Instant::now() + limit;
        let late = |_| ErrorKind::Timeout { address: self.address.host_and_port(), after: limit };
        let stream = timeout_at(deadline, self.dial()).await.map_err(late)??;
        let peer = stream.peer_addr().map_err(|source| self.unreachable(source))?;
        let secured = timeout_at(deadline, self.secure(stream)).await.map_err(late).flatten();
        if secured.is_err() {
            self.prefer_others(peer);
        }
        Ok((secured?, peer))
    }

    /// Tries other addresses before this one from now on: it accepts connections that cannot be
    /// used.
    pub(crate) fn prefer_others(&self, peer: SocketAddr) {
        let mut failed = lock(&self.failed);
        failed.retain(|address| *address != peer);
        if failed.len() == FAILED_ADDRESSES {
            failed.remove(0);
        }
        failed.push(peer);
    }

    /// Records that this address answers.
    pub(crate) fn answered(&self, peer: SocketAddr) {
        lock(&self.failed).retain(|address| *address != peer);
    }

    /// A TCP connection to the server, or to the proxy.
    async fn dial(&self) -> Result<TcpStream, ErrorKind> {
        let (host, port) = self.next_hop();
        let connect = async {
            let addresses = self.look_up(host, port).await?;
            let failed = lock(&self.failed).clone();
            let stream = connect_first(ordered(&addresses, &failed)).await?;
            // Requests are small, and each is waited for.
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        connect.await.map_err(|source| self.unreachable(source))
    }

    fn next_hop(&self) -> (&str, u16) {
        self.route
            .as_ref()
            .map_or((self.address.host(), self.address.port()), |route| (route.host.as_str(), route.port))
    }

    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        // Held by the thread, which may run longer than the caller waits.
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        let lookup = spawn_blocking(move || {
            let _permit = permit;
            (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
        });
        lookup.await?
    }

    async fn secure(&self, stream: TcpStream) -> Result<Box<dyn Stream>, ErrorKind> {
        let stream: Box<dyn Stream> = match &self.route {
            None => Box::new(stream),
            Some(route) => Box::new(self.tunnel(route, stream).await?),
        };
        let Some(tls) = &self.tls else { return Ok(stream) };
        let connector = TlsConnector::from(tls.authorities.config());
        match connector.connect(tls.name.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(self.tls_error(tls, error)),
        }
    }

    /// Opens a tunnel through the proxy.
    async fn tunnel(
        &self,
        route: &Route,
        stream: TcpStream,
    ) -> Result<TokioIo<upgrade::Upgraded>, ErrorKind> {
        let refused = |status| ErrorKind::Proxy {
            proxy: format!("{}:{}", route.host, route.port),
            address: self.address.host_and_port(),
            status,
        };
        // A proxy that closes the connection may be restarting; one that does not speak HTTP is not
        // a proxy.
        let failed = |error: hyper::Error| {
            if error.is_parse() {
                return refused(0);
            }
            // Nothing has been sent to the server yet.
            self.unreachable(io::Error::other(error))
        };
        let (mut sender, connection) =
            http1::Builder::new().handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(failed)?;
        tokio::spawn(connection.with_upgrades());
        let response = match sender.send_request(self.connect_request(route)).await {
            Ok(response) if response.status().is_success() => response,
            Ok(response) => return Err(refused(response.status().as_u16())),
            Err(error) => return Err(failed(error)),
        };
        Ok(TokioIo::new(upgrade::on(response).await.map_err(failed)?))
    }

    fn connect_request(&self, route: &Route) -> Request<Empty<Bytes>> {
        let target = self.address.host_and_port();
        let mut request = Request::connect(&target).header(header::HOST, &target);
        if let Some(authorization) = &route.authorization {
            request = request.header(header::PROXY_AUTHORIZATION, authorization);
        }
        request.body(Empty::new()).expect("an address is a host and a port")
    }

    fn unreachable(&self, source: io::Error) -> ErrorKind {
        let (host, port) = self.next_hop();
        ErrorKind::Unreachable { address: format!("{host}:{port}"), source }
    }

    fn tls_error(&self, tls: &Tls, error: io::Error) -> ErrorKind {
        let address = self.address.host_and_port();
        let trust = &tls.authorities.trust;
        match error.downcast::<rustls::Error>() {
            Ok(rustls::Error::InvalidCertificate(error)) => ErrorKind::Certificate {
                address,
                fault: certificate::explain(&error, trust, tls.setting),
                is_final: !certificate::may_be_trusted_later(&error, trust),
            },
            Ok(source) => ErrorKind::Tls { address, source },
            Err(source) => ErrorKind::Unreachable { address, source },
        }
    }
}

/// The addresses with alternating families, starting with the family that the system prefers (RFC
/// 8305). Those in `failed` come last, the latest at the end.
fn ordered(addresses: &[SocketAddr], failed: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first = |address: &&SocketAddr| address.is_ipv6() == addresses[0].is_ipv6();
    let mut first = addresses.iter().filter(is_first);
    let mut second = addresses.iter().filter(|address| !is_first(address));
    let mut mixed = Vec::with_capacity(addresses.len());
    while mixed.len() < addresses.len() {
        mixed.extend(first.next());
        mixed.extend(second.next());
    }
    mixed.sort_by_key(|address| failed.iter().position(|other| other == address));
    mixed
}

/// Connects to the first address that accepts. The next attempt starts when one has failed or takes
/// long.
async fn connect_first(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    // The reported error is that of the address that the system prefers.
    let mut failure = None;
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        let is_last = waiting.len() == 0;
        tokio::select! {
            attempt = attempts.join_next() => match attempt {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(failed) => {
                    failure.get_or_insert(failed.map_err(io::Error::from).and_then(|connected| connected).err());
                }
                None => {
                    let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                    return Err(failure.flatten().unwrap_or_else(unknown));
                }
            },
            () = sleep(NEXT_ATTEMPT), if !is_last => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn address_families_alternate_and_failed_ones_are_last() {
        let [a, b, c, d] = ["[::1]:1", "[::2]:1", "127.0.0.1:1", "127.0.0.2:1"];
        let check = |given: &[&str], failed: &[&str], expected: &[&str]| {
            let found = ordered(&addresses(given), &addresses(failed));
            assert_eq!(found, addresses(expected), "{given:?} {failed:?}");
        };
        check(&[a, b, c, d], &[], &[a, c, b, d]);
        check(&[c, a, b], &[], &[c, a, b]);
        check(&[c, d, a], &[], &[c, a, d]);
        check(&[], &[], &[]);
        check(&[a, b, c], &[a], &[c, b, a]);
        check(&[a, b, c], &[a, c], &[b, a, c]);
        check(&[a, b, c], &[d, c, b, a], &[c, b, a]);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_at_once_after_a_refusal() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
        let alive = listener.local_addr().unwrap();
        let started = Instant::now();
        let stream = connect_first(vec![refusing, refusing, alive]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        assert!(started.elapsed() < NEXT_ATTEMPT, "{:?}", started.elapsed());
        let error = connect_first(vec![refusing, refusing]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect_first(vec![]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_delays_by_one_turn() {
        // With a full queue the kernel answers no more connection attempts.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.3:0".parse().unwrap()).unwrap();
        let dead = socket.listen(0).unwrap();
        let address = dead.local_addr().unwrap();
        let mut queued = JoinSet::new();
        for _ in 0..4 {
            queued.spawn(TcpStream::connect(address));
        }
        queued.join_next().await.unwrap().unwrap().unwrap();
        let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let started = Instant::now();
        let stream = connect_first(vec![address, alive.local_addr().unwrap()]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive.local_addr().unwrap());
        let took = started.elapsed();
        assert!((NEXT_ATTEMPT..8 * NEXT_ATTEMPT).contains(&took), "{took:?}");
    }
}
