//! Listening: HTTPS, or plain HTTP on loopback.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use scaivault_certs::{Authority, CertResolver, IssueError, LoadError, load, server_config};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    ConnectError, Handle, Issuer, Keys, Seed, admin, http, postgres::Databases, random::Random,
    shared::Shared, users, vault::Vault,
};

/// How long a generated certificate is valid.
const CERTIFICATE_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// The settings of a server.
pub struct Settings {
    /// Its initial content.
    pub seed: Seed,
    /// The keys of the tokens that it accepts.
    pub keys: Keys,
    /// An issuer for the tokens that the admin port hands out; `None` if a cluster's tokens are
    /// accepted.
    pub issuer: Option<Arc<Issuer>>,
    /// Its address; port 0 selects a free port.
    pub listen: SocketAddr,
    /// The loopback address of the admin port; `None` for no admin port.
    pub admin: Option<SocketAddr>,
    /// HTTPS or not.
    pub tls: Tls,
}

impl Settings {
    /// Plain HTTP on a free loopback port, without an admin port: the settings of most tests.
    pub fn for_tests(seed: Seed, issuer: &Arc<Issuer>) -> Self {
        Self {
            seed,
            keys: issuer.keys(),
            issuer: Some(Arc::clone(issuer)),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            admin: None,
            tls: Tls::Off,
        }
    }
}

/// HTTPS or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Plain HTTP, only on loopback.
    Off,
    /// With a certificate for these DNS names and addresses, issued by an authority created for
    /// this run.
    Generated(Vec<String>),
    /// With `tls.crt` and `tls.key` in this directory.
    Directory(PathBuf),
}

/// Why a server could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// Plain HTTP, or the admin port, on an address that other machines can reach.
    #[error("{what} on {address} could be reached from elsewhere; listen on a loopback address{fix}")]
    NotLoopback {
        /// Which port.
        what: &'static str,
        /// The requested address.
        address: IpAddr,
        /// An alternative fix.
        fix: &'static str,
    },
    /// The port could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// No certificate could be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The PostgreSQL of an engine cannot be used.
    #[error(transparent)]
    Database(#[from] ConnectError),
    /// The error of the TLS library.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A running server. It stops, with all its connections, on drop.
pub struct DevServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    ca_pem: Option<String>,
    is_https: bool,
    connections: Arc<AtomicU64>,
    handle: Handle,
    _running: DropGuard,
}

impl DevServer {
    /// Binds the ports and starts serving in the current runtime.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let Settings { seed, keys, issuer, listen, admin, tls } = settings;
        if tls == Tls::Off && !listen.ip().is_loopback() {
            let (what, fix) = ("plain HTTP", ", or give it a certificate");
            return Err(StartError::NotLoopback { what, address: listen.ip(), fix });
        }
        if let Some(admin) = admin.filter(|admin| !admin.ip().is_loopback()) {
            return Err(StartError::NotLoopback { what: "the admin port", address: admin.ip(), fix: "" });
        }
        let is_https = tls != Tls::Off;
        let (acceptor, ca_pem) = acceptor(tls, SystemTime::now())?;
        let (listener, address) = bind(listen).await?;
        let admin = match admin {
            None => None,
            Some(admin) => Some(bind(admin).await?),
        };
        let databases = Databases::connect(&seed.engines).await?;
        let has_database = !databases.is_empty();
        let vault = Vault::new(seed, keys, Random::new(), jiff::Timestamp::now());
        let shared = Arc::new(Shared::new(vault, databases));
        let running = CancellationToken::new();
        if has_database {
            let dropping = users::drop_as_they_end(Arc::clone(&shared));
            tokio::spawn(running.clone().run_until_cancelled_owned(dropping));
        }
        let connections = Arc::new(AtomicU64::new(0));
        let serve = |listener, router, acceptor, connections| {
            let serving = serve(listener, router, acceptor, connections, running.clone());
            tokio::spawn(running.clone().run_until_cancelled_owned(serving));
        };
        serve(listener, http::router(Arc::clone(&shared)), acceptor, Arc::clone(&connections));
        let admin = admin.map(|(listener, address)| {
            serve(listener, admin::router(Arc::clone(&shared), issuer), None, Arc::default());
            address
        });
        let handle = Handle::new(Arc::clone(&shared));
        Ok(Self {
            shared,
            address,
            admin,
            ca_pem,
            is_https,
            connections,
            handle,
            _running: running.drop_guard(),
        })
    }

    /// The address of the API.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the admin port.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The URL of the API for clients.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_https { "https" } else { "http" }, self.address)
    }

    /// The CA certificate of a generated certificate, PEM.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Number of connections since the start, excluding those of the admin port.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Stops it and ends all leases, so that no database user remains.
    pub async fn stop(self) {
        let Self { shared, _running: running, .. } = self;
        drop(running);
        users::drop_all(&shared).await;
    }

    /// A handle for tests.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

fn acceptor(tls: Tls, now: SystemTime) -> Result<(Option<TlsAcceptor>, Option<String>), StartError> {
    let (key, ca_pem) = match tls {
        Tls::Off => return Ok((None, None)),
        Tls::Generated(names) => {
            let authority = Authority::new("scaivault-devserver", now, CERTIFICATE_LIFETIME)?;
            let leaf = authority.issue(&names, now, CERTIFICATE_LIFETIME)?;
            (leaf.certified_key()?, Some(authority.certificate_pem().to_owned()))
        }
        Tls::Directory(directory) => (load(&directory, now)?.key, None),
    };
    let config = server_config(Arc::new(CertResolver::new(key)))?;
    Ok((Some(TlsAcceptor::from(config)), ca_pem))
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| StartError::Bind { address, source })
}

async fn serve(
    listener: TcpListener,
    router: Router,
    acceptor: Option<TlsAcceptor>,
    connections: Arc<AtomicU64>,
    running: CancellationToken,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Most likely out of file descriptors: other connections have to end first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        connections.fetch_add(1, Ordering::Relaxed);
        let (router, acceptor) = (router.clone(), acceptor.clone());
        let connection = async move {
            match acceptor {
                None => serve_connection(stream, router).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => serve_connection(stream, router).await,
                    Err(error) => tracing::debug!(%error, "TLS handshake failed"),
                },
            }
        };
        tokio::spawn(running.clone().run_until_cancelled_owned(connection));
    }
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let service = TowerToHyperService::new(router);
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "connection ended");
    }
}
