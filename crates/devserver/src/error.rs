//! Errors in `ScaiVault`'s format.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// An error with its code. The request's identifier is added later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    code: String,
    message: String,
    /// The only member of `details` that is needed here.
    path: Option<String>,
    retry_after: Option<Duration>,
}

impl ApiError {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), path: None, retry_after: None }
    }

    pub(crate) fn of_path(code: &str, path: &str, message: impl Into<String>) -> Self {
        Self { path: Some(path.to_owned()), ..Self::new(code, message) }
    }

    pub(crate) fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    /// The error for one path of a batch.
    pub(crate) fn in_batch(&self) -> Value {
        json!({ "code": self.code, "message": self.message })
    }

    /// The complete envelope.
    pub(crate) fn envelope(&self, request_id: &str) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message, "request_id": request_id });
        if let Some(path) = &self.path {
            error["details"] = json!({ "path": path });
        }
        json!({ "error": error })
    }

    fn status(&self) -> StatusCode {
        match self.code.as_str() {
            "authentication_required" | "token_expired" | "token_invalid" | "token_revoked" => {
                StatusCode::UNAUTHORIZED
            }
            "access_denied"
            | "insufficient_scope"
            | "mfa_required"
            | "ip_not_allowed"
            | "time_window_violation"
            | "tenant_access_denied"
            | "forbidden" => StatusCode::FORBIDDEN,
            "validation_error" => StatusCode::UNPROCESSABLE_ENTITY,
            "policy_in_use" | "secret_exists" | "version_conflict" => StatusCode::CONFLICT,
            "rate_limited" => StatusCode::TOO_MANY_REQUESTS,
            "service_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            "internal_error" => StatusCode::INTERNAL_SERVER_ERROR,
            code if code.ends_with("_not_found") => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for ApiError {
    /// `gate` adds the body, because it knows the request's identifier.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        response.extensions_mut().insert(self);
        response
    }
}
