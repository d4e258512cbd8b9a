//! The admin port: the switches of [`Handle`] over HTTP. It has no authentication, so it only
//! listens on loopback.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{get, post, put},
};
use jiff::Timestamp;
use scaivault_contract::SecretPath;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{Fault, Handle, Issuer, route::Category, shared::Shared};

#[derive(Clone)]
struct Admin {
    handle: Handle,
    shared: Arc<Shared>,
    /// `None` if the tokens of a real cluster are verified.
    issuer: Option<Arc<Issuer>>,
}

pub(crate) fn router(shared: Arc<Shared>, issuer: Option<Arc<Issuer>>) -> Router {
    let handle = Handle::new(Arc::clone(&shared));
    Router::new()
        .route("/requests", get(requests))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/rate-limits", put(set_rate_limit))
        .route("/tokens", post(mint))
        .route("/tokens/lifetime", put(set_token_lifetime))
        .route("/tokens/expire", post(expire_tokens))
        .route("/tokens/revoke", post(revoke_tokens))
        .route("/leases", get(leases))
        .route("/leases/live", get(live_leases))
        .route("/leases/{id}/take-away", post(take_lease_away))
        .route("/clock/advance", post(advance))
        .route("/ready", put(set_ready))
        .route("/secrets/{*path}", put(write).delete(delete))
        .route("/rotate/{*path}", post(rotate))
        .with_state(Admin { handle, shared, issuer })
}

async fn requests(State(admin): State<Admin>) -> Json<Value> {
    Json(json!(*admin.shared.requests().borrow()))
}

async fn faults(State(admin): State<Admin>) -> Json<Vec<Fault>> {
    Json(admin.handle.faults())
}

async fn add_fault(State(admin): State<Admin>, Json(fault): Json<Fault>) -> StatusCode {
    admin.handle.add_fault(fault);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(admin): State<Admin>) -> StatusCode {
    admin.handle.clear_faults();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateLimit {
    category: Category,
    per_minute: u32,
}

async fn set_rate_limit(
    State(admin): State<Admin>,
    Json(RateLimit { category, per_minute }): Json<RateLimit>,
) -> StatusCode {
    admin.handle.set_rate_limit(category, per_minute);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mint {
    namespace: String,
    service_account: String,
    #[serde(default = "default_audience")]
    audience: String,
    #[serde(default = "default_seconds")]
    seconds: i64,
}

fn default_audience() -> String {
    "scaivault".to_owned()
}

fn default_seconds() -> i64 {
    3600
}

/// Issues a service account's token, if the server has its own issuer.
async fn mint(State(admin): State<Admin>, Json(wanted): Json<Mint>) -> Result<String, StatusCode> {
    let Mint { namespace, service_account, audience, seconds } = wanted;
    let issuer = admin.issuer.ok_or(StatusCode::NOT_FOUND)?;
    let now: Timestamp = admin.shared.now();
    issuer
        .mint(&namespace, &service_account, &audience, now, seconds)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seconds {
    seconds: u64,
}

async fn set_token_lifetime(
    State(admin): State<Admin>,
    Json(Seconds { seconds }): Json<Seconds>,
) -> StatusCode {
    admin.handle.set_token_lifetime(seconds);
    StatusCode::NO_CONTENT
}

async fn expire_tokens(State(admin): State<Admin>) -> StatusCode {
    admin.handle.expire_tokens();
    StatusCode::NO_CONTENT
}

async fn revoke_tokens(State(admin): State<Admin>) -> StatusCode {
    admin.handle.revoke_tokens();
    StatusCode::NO_CONTENT
}

async fn leases(State(admin): State<Admin>) -> Json<Value> {
    Json(json!(admin.handle.leases()))
}

async fn live_leases(State(admin): State<Admin>) -> Json<usize> {
    Json(admin.handle.live_leases())
}

async fn take_lease_away(State(admin): State<Admin>, Path(id): Path<String>) -> StatusCode {
    if admin.handle.take_lease_away(&id) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn advance(State(admin): State<Admin>, Json(Seconds { seconds }): Json<Seconds>) -> StatusCode {
    admin.handle.advance(Duration::from_secs(seconds));
    StatusCode::NO_CONTENT
}

async fn set_ready(State(admin): State<Admin>, Json(is_ready): Json<bool>) -> StatusCode {
    admin.handle.set_ready(is_ready);
    StatusCode::NO_CONTENT
}

/// The body is the secret's data; the answer is its version.
async fn write(
    State(admin): State<Admin>,
    Path(path): Path<String>,
    Json(data): Json<Map<String, Value>>,
) -> Result<Json<u64>, (StatusCode, String)> {
    Ok(Json(admin.handle.write(&parsed(&path)?, data)))
}

async fn rotate(
    State(admin): State<Admin>,
    Path(path): Path<String>,
    Json(data): Json<Map<String, Value>>,
) -> Result<Json<u64>, (StatusCode, String)> {
    Ok(Json(admin.handle.rotate(&parsed(&path)?, data)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    #[serde(default)]
    permanent: bool,
}

async fn delete(
    State(admin): State<Admin>,
    Path(path): Path<String>,
    Query(DeleteQuery { permanent }): Query<DeleteQuery>,
) -> Result<StatusCode, (StatusCode, String)> {
    let path = parsed(&path)?;
    let was_there = if permanent { admin.handle.delete_for_good(&path) } else { admin.handle.delete(&path) };
    Ok(if was_there { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND })
}

fn parsed(path: &str) -> Result<SecretPath, (StatusCode, String)> {
    path.parse().map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}")))
}
