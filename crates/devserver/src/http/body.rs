//! Bodies and paths of requests, with errors in `ScaiVault`'s format.

use axum::body::Bytes;
use scaivault_contract::SecretPath;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Parses the JSON of a body; an empty body is an empty object.
pub(super) fn json<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ApiError::new("invalid_request", error.to_string()))
}

pub(super) fn path(text: &str) -> Result<SecretPath, ApiError> {
    text.parse().map_err(|error| ApiError::of_path("invalid_path", text, format!("{error}")))
}
