//! The process: binds, serves until SIGTERM, and ends when all mounts are answered.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use scaivault_client::SetupError;
use scaivault_contract::ObjectName;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::interval,
};
use tonic::transport::Server;

use crate::{
    cluster,
    config::{Config, ConfigError, Given},
    generated::csi_driver_provider_server::CsiDriverProviderServer,
    mount::{Deadlines, NodeSettings, Provider},
    ops,
    socket::{BoundSocket, Incoming, SocketError, merge},
    state::StateFile,
    versions::{VersionKeyError, Versions},
};

/// How often idle logins and secrets are looked for.
const FORGET_INTERVAL: Duration = Duration::from_mins(1);
/// The most bytes of a request: the driver's own limit.
const REQUEST_MAX_BYTES: usize = 4 * 1024 * 1024;

/// What the command line says.
pub(crate) struct Settings {
    pub(crate) sockets: Vec<PathBuf>,
    pub(crate) ops_listen: SocketAddr,
    pub(crate) state_dir: PathBuf,
    pub(crate) node_name: Option<ObjectName>,
    pub(crate) has_dynamic_credentials: bool,
    pub(crate) has_policies: bool,
    pub(crate) given: Given,
}

/// Why the provider does not run.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Client(#[from] SetupError),
    #[error(transparent)]
    VersionKey(#[from] VersionKeyError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("cannot listen at {address} (--ops-listen): {source}")]
    Ops { address: SocketAddr, source: io::Error },
    #[error(
        "no Kubernetes API found, which --node-name needs: {0}; run in a pod with a service account's token"
    )]
    Kubernetes(Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot wait for signals: {0}")]
    Signal(io::Error),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error("the driver's connections cannot be served: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn serve(settings: Settings) -> Result<(), ServeError> {
    let Settings { sockets, ops_listen, state_dir, node_name, has_dynamic_credentials, has_policies, given } =
        settings;
    let versions = Versions::open(&state_dir)?;
    let has_leases = node_name.is_some() && has_dynamic_credentials;
    let state = has_leases.then(|| StateFile::new(&state_dir));
    let node = node_name.map(|name| NodeSettings { name, has_policies });
    let config = Arc::new(Config::read(given)?);
    let provider = Provider::new(config, versions, state, node, Deadlines::default())?;
    // Dropped at the end, which ends what follows the cluster.
    let mut _following = None;
    if let Some(cluster) = provider.cluster() {
        let client = cluster::client().await.map_err(ServeError::Kubernetes)?;
        _following = Some(cluster.follow(&client));
    }
    if let Some(leases) = provider.leases() {
        tokio::spawn(leases.clone().run());
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signal)?;
    let listener = TcpListener::bind(ops_listen)
        .await
        .map_err(|source| ServeError::Ops { address: ops_listen, source })?;
    let bound = sockets.iter().map(|path| BoundSocket::bind(path)).collect::<Result<Vec<_>, _>>()?;
    let (bound, incoming): (Vec<_>, Vec<_>) = bound.into_iter().unzip();
    tracing::info!(sockets = ?sockets, %ops_listen, "listening");
    tokio::spawn(ops::serve(listener, provider.clone(), sockets));
    tokio::spawn(forget_idle(provider.clone()));
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        // First of all, so that the driver waits for the next provider.
        drop(bound);
    };
    serve_incoming(provider, merge(incoming), stopped).await?;
    Ok(())
}

/// Answers the driver until `stopped`, and then what is under way.
pub(crate) async fn serve_incoming(
    provider: Provider,
    incoming: Incoming,
    stopped: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = CsiDriverProviderServer::new(provider).max_decoding_message_size(REQUEST_MAX_BYTES);
    // Without tonic's own timeout: its status makes the driver mount an empty directory.
    Server::builder().add_service(service).serve_with_incoming_shutdown(incoming, stopped).await
}

async fn forget_idle(provider: Provider) {
    let mut ticks = interval(FORGET_INTERVAL);
    loop {
        ticks.tick().await;
        provider.forget_idle();
    }
}
