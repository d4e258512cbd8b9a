//! `POST` to an entry's path: from an HTTP request to its answer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
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
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    body::{BodyError, Budget, Buffered, SourceBytes},
    context::AdmissionContext,
    entry::Entry,
    limits::Limits,
    metrics::{Metrics, Shed},
    notices::Notices,
    record::{record, shown},
    reply::{Answer, Reply},
    review::Request,
    warnings::Cause,
};

/// A body of this size or more is decided on a thread of its own: it takes milliseconds, in which a worker would
/// answer a hundred others.
const LARGE_BODY_BYTES: usize = 256 * 1024;

/// How long a review waits for its namespace and service account to come into memory. A pod is often created right
/// behind them, and the news of a watch takes milliseconds; the API server gives the whole call five seconds.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// How long the changes that make a review look again are gathered: many reviews may wait while many objects come.
const CHANGES_PAUSE: Duration = Duration::from_millis(20);

/// Which look at a review it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// There is time for another.
    Early,
    /// What is not known now stays unknown.
    Last,
}

struct App {
    context: Arc<AdmissionContext>,
    metrics: Arc<Metrics>,
    notices: Notices,
    limits: Limits,
    budget: Arc<Budget>,
}

/// The routes of the admission port.
pub(crate) fn router(
    context: Arc<AdmissionContext>,
    metrics: Arc<Metrics>,
    notices: Notices,
    limits: Limits,
) -> Router {
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
        .with_state(Arc::new(App { context, metrics, notices, limits, budget }))
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
    let reply = app.answer(entry, body).await;
    app.respond(reply)
}

impl App {
    /// Decides. Where something of the cluster is not in memory yet, decides again when something has come, for as long
    /// as [`KNOWN_WITHIN`].
    async fn answer(self: &Arc<Self>, entry: Entry, body: Buffered) -> Reply {
        let body = Arc::new(body);
        if let Ok(reply) = self.attempt(entry, &body, Attempt::Early).await {
            return reply;
        }
        let deadline = Instant::now() + KNOWN_WITHIN;
        // From before the next look, so that nothing comes in between unseen.
        let mut changes = self.context.cluster().changes();
        loop {
            let attempt = if Instant::now() < deadline { Attempt::Early } else { Attempt::Last };
            match (self.attempt(entry, &body, attempt).await, attempt) {
                (Ok(reply), _) | (Err(reply), Attempt::Last) => return reply,
                (Err(_), Attempt::Early) => {}
            }
            let change = async {
                match changes.changed().await {
                    Ok(()) => sleep(CHANGES_PAUSE).await,
                    // Nothing will come any more.
                    Err(_) => std::future::pending().await,
                }
            };
            // Either way it is time for another look.
            let _ = timeout_at(deadline, change).await;
        }
    }

    /// Decides once, on a thread of its own where that takes long. The error is the answer "ask again".
    async fn attempt(
        self: &Arc<Self>,
        entry: Entry,
        body: &Arc<Buffered>,
        attempt: Attempt,
    ) -> Result<Reply, Reply> {
        // Only now: this step is ours, while a body comes as slowly as its client likes, and so does the cluster's news.
        let Some(_slot) = Slot::take(&self.metrics.requests_in_flight, self.limits.requests) else {
            self.metrics.shed(Shed::Requests);
            let text = "too many requests at once; ask again\n";
            return Ok(Reply::text(StatusCode::SERVICE_UNAVAILABLE, text));
        };
        if body.bytes.len() < LARGE_BODY_BYTES {
            return self.decide(entry, &body.bytes, attempt);
        }
        let (app, body) = (Arc::clone(self), Arc::clone(body));
        let decided = tokio::task::spawn_blocking(move || app.decide(entry, &body.bytes, attempt)).await;
        decided.unwrap_or_else(|_| Ok(internal_error()))
    }

    /// Decides, and records what is final. A panic, which would be a bug, costs one request and not the connection.
    fn decide(&self, entry: Entry, bytes: &[u8], attempt: Attempt) -> Result<Reply, Reply> {
        let started = Instant::now();
        // What a panic could leave half-done is local; what is shared are atomics.
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let answer = Answer::new(entry, bytes, &self.context);
            let is_deferred = answer.is_deferred();
            if !is_deferred || attempt == Attempt::Last {
                record(&answer, started.elapsed(), &self.metrics);
                if let Ok(decided) = &answer.from {
                    self.notices.offer(decided, &self.metrics);
                }
            }
            if is_deferred { Err(answer.reply) } else { Ok(answer.reply) }
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
            Ok(internal_error())
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
