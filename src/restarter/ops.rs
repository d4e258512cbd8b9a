//! The HTTP port for probes and metrics.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;

use super::{memory::Memory, metrics::Metrics};

#[derive(Clone)]
struct Ops {
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
}

/// Serves `/livez`, `/readyz` (all lists are complete) and `/metrics`.
pub(super) async fn serve(listener: TcpListener, memory: Arc<Memory>, metrics: Arc<Metrics>) {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(async |State(ops): State<Ops>| ops.metrics.text(&ops.memory)))
        .with_state(Ops { memory, metrics });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "ops port failed");
    }
}

async fn readyz(State(ops): State<Ops>) -> (StatusCode, String) {
    match ops.memory.is_waiting_for() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {missing}\n")),
    }
}
