//! Login.

use std::sync::Arc;

use axum::{
    Extension, Form, Json,
    body::Bytes,
    extract::{FromRequest, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body, gate::Caller};
use crate::{error::ApiError, refetch, shared::Shared};

#[derive(Deserialize)]
struct Exchange {
    subject_token: Option<String>,
    subject_token_type: Option<String>,
    audience: Option<String>,
    role: Option<String>,
}

/// Guessed: the bodies of request and answer, according to RFC 8693.
pub(super) async fn exchange(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let Exchange { subject_token, subject_token_type, audience, role } = json_or_form(request).await?;
    let subject_token =
        subject_token.ok_or_else(|| ApiError::new("invalid_request", "subject_token is missing"))?;
    let is_jwt = |kind: &str| kind.ends_with(":jwt") || kind.ends_with(":id_token");
    if subject_token_type.is_some_and(|kind| !is_jwt(&kind)) {
        return Err(ApiError::new("invalid_request", "subject_token_type is not that of a JWT"));
    }
    refetch::for_token(&shared, &subject_token).await?;
    let now = shared.now();
    let mut vault = shared.vault();
    let (token, seconds) = vault.exchange(&subject_token, audience.as_deref(), role.as_deref(), now)?;
    Ok(Json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": seconds })))
}

async fn json_or_form(request: Request) -> Result<Exchange, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let invalid = |error: String| ApiError::new("invalid_request", error);
    if kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        let form = Form::<Exchange>::from_request(request, &()).await;
        return form.map(|Form(form)| form).map_err(|error| invalid(error.to_string()));
    }
    let bytes = Bytes::from_request(request, &()).await.map_err(|error| invalid(error.to_string()))?;
    body::json(&bytes)
}

#[derive(Deserialize)]
pub(super) struct ClientCredentials {
    grant_type: String,
    client_id: String,
    client_secret: String,
}

/// `ScaiKey`'s token endpoint. Guessed: its errors, according to RFC 6749.
pub(super) async fn client_credentials(
    State(shared): State<Arc<Shared>>,
    Form(ClientCredentials { grant_type, client_id, client_secret }): Form<ClientCredentials>,
) -> Response {
    let refuse = |status: StatusCode, error: &str| (status, Json(json!({ "error": error }))).into_response();
    if grant_type != "client_credentials" {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let now = shared.now();
    match shared.vault().client_credentials(&client_id, &client_secret, now) {
        None => refuse(StatusCode::UNAUTHORIZED, "invalid_client"),
        Some((token, seconds)) => {
            Json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": seconds }))
                .into_response()
        }
    }
}

pub(super) async fn whoami(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(identity)): Extension<Caller>,
) -> Json<Value> {
    let tenant = shared.vault().tenant.clone();
    Json(json!({
        "identity_id": identity.id, "identity_type": "service_account", "tenant_id": tenant,
        "partner_id": "ptn_dev", "scopes": identity.scopes,
    }))
}
