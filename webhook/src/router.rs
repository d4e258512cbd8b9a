//! Handles a `POST` to an endpoint, from the HTTP request to its answer.

use std::{
    mem,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{self, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
    routing::post,
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use crate::{
    admit::MissingLookup,
    body::{BodyError, Budget, BufferedBody, SourceBytes},
    context::{AdmissionContext, PolicyUsage},
    endpoint::{Endpoint, MUTATE_FOR_POLICIES_PATH},
    lanes::{Lanes, UnfinishedDecision},
    limits::Limits,
    metrics::{Metrics, ShedReason},
    object_meta::ObjectMeta,
    pod_events::PodEvents,
    record::{record, shown},
    reply::{Answer, DecidedRequest, Reply},
    review::Request,
    throttled_log::Cause,
};

/// How long a review waits until its namespace and service account are in the cache. A pod is often
/// created right after them, and watch events take milliseconds; the API server allows five seconds
/// for the whole call.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// How many reviews may wait for that at once. A review that names a namespace that does not exist
/// waits in vain. If all places are taken, the answer is 503 at once, and the API server retries.
const WAITING: usize = 256;

/// How long changes are batched before waiting reviews check the cache again: many reviews may wait
/// while many objects arrive.
const CHANGES_PAUSE: Duration = Duration::from_millis(20);

/// The attempt to decide a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// Another attempt may follow.
    First,
    /// Objects that are still missing defer the request.
    Last,
}

/// A review that cannot be answered yet.
struct DeferredReview {
    /// A 503 that makes the API server retry.
    reply: Reply,
    missing: MissingLookup,
}

/// The source address of a request; unknown for routes that are not served by a port of this crate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source(pub(crate) IpAddr);

/// A review as received.
struct PendingReview {
    entry: Endpoint,
    source: Option<IpAddr>,
    body: BufferedBody,
}

struct App {
    context: Arc<AdmissionContext>,
    metrics: Arc<Metrics>,
    pod_events: PodEvents,
    limits: Limits,
    budget: Arc<Budget>,
    waiting: Semaphore,
    lanes: Lanes,
}

/// The routes of the admission port.
pub(crate) fn router(
    context: Arc<AdmissionContext>,
    metrics: Arc<Metrics>,
    pod_events: PodEvents,
    limits: Limits,
) -> Router {
    let budget = Budget::new(&limits, &metrics.buffered_bytes);
    let router = Endpoint::ALL.into_iter().fold(Router::new(), |router, entry| {
        router.route(entry.path(), post(move |app, request| review(entry, app, request)))
    });
    router
        .route(MUTATE_FOR_POLICIES_PATH, post(review_for_policies))
        .method_not_allowed_fallback(async |State(app): State<Arc<App>>| {
            app.respond(Reply::text(StatusCode::METHOD_NOT_ALLOWED, "use POST\n"))
        })
        .fallback(async |State(app): State<Arc<App>>| {
            let paths = Endpoint::ALL.map(Endpoint::path).join(", ");
            let text = format!("unknown path; expected {paths} or {MUTATE_FOR_POLICIES_PATH}\n");
            app.respond(Reply::text(StatusCode::NOT_FOUND, text))
        })
        .with_state(Arc::new(App {
            context,
            metrics,
            pod_events,
            limits,
            budget,
            waiting: Semaphore::new(WAITING),
            lanes: Lanes::default(),
        }))
}

async fn review_for_policies(app: State<Arc<App>>, request: extract::Request) -> Response {
    if app.context.cluster().has_policies() {
        return review(Endpoint::Mutate, app, request).await;
    }
    app.metrics.throttled_log.raise(Cause::NoPolicies, None);
    let text = "this replica does not apply policies; start it with --policies\n";
    app.respond(Reply::text(StatusCode::NOT_FOUND, text))
}

async fn review(entry: Endpoint, State(app): State<Arc<App>>, request: extract::Request) -> Response {
    let (mut head, body) = request.into_parts();
    if !is_json(&head.headers) {
        let text = "send an AdmissionReview with Content-Type: application/json\n";
        app.metrics.throttled_log.raise(Cause::NotJson, None);
        return app.respond(Reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    // Routes that are not served by a port of this crate have no account: each request gets its
    // own.
    let account = head.extensions.remove::<SourceBytes>().unwrap_or_default();
    let source = head.extensions.remove::<Source>().map(|Source(address)| address);
    let body = match app.budget.read(body, &account).await {
        Ok(body) => body,
        Err(error) => return app.not_read(error),
    };
    let mut reply = app.answer(PendingReview { entry, source, body }).await;
    match app.budget.hold(mem::take(&mut reply.body), &account) {
        Ok(body) => app.respond_with(&reply, body),
        Err(error) => app.not_read(error),
    }
}

impl App {
    /// Decides. If a cluster object is not in the cache yet, waits for it for at most
    /// [`KNOWN_WITHIN`] and decides again: a review is decided at most twice, however often the
    /// cache changes.
    async fn answer(self: &Arc<Self>, pending: PendingReview) -> Reply {
        let pending = Arc::new(pending);
        let DeferredReview { reply, missing } = match self.attempt(&pending, Attempt::First).await {
            Ok(reply) => return reply,
            Err(deferred) => deferred,
        };
        let Ok(_place) = self.waiting.try_acquire() else {
            self.metrics.shed(ShedReason::Waiting);
            return reply;
        };
        // The last attempt follows in both cases.
        let _ = timeout(KNOWN_WITHIN, self.wait_until_known(&missing)).await;
        self.attempt(&pending, Attempt::Last).await.unwrap_or_else(|DeferredReview { reply, .. }| reply)
    }

    /// Completes as soon as all of them are in the cache.
    async fn wait_until_known(&self, missing: &MissingLookup) {
        let cluster = self.context.cluster();
        // Subscribed before the first check, so that no change is missed.
        let mut changes = cluster.changes();
        while !missing.is_known(cluster) {
            match changes.changed().await {
                Ok(()) => sleep(CHANGES_PAUSE).await,
                // No more changes will come.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Decides once, when its lane is free. The error is a decision that is not final.
    async fn attempt(
        self: &Arc<Self>,
        pending: &Arc<PendingReview>,
        attempt: Attempt,
    ) -> Result<Reply, DeferredReview> {
        // The slot is taken only for the decision, whose duration the server controls. The time to
        // receive a body depends on the client, and that of cluster events on the API server.
        let Some(_slot) = Slot::take(&self.metrics.requests_in_flight, self.limits.requests) else {
            self.metrics.shed(ShedReason::Requests);
            let text = "too many requests at once; retry later\n";
            return Ok(Reply::text(StatusCode::SERVICE_UNAVAILABLE, text));
        };
        let (app, pending) = (Arc::clone(self), Arc::clone(pending));
        let decided = self.lanes.run(pending.body.bytes.len(), move || app.decide(&pending, attempt)).await;
        // `decide` catches its own panics.
        decided.unwrap_or_else(|UnfinishedDecision| Ok(internal_error()))
    }

    /// Decides, and records a final decision. A panic, which would be a bug, fails one request and
    /// not the connection.
    fn decide(&self, pending: &PendingReview, attempt: Attempt) -> Result<Reply, DeferredReview> {
        let PendingReview { entry, source, body } = pending;
        let started = Instant::now();
        // State that a panic could leave incomplete is local; the shared state consists of atomics.
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let answer = Answer::new(*entry, &body.bytes, &self.context);
            if attempt == Attempt::First
                && let Some(missing) = answer.missing().cloned()
            {
                return Err(DeferredReview { reply: answer.reply, missing });
            }
            record(&answer, *source, started.elapsed(), &self.metrics);
            if let Ok(decided) = &answer.from {
                self.pod_events.offer(decided, &self.metrics);
                self.report_policies(decided);
            }
            Ok(answer.reply)
        }));
        answered.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            // The panic's message is not logged: it may quote the pod.
            tracing::error!(
                uid = uid(*entry, &body.bytes),
                entry = entry.name(),
                body_bytes = body.bytes.len(),
                "an admission panicked and was answered 500; this is a bug in the injector"
            );
            Ok(internal_error())
        })
    }

    /// Counts the effect of each policy. Dry runs are not counted, and a pod is counted once: the
    /// API server posts it again if a later webhook has changed it.
    fn report_policies(&self, decided: &DecidedRequest<'_>) {
        let DecidedRequest { request, verdict, .. } = decided;
        if request.dry_run || verdict.is_repeated || verdict.policies.is_empty() {
            return;
        }
        let object_meta = request.object.as_ref().map(ObjectMeta::new).unwrap_or_default();
        let pod = if request.name.is_empty() { &*object_meta.generate_name } else { &*request.name };
        self.context.cluster().policies_used(&PolicyUsage {
            namespace: &request.namespace,
            pod,
            uses: &verdict.policies,
            problems: &verdict.problems,
        });
    }

    fn not_read(&self, error: BodyError) -> Response {
        let Limits { body_bytes, body_timeout, .. } = self.limits;
        let reply = match error {
            BodyError::TooLarge => {
                self.metrics.throttled_log.raise(Cause::BodyTooLong, None);
                let text = format!("the body is longer than {body_bytes} bytes\n");
                Reply::text(StatusCode::PAYLOAD_TOO_LARGE, text)
            }
            BodyError::Timeout => {
                self.metrics.throttled_log.raise(Cause::BodyTooSlow, None);
                let text = format!("the body was not received within {body_timeout:?}\n");
                Reply::text(StatusCode::REQUEST_TIMEOUT, text)
            }
            BodyError::Memory => self.no_memory(ShedReason::Memory),
            BodyError::MemoryPerSource => self.no_memory(ShedReason::MemoryPerSource),
            BodyError::Broken => Reply::text(StatusCode::BAD_REQUEST, "the body is incomplete\n"),
        };
        self.respond(reply)
    }

    fn no_memory(&self, shed: ShedReason) -> Reply {
        self.metrics.shed(shed);
        Reply::text(StatusCode::SERVICE_UNAVAILABLE, "too many large requests at once; retry later\n")
    }

    fn respond(&self, mut reply: Reply) -> Response {
        let body = mem::take(&mut reply.body);
        self.respond_with(&reply, body.into())
    }

    /// Responds with this body instead of that of `reply`.
    fn respond_with(&self, reply: &Reply, body: Bytes) -> Response {
        if reply.status.is_client_error() || reply.status.is_server_error() {
            self.metrics.http_error(reply.status.as_u16());
        }
        let content_type = reply.content_type();
        let retry_after = reply.retry_after_seconds();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The uid of a review whose handling panicked; decoding it again may panic as well.
fn uid(entry: Endpoint, bytes: &[u8]) -> Option<String> {
    catch_unwind(|| Request::decode(entry, bytes).ok().map(|request| shown(&request.uid).to_owned()))
        .ok()
        .flatten()
}

fn internal_error() -> Reply {
    Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error in the injector; see its log\n")
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// One of the slots for concurrent requests.
struct Slot<'a>(&'a Gauge);

impl<'a> Slot<'a> {
    /// `None` if all slots are taken.
    fn take(taken: &'a Gauge, limit: usize) -> Option<Self> {
        let slot = Self(taken);
        // The gauge itself is the counter of the limit, so the two cannot diverge.
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
