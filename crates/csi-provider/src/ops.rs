//! The port for the kubelet's probes and for Prometheus.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, UnixStream},
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};

use crate::{
    generated::{VersionRequest, csi_driver_provider_client::CsiDriverProviderClient},
    mount::Provider,
};

/// How long a socket may take to answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Ops {
    provider: Provider,
    sockets: Arc<[PathBuf]>,
}

/// Serves `/livez`, `/healthz`, `/readyz` and `/metrics` on a separate thread, so that mounts under load do
/// not delay probes.
pub(crate) async fn serve(listener: TcpListener, provider: Provider, sockets: Vec<PathBuf>) {
    let router = Router::new()
        .route("/livez", get(StatusCode::OK))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Ops { provider, sockets: sockets.into() });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "ops port failed");
    }
}

/// Ready if it is healthy and knows the policies, so that an update of the `DaemonSet` does not replace
/// providers that know them by others that do not. A restart would not help, so it is not part of `healthz`.
async fn readyz(State(ops): State<Ops>) -> (StatusCode, String) {
    if ops.provider.cluster().is_some_and(|cluster| !cluster.is_ready()) {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "waiting for InjectionPolicies and namespaces\n".to_owned(),
        );
    }
    healthz(State(ops)).await
}

/// Healthy if a call through every socket succeeds.
async fn healthz(State(ops): State<Ops>) -> (StatusCode, String) {
    for socket in &*ops.sockets {
        if !matches!(timeout(READY_TIMEOUT, is_answering(socket.clone())).await, Ok(true)) {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("{} does not answer\n", socket.display()));
        }
    }
    (StatusCode::OK, "ok\n".to_owned())
}

async fn is_answering(socket: PathBuf) -> bool {
    let Ok(channel) = connect(socket).await else { return false };
    CsiDriverProviderClient::new(channel)
        .version(VersionRequest { version: "v1alpha1".to_owned() })
        .await
        .is_ok()
}

/// Connects as the driver does.
pub(crate) async fn connect(socket: PathBuf) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}

async fn metrics(State(ops): State<Ops>) -> String {
    ops.provider.metrics()
}
