//! `POST /mutate`: from an HTTP request to its answer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
    routing::post,
};
use prometheus_client::metrics::gauge::Gauge;

use crate::{
    body::{self, BodyError},
    context::AdmissionContext,
    limits::Limits,
    metrics::{Metrics, Shed},
    record::record,
    reply::{Answer, Reply},
};

/// The path of the mutating webhook.
pub const MUTATE_PATH: &str = "/mutate";

/// A body of this size or more is decided on a thread of its own: it takes milliseconds, in which a worker would
/// answer a hundred others.
const LARGE_BODY_BYTES: usize = 256 * 1024;

struct App {
    context: Arc<AdmissionContext>,
    metrics: Arc<Metrics>,
    limits: Limits,
}

/// The routes of the admission port.
pub fn router(context: Arc<AdmissionContext>, metrics: Arc<Metrics>, limits: Limits) -> Router {
    Router::new()
        .route(MUTATE_PATH, post(mutate))
        .method_not_allowed_fallback(async |State(app): State<Arc<App>>| {
            app.respond(Reply::text(StatusCode::METHOD_NOT_ALLOWED, "use POST\n"))
        })
        .fallback(async |State(app): State<Arc<App>>| {
            app.respond(Reply::text(StatusCode::NOT_FOUND, format!("there is {MUTATE_PATH} only\n")))
        })
        .with_state(Arc::new(App { context, metrics, limits }))
}

async fn mutate(State(app): State<Arc<App>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        let text = "send an AdmissionReview with Content-Type: application/json\n";
        return app.respond(Reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let Some(_slot) = Slot::take(&app.metrics.requests_in_flight, app.limits.requests) else {
        app.metrics.shed(Shed::Requests);
        body::discard(body, &app.limits).await;
        return app
            .respond(Reply::text(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once; ask again\n"));
    };
    let body = match body::read(body, &app.limits, &app.metrics.buffered_bytes).await {
        Ok(body) => body,
        Err(error) => return app.not_read(error),
    };
    let reply = if body.bytes.len() < LARGE_BODY_BYTES {
        app.answer(&body.bytes)
    } else {
        let app = Arc::clone(&app);
        let answered = tokio::task::spawn_blocking(move || app.answer(&body.bytes)).await;
        answered.unwrap_or_else(|_| internal_error())
    };
    app.respond(reply)
}

impl App {
    /// Decides and records. A panic, which would be a bug, costs one request and not the connection.
    fn answer(&self, bytes: &[u8]) -> Reply {
        let started = Instant::now();
        // What a panic could leave half-done is local; what is shared are atomics.
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let answer = Answer::new(bytes, &self.context);
            record(&answer, started.elapsed(), &self.metrics);
            answer.reply
        }));
        answered.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            // Not the panic's text: it may quote the pod.
            tracing::error!("an admission panicked and was answered 500; this is a bug in the injector");
            internal_error()
        })
    }

    fn not_read(&self, error: BodyError) -> Response {
        let Limits { body_bytes, body_timeout, .. } = self.limits;
        let reply = match error {
            BodyError::TooLarge => {
                let text = format!("the body is longer than {body_bytes} bytes\n");
                Reply::text(StatusCode::PAYLOAD_TOO_LARGE, text)
            }
            BodyError::Timeout => {
                let text = format!("the body did not come within {body_timeout:?}\n");
                Reply::text(StatusCode::REQUEST_TIMEOUT, text)
            }
            BodyError::Memory => {
                self.metrics.shed(Shed::Memory);
                let text = "too many large requests at once; ask again\n";
                Reply::text(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            BodyError::Broken => Reply::text(StatusCode::BAD_REQUEST, "the body is incomplete\n"),
        };
        self.respond(reply)
    }

    fn respond(&self, reply: Reply) -> Response {
        if reply.status.is_client_error() || reply.status.is_server_error() {
            self.metrics.http_error(reply.status.as_u16());
        }
        let content_type = reply.content_type();
        let retry_after = reply.retry_after_seconds();
        let mut response = Response::new(Body::from(reply.body));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

fn internal_error() -> Reply {
    Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "the injector has a bug; its log says where\n")
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// One of the requests that may be under way at once.
struct Slot<'a>(&'a Gauge);

impl<'a> Slot<'a> {
    /// None if all are taken.
    fn take(taken: &'a Gauge, limit: usize) -> Option<Self> {
        let slot = Self(taken);
        // The count is the limit's own measure: nothing else has to be kept in step.
        (usize::try_from(taken.inc()).unwrap_or(0) < limit).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
