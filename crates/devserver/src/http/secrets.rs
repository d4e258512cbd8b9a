//! Secrets.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{body, gate::Caller};
use crate::{error::ApiError, route::Category, seed::Permission, shared::Shared, vault::Writer};

/// The maximum number of paths in a batch, as published.
const BATCH_LIMIT: usize = 100;

#[derive(Deserialize)]
pub(super) struct ReadQuery {
    version: Option<u64>,
}

pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(path): Path<String>,
    Query(ReadQuery { version }): Query<ReadQuery>,
) -> Result<Json<Value>, ApiError> {
    let path = body::path(&path)?;
    let vault = shared.vault();
    vault.authorize(&caller, &path, Permission::Read)?;
    vault.secrets.read(&path, version).map(Json)
}

#[derive(Deserialize)]
struct Batch {
    paths: Vec<String>,
    #[serde(default)]
    options: BatchOptions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BatchOptions {
    fail_fast: bool,
    version: Option<u64>,
}

/// Guessed: the status for too many paths, and the answer with `fail_fast`.
pub(super) async fn read_batch(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    bytes: Bytes,
) -> Result<Json<Value>, ApiError> {
    let Batch { paths, options } = body::json(&bytes)?;
    let count = u32::try_from(paths.len()).unwrap_or(u32::MAX);
    if paths.len() > BATCH_LIMIT {
        return Err(ApiError::new("validation_error", format!("at most {BATCH_LIMIT} paths")));
    }
    let now = shared.now();
    let mut vault = shared.vault();
    vault.buckets.take(&caller.id, Category::Read, count, now).check()?;
    let (mut secrets, mut errors) = (Map::new(), Map::new());
    for text in paths {
        let read = body::path(&text).and_then(|path| {
            vault.authorize(&caller, &path, Permission::Read)?;
            vault.secrets.read(&path, options.version)
        });
        match read {
            Ok(whole) => {
                let part = json!({
                    "data": whole["data"], "version": whole["version"], "secret_type": whole["secret_type"],
                });
                secrets.insert(text, part);
            }
            Err(error) if options.fail_fast => return Err(error),
            Err(error) => {
                errors.insert(text, error.in_batch());
            }
        }
    }
    Ok(Json(json!({ "secrets": secrets, "errors": errors })))
}

/// Guessed, but for what it is for: metadata of many paths, without their values.
pub(super) async fn read_versions(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    bytes: Bytes,
) -> Result<Json<Value>, ApiError> {
    let Batch { paths, .. } = body::json(&bytes)?;
    if paths.len() > BATCH_LIMIT {
        return Err(ApiError::new("validation_error", format!("at most {BATCH_LIMIT} paths")));
    }
    let vault = shared.vault();
    let (mut secrets, mut errors) = (Map::new(), Map::new());
    for text in paths {
        let read = body::path(&text).and_then(|path| {
            vault.authorize(&caller, &path, Permission::List)?;
            vault.secrets.read(&path, None)
        });
        match read {
            Ok(Value::Object(mut whole)) => {
                whole.remove("data");
                secrets.insert(text, Value::Object(whole));
            }
            Ok(_) => {}
            Err(error) => {
                errors.insert(text, error.in_batch());
            }
        }
    }
    Ok(Json(json!({ "secrets": secrets, "errors": errors })))
}

#[derive(Deserialize)]
struct Write {
    data: Map<String, Value>,
    secret_type: Option<String>,
}

/// Guessed: status and body of the answer.
pub(super) async fn write(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(path): Path<String>,
    bytes: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let path = body::path(&path)?;
    let Write { data, secret_type } = body::json(&bytes)?;
    let now = shared.now();
    let version = {
        let mut vault = shared.vault();
        vault.authorize(&caller, &path, Permission::Write)?;
        if vault.secrets.is_deleted(&path) {
            return Err(ApiError::of_path("secret_exists", path.as_str(), "a deleted secret holds the path"));
        }
        vault.write(&path, data, secret_type, Writer::Person, now)
    };
    shared.published().notify_waiters();
    let status = if version == 1 { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(json!({ "path": path.as_str(), "version": version }))))
}

#[derive(Deserialize)]
pub(super) struct DeleteQuery {
    #[serde(default)]
    permanent: bool,
}

/// Guessed.
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(path): Path<String>,
    Query(DeleteQuery { permanent }): Query<DeleteQuery>,
) -> Result<StatusCode, ApiError> {
    let path = body::path(&path)?;
    let mut vault = shared.vault();
    vault.authorize(&caller, &path, Permission::Delete)?;
    vault.secrets.delete(&path, permanent)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    prefix: String,
}

/// Returns all in one page. Guessed: the name of the array.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(caller)): Extension<Caller>,
    Query(ListQuery { prefix }): Query<ListQuery>,
) -> Json<Value> {
    let vault = shared.vault();
    let allowed = vault
        .secrets
        .list(&prefix)
        .filter(|(path, _)| vault.authorize(&caller, path, Permission::List).is_ok());
    let secrets: Vec<_> =
        allowed.map(|(path, version)| json!({ "path": path.as_str(), "version": version })).collect();
    Json(json!({ "secrets": secrets, "cursor": null, "has_more": false }))
}
