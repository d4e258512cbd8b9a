//! Subscriptions: events by long poll.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{body, gate::Caller};
use crate::{error::ApiError, shared::Shared, vault::subscriptions::NewSubscription};

/// The maximum wait, as published. Guessed: a longer one is capped instead of rejected.
const WAIT_LIMIT_SECONDS: u64 = 60;

#[derive(Deserialize)]
struct Subscribe {
    name: String,
    paths: Vec<String>,
    events: Vec<String>,
    delivery: Delivery,
}

#[derive(Deserialize)]
struct Delivery {
    r#type: String,
    #[serde(default = "default_buffer_size")]
    buffer_size: usize,
}

fn default_buffer_size() -> usize {
    1000
}

/// Delivery by webhook is not supported.
pub(super) async fn subscribe(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    bytes: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Subscribe { name, paths, events, delivery } = body::json(&bytes)?;
    if delivery.r#type != "polling" {
        return Err(ApiError::new("validation_error", "delivery.type: this server has polling alone"));
    }
    if paths.is_empty() || events.is_empty() {
        return Err(ApiError::new("validation_error", "paths and events: at least one"));
    }
    let new = NewSubscription { name: name.clone(), paths, events, buffer_size: delivery.buffer_size };
    let mut vault = shared.vault();
    let vault = &mut *vault;
    let id = vault.subscriptions.create(&caller, new, &mut vault.random);
    let made = json!({ "id": id, "name": name, "status": "active", "identity_id": caller.id });
    Ok((StatusCode::CREATED, Json(made)))
}

/// Guessed: the answer, which has a single page here.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
) -> Json<Value> {
    let named = shared.vault().subscriptions.named(&caller);
    let listed: Vec<_> = named.into_iter().map(|(id, name)| json!({ "id": id, "name": name })).collect();
    Json(json!({ "subscriptions": listed, "cursor": null, "has_more": false }))
}

#[derive(Deserialize)]
pub(super) struct PollQuery {
    #[serde(default = "default_timeout")]
    timeout: u64,
    since_event_id: Option<String>,
    #[serde(default = "default_max_events")]
    max_events: usize,
}

fn default_timeout() -> u64 {
    30
}

fn default_max_events() -> usize {
    100
}

pub(super) async fn poll(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(id): Path<String>,
    Query(PollQuery { timeout, since_event_id, max_events }): Query<PollQuery>,
) -> Result<Json<Value>, ApiError> {
    let deadline = Instant::now() + Duration::from_secs(timeout.min(WAIT_LIMIT_SECONDS));
    loop {
        let mut published = pin!(shared.published().notified());
        // From here on no event can be missed.
        published.as_mut().enable();
        let (events, has_more) =
            shared.vault().subscriptions.waiting(&caller, &id, since_event_id.as_deref(), max_events)?;
        if !events.is_empty() || timeout_at(deadline, published).await.is_err() {
            return Ok(Json(json!({ "events": events, "has_more": has_more })));
        }
    }
}

#[derive(Deserialize)]
struct Change {
    paths: Vec<String>,
}

/// Guessed: the answer.
pub(super) async fn change(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Result<Json<Value>, ApiError> {
    let Change { paths } = body::json(&bytes)?;
    if paths.is_empty() {
        return Err(ApiError::new("validation_error", "paths: at least one"));
    }
    shared.vault().subscriptions.change(&caller, &id, paths)?;
    Ok(Json(json!({ "id": id, "status": "active", "identity_id": caller.id })))
}

#[derive(Deserialize)]
struct Acknowledge {
    event_ids: Vec<String>,
}

/// Guessed: the answer.
pub(super) async fn acknowledge(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Result<Json<Value>, ApiError> {
    let Acknowledge { event_ids } = body::json(&bytes)?;
    let acknowledged = shared.vault().subscriptions.acknowledge(&caller, &id, &event_ids)?;
    Ok(Json(json!({ "acknowledged": acknowledged })))
}

/// Guessed: the status.
pub(super) async fn unsubscribe(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    shared.vault().subscriptions.delete(&caller, &id)?;
    Ok(StatusCode::NO_CONTENT)
}
