//! The steps of every request before its route: counting, faults, authentication and rate limits.

use std::{future::pending, sync::Arc};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    error::ApiError,
    route::Route,
    seed::Identity,
    shared::Shared,
    vault::{buckets::Level, faults::Disturbance},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The identity that sent the request.
#[derive(Clone)]
pub(super) struct Caller(pub(super) Identity);

pub(super) async fn gate(
    State((shared, route)): State<(Arc<Shared>, Route)>,
    mut request: Request,
    next: Next,
) -> Response {
    let request_id = format!("req_{}", shared.vault().random.word());
    shared.count(route);
    let Disturbance { delay, lateness, answer, hangs, refusal } = shared.vault().faults.disturb(route);
    if hangs {
        pending::<()>().await;
    }
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if let Some((status, body)) = answer {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        return complete((status, body).into_response(), &request_id, None);
    }
    let mut level = None;
    let admitted = match refusal {
        Some(refusal) => Err(refusal),
        None => admit(&shared, route, request.headers(), &mut level),
    };
    let response = match admitted {
        Ok(Some(caller)) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(None) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    if !lateness.is_zero() {
        tokio::time::sleep(lateness).await;
    }
    complete(response, &request_id, level)
}

/// Returns `None` for a route without authentication. `level` is set for the rate-limit headers,
/// whatever the outcome.
fn admit(
    shared: &Shared,
    route: Route,
    headers: &HeaderMap,
    level: &mut Option<Level>,
) -> Result<Option<Caller>, ApiError> {
    if !route.is_authenticated() {
        return Ok(None);
    }
    let now = shared.now();
    let mut vault = shared.vault();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let tenant = text(HeaderName::from_static("x-tenant-id"));
    let identity = vault.authenticate(text(header::AUTHORIZATION), tenant, route, now)?;
    if let Some(category) = route.category() {
        let taken = vault.buckets.take(&identity.id, category, 1, now);
        *level = Some(taken);
        taken.check()?;
    }
    Ok(Some(Caller(identity)))
}

/// Adds the common headers, and the body of an error.
fn complete(mut response: Response, request_id: &str, level: Option<Level>) -> Response {
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let (head, _) = response.into_parts();
        let mut whole = Json(error.envelope(request_id)).into_response();
        *whole.status_mut() = head.status;
        whole.headers_mut().extend(
            head.headers
                .into_iter()
                .filter(|(name, _)| name.as_ref().is_some_and(|name| *name == header::RETRY_AFTER)),
        );
        response = whole;
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    if let Some(Level { limit, remaining, reset, retry_after: _ }) = level {
        headers.insert(HeaderName::from_static("x-ratelimit-limit"), limit.into());
        headers.insert(HeaderName::from_static("x-ratelimit-remaining"), remaining.into());
        headers.insert(HeaderName::from_static("x-ratelimit-reset"), reset.into());
    }
    response
}
