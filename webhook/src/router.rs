//! `POST` to an entry's path: from an HTTP request to its answer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    extract::{self, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
    routing::post,
};
use prometheus_client::metrics::gauge::Gauge;

use crate::{
    body::{BodyError, Budget, SourceBytes},
    context::AdmissionContext,
    entry::Entry,
    limits::Limits,
    metrics::{Metrics, Shed},
    record::{record, shown},
    reply::{Answer, Reply},
    review::Request,
    warnings::Cause,
};

/// A body of this size or more is decided on a thread of its own: it takes milliseconds, in which a worker would
/// answer a hundred others.
const LARGE_BODY_BYTES: usize = 256 * 1024;

struct App {
    context: Arc<AdmissionContext>,
    metrics: Arc<Metrics>,
    limits: Limits,
    budget: Arc<Budget>,
}

/// The routes of the admission port.
pub(crate) fn router(context: Arc<AdmissionContext>, metrics: Arc<Metrics>, limits: Limits) -> Router {
    let budget = Budget::new(&limits, &metrics.buffered_bytes);
    let router = Entry::ALL.into_iter().fold(Router::new(), |router, entry| {
        router.route(entry.path(), post(move |app, request| review(entry, app, request)))
    });
    router
        .method_not_allowed_fallback(async |State(app): State<Arc<App>>| {
            app.respond(Reply::text(StatusCode::METHOD_NOT_ALLOWED, "use POST\n"))
        })
        .fallback(async |State(app): State<Arc<App>>| {
            let paths = Entry::ALL.map(Entry::path).join(", ");
            app.respond(Reply::text(StatusCode::NOT_FOUND, format!("there is {paths} only\n")))
        })
        .with_state(Arc::new(App { context, metrics, limits, budget }))
}

async fn review(entry: Entry, State(app): State<Arc<App>>, request: extract::Request) -> Response {
    let (mut head, body) = request.into_parts();
    if !is_json(&head.headers) {
        let text = "send an AdmissionReview with Content-Type: application/json\n";
        app.metrics.warnings.raise(Cause::NotJson, None);
        return app.respond(Reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    // Routes that are not behind a port of ours have no account: each request gets its own.
    let source = head.extensions.remove::<SourceBytes>().unwrap_or_default();
    let body = match app.budget.read(body, &source).await {
        Ok(body) => body,
        Err(error) => return app.not_read(error),
    };
    // Only now: the next step is ours, while a body comes as slowly as its client likes.
    let Some(_slot) = Slot::take(&app.metrics.requests_in_flight, app.limits.requests) else {
        app.metrics.shed(Shed::Requests);
        return app
            .respond(Reply::text(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once; ask again\n"));
    };
    let reply = if body.bytes.len() < LARGE_BODY_BYTES {
        app.answer(entry, &body.bytes)
    } else {
        let app = Arc::clone(&app);
        let answered = tokio::task::spawn_blocking(move || app.answer(entry, &body.bytes)).await;
        answered.unwrap_or_else(|_| internal_error())
    };
    app.respond(reply)
}

impl App {
    /// Decides and records. A panic, which would be a bug, costs one request and not the connection.
    fn answer(&self, entry: Entry, bytes: &[u8]) -> Reply {
        let started = Instant::now();
        // What a panic could leave half-done is local; what is shared are atomics.
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let answer = Answer::new(entry, bytes, &self.context);
            record(&answer, started.elapsed(), &self.metrics);
            answer.reply
        }));
        answered.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            // Not the panic's text: it may quote the pod.
            tracing::error!(
                uid = uid(bytes),
                entry = entry.name(),
                body_bytes = bytes.len(),
                "an admission panicked and was answered 500; this is a bug in the injector"
            );
            internal_error()
        })
    }

    fn not_read(&self, error: BodyError) -> Response {
        let Limits { body_bytes, body_timeout, .. } = self.limits;
        let reply = match error {
            BodyError::TooLarge => {
                self.metrics.warnings.raise(Cause::BodyTooLong, None);
                let text = format!("the body is longer than {body_bytes} bytes\n");
                Reply::text(StatusCode::PAYLOAD_TOO_LARGE, text)
            }
            BodyError::Timeout => {
                self.metrics.warnings.raise(Cause::BodyTooSlow, None);
                let text = format!("the body did not come within {body_timeout:?}\n");
                Reply::text(StatusCode::REQUEST_TIMEOUT, text)
            }
            BodyError::Memory => self.no_memory(Shed::Memory),
            BodyError::MemoryPerSource => self.no_memory(Shed::MemoryPerSource),
            BodyError::Broken => Reply::text(StatusCode::BAD_REQUEST, "the body is incomplete\n"),
        };
        self.respond(reply)
    }

    fn no_memory(&self, shed: Shed) -> Reply {
        self.metrics.shed(shed);
        Reply::text(StatusCode::SERVICE_UNAVAILABLE, "too many large requests at once; ask again\n")
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

/// The uid in bytes that something panicked on, which may have been their decoding.
fn uid(bytes: &[u8]) -> Option<String> {
    catch_unwind(|| Request::decode(bytes).ok().map(|request| shown(&request.uid).to_owned())).ok().flatten()
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
