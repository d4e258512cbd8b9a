//! Dynamic credentials and their leases. Guessed: all bodies, and the routes of leases.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use scaivault_contract::Duration as Ttl;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{body, gate::Caller};
use crate::{error::ApiError, shared::Shared};

#[derive(Deserialize)]
struct Generate {
    ttl: Option<String>,
}

pub(super) async fn generate(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path((engine, role)): Path<(String, String)>,
    bytes: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Generate { ttl } = body::json(&bytes)?;
    let ttl = ttl.as_deref().map(duration).transpose()?;
    let (engine, role) = (name(&engine, "engine_not_found")?, name(&role, "invalid_role")?);
    let now = shared.now();
    let mut vault = shared.vault();
    let vault = &mut *vault;
    let lease = vault.leases.generate(&caller, &engine, &role, ttl, now, &mut vault.random)?;
    Ok((StatusCode::CREATED, Json(lease)))
}

#[derive(Deserialize)]
struct Renew {
    increment: Option<String>,
}

pub(super) async fn renew(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Result<Json<Value>, ApiError> {
    let Renew { increment } = body::json(&bytes)?;
    let increment = increment.as_deref().map(duration).transpose()?;
    let now = shared.now();
    shared.vault().leases.renew(&caller, &id, increment, now).map(Json)
}

pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let now = shared.now();
    shared.vault().leases.revoke(&caller, &id, now)?;
    Ok(StatusCode::NO_CONTENT)
}

fn duration(text: &str) -> Result<Ttl, ApiError> {
    text.parse().map_err(|error| ApiError::new("invalid_duration", format!("{error}")))
}

fn name<T: DeserializeOwned>(text: &str, code: &str) -> Result<T, ApiError> {
    serde_json::from_value(Value::from(text)).map_err(|error| ApiError::new(code, error.to_string()))
}
