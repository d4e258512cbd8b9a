//! Health and version.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{clock::whole_seconds, shared::Shared};

pub(super) async fn health(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "status": "healthy", "timestamp": whole_seconds(shared.now()) }))
}

/// Not in the error envelope, as published.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.is_ready() {
        let checks = json!({ "database": "ok", "redis": "ok", "encryption": "ok" });
        return Json(json!({ "status": "ready", "checks": checks })).into_response();
    }
    let checks = json!({ "database": "ok", "redis": "error", "encryption": "ok" });
    let errors = json!({ "redis": "switched off" });
    let body = Json(json!({ "status": "not_ready", "checks": checks, "errors": errors }));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

pub(super) async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}
