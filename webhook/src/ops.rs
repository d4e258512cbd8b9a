//! The plain-text port for probes and metrics. It is served on a separate thread, see
//! [`crate::serve`].

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{metrics::Metrics, readiness::Readiness};

/// The media type of `OpenMetrics`, as Prometheus requests it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Ops {
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

/// `/livez`: the process answers. `/readyz`: 200 if the server is ready, else 503 with the reason.
/// `/metrics`.
pub(crate) fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .with_state(Ops { readiness, metrics })
}

async fn readyz(State(ops): State<Ops>) -> Response {
    match ops.readiness.check() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn exposition(State(ops): State<Ops>) -> Response {
    // Computed on each scrape, so that gates need not update the metric.
    ops.metrics.ready(ops.readiness.check().is_ok());
    match ops.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
