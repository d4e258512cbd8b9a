//! The process: binds, serves until SIGTERM, and ends when all mounts are answered.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kube::Client;
use scaivault_client::SetupError;
use scaivault_contract::ObjectName;
use scaivault_csi_class::ATTRIBUTES_MAX_BYTES;
use scaivault_ops_thread::OpsThread;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{OnceCell, oneshot},
    time::interval,
};
use tonic::transport::Server;

use crate::{
    cluster,
    config::{Config, ConfigError, ConfigFlags},
    generated::csi_driver_provider_server::CsiDriverProviderServer,
    mount::{Deadlines, NodeSettings, Parts, Provider},
    ops,
    session::SessionFile,
    shared_key::{self, SecretName},
    socket::{BoundSocket, Incoming, SocketError, merge},
    state::StateFile,
    versions::{VersionKeyError, Versions},
};

/// How often idle logins and secrets are removed.
const FORGET_INTERVAL: Duration = Duration::from_mins(1);
/// The maximum size of a request: the attributes, and what the driver adds.
const REQUEST_MAX_BYTES: usize = ATTRIBUTES_MAX_BYTES + 384 * 1024;
/// The maximum number of concurrent calls of a connection, so that their requests fit into memory. Further
/// calls wait in the driver, so the limit for mounts is lower, and mounts beyond it fail at once.
pub(crate) const CALLS_AT_ONCE: u32 = 192;

/// The settings from the command line.
pub(crate) struct Settings {
    pub(crate) sockets: Vec<PathBuf>,
    pub(crate) ops_listen: SocketAddr,
    pub(crate) state_dir: PathBuf,
    pub(crate) node_name: Option<ObjectName>,
    pub(crate) has_dynamic_credentials: bool,
    pub(crate) has_policies: bool,
    pub(crate) version_key: VersionKey,
    pub(crate) given: ConfigFlags,
}

/// The source of the key of object versions.
pub(crate) enum VersionKey {
    /// The state directory: each node has its own key, until it reboots.
    OfNode,
    /// A file that is the same on all nodes.
    File(PathBuf),
    /// A Secret, which the first node fills.
    Secret(SecretName),
}

/// Why the provider cannot run.
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
        "no Kubernetes API found, which --node-name and --version-key-secret need: {0}; run in a pod with a service account's token"
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
    let Settings {
        sockets,
        ops_listen,
        state_dir,
        node_name,
        has_dynamic_credentials,
        has_policies,
        version_key,
        given,
    } = settings;
    let api = OnceCell::new();
    let versions = versions(version_key, &api, &state_dir).await?;
    let has_leases = node_name.is_some() && has_dynamic_credentials;
    let state = StateFile::new(&state_dir);
    let config = Arc::new(Config::read(given)?);
    if !has_leases {
        state.discard();
    }
    let provider = Provider::new(Parts {
        config,
        versions,
        leases: has_leases.then_some(state),
        session: SessionFile::new(&state_dir),
        listener: listener_name(&sockets, node_name.as_ref()),
        node: node_name.map(|name| NodeSettings { name, has_policies }),
        deadlines: Deadlines::default(),
    })?;
    // Dropped at the end, which stops the watches.
    let mut _following = None;
    if let Some(cluster) = provider.cluster() {
        _following = Some(cluster.follow(client(&api).await?));
    }
    if let Some(leases) = provider.leases() {
        tokio::spawn(leases.clone().run());
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signal)?;
    let ops_thread = OpsThread::start().map_err(ServeError::Runtime)?;
    let listener = ops_thread.handle().spawn(TcpListener::bind(ops_listen)).await;
    let listener = listener
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
        .map_err(|source| ServeError::Ops { address: ops_listen, source })?;
    let bound = sockets.iter().map(|path| BoundSocket::bind(path)).collect::<Result<Vec<_>, _>>()?;
    let (bound, incoming): (Vec<_>, Vec<_>) = bound.into_iter().unzip();
    tracing::info!(sockets = ?sockets, %ops_listen, "listening");
    ops_thread.handle().spawn(ops::serve(listener, provider.clone(), sockets));
    tokio::spawn(forget_idle(provider.clone()));
    tokio::spawn(provider.clone().keep_session());
    let (stopping, stop) = oneshot::channel::<()>();
    let stopping_provider = provider.clone();
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop_listening(&stopping_provider, bound).await;
        drop(stopping);
    };
    let giving_back = async {
        // This drops the sender.
        drop(stop.await);
        provider.stop().await;
    };
    let (served, ()) = tokio::join!(serve_incoming(provider.clone(), merge(incoming), stopped), giving_back);
    provider.save_leases().await;
    Ok(served?)
}

/// Waits for credentials that are being generated, and then removes the sockets, so that the driver waits
/// for the next provider. Until then mounts are answered: an engine that hangs must not prevent other pods
/// of the node from starting.
pub(crate) async fn stop_listening(provider: &Provider, bound: Vec<BoundSocket>) {
    if let Some(leases) = provider.leases() {
        leases.finish_generations().await;
    }
    drop(bound);
}

/// Reads the key of object versions.
async fn versions(key: VersionKey, api: &OnceCell<Client>, state_dir: &Path) -> Result<Versions, ServeError> {
    Ok(match key {
        VersionKey::OfNode => Versions::open(state_dir)?,
        VersionKey::File(file) => Versions::read(&file)?,
        VersionKey::Secret(secret) => {
            Versions::shared(shared_key::read_or_create(client(api).await?, &secret).await, state_dir)?
        }
    })
}

/// The client of the cluster, created on first use.
async fn client(api: &OnceCell<Client>) -> Result<&Client, ServeError> {
    api.get_or_try_init(cluster::client).await.map_err(ServeError::Kubernetes)
}

/// A name that shows operators whose subscriptions these are: those of this provider on this node.
fn listener_name(sockets: &[PathBuf], node: Option<&ObjectName>) -> String {
    let provider = sockets.first().and_then(|socket| socket.file_stem()).unwrap_or_default();
    let node = node.map_or("unknown-node", ObjectName::as_str);
    format!("scaivault-csi-provider/{}/{node}", provider.to_string_lossy())
}

/// Serves the driver until `stopped`, and then completes the calls in progress.
pub(crate) async fn serve_incoming(
    provider: Provider,
    incoming: Incoming,
    stopped: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = CsiDriverProviderServer::new(provider).max_decoding_message_size(REQUEST_MAX_BYTES);
    // Without tonic's own timeout, because its status makes the driver mount an empty directory.
    Server::builder()
        .max_concurrent_streams(CALLS_AT_ONCE)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stopped)
        .await
}

async fn forget_idle(provider: Provider) {
    let mut ticks = interval(FORGET_INTERVAL);
    loop {
        ticks.tick().await;
        provider.forget_idle();
    }
}
