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
use crate::{error::ApiError, shared::Shared, users, vault::Vault};

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
    let draft = {
        let mut vault = shared.vault();
        let Vault { leases, random, .. } = &mut *vault;
        leases.draft(&caller, &engine, &role, ttl, now, random)?
    };
    Ok((StatusCode::CREATED, Json(users::generate(shared, draft).await?)))
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
    let (user, expires) = shared.vault().leases.draft_renewal(&caller, &id, increment, shared.now())?;
    users::renew(&shared, &user, expires).await?;
    let now = shared.now();
    shared.vault().leases.renew(&caller, &id, expires, now).map(Json)
}

pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let now = shared.now();
    let user = shared.vault().leases.revoke(&caller, &id, now)?;
    // The client may disconnect before the user is dropped.
    shared.leases_changed().notify_one();
    users::drop_user(&shared, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn duration(text: &str) -> Result<Ttl, ApiError> {
    text.parse().map_err(|error| ApiError::new("invalid_duration", format!("{error}")))
}

fn name<T: DeserializeOwned>(text: &str, code: &str) -> Result<T, ApiError> {
    serde_json::from_value(Value::from(text)).map_err(|error| ApiError::new(code, error.to_string()))
}
