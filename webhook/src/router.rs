//! `POST` to an entry's path: from an HTTP request to its answer.

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
    admit::Awaited,
    body::{BodyError, Budget, Buffered, SourceBytes},
    context::{AdmissionContext, PolicyUsage},
    entry::{Entry, MUTATE_FOR_POLICIES_PATH},
    lanes::{Lanes, Unfinished},
    limits::Limits,
    metrics::{Metrics, Shed},
    notices::Notices,
    record::{record, shown},
    reply::{Answer, Decided, Reply},
    review::Request,
    subject::Subject,
    warnings::Cause,
};

/// How long a review waits for its namespace and service account to come into memory. A pod is often created right
/// behind them, and the news of a watch takes milliseconds; the API server gives the whole call five seconds.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// How many reviews may wait for that at once. Whoever names a namespace that does not exist waits in vain, and a
/// review that finds no place is answered "ask again" at once, which the API server does.
const WAITING: usize = 256;

/// How long the changes that make a review look again are gathered: many reviews may wait while many objects come.
const CHANGES_PAUSE: Duration = Duration::from_millis(20);

/// Which look at a review it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// There is time for another.
    First,
    /// What is not known now stays unknown.
    Last,
}

/// A review that cannot be answered yet.
struct Deferred {
    /// "Ask again".
    reply: Reply,
    awaited: Awaited,
}

/// Where a request comes from; unknown for routes that are not behind a port of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source(pub(crate) IpAddr);

/// A review as it came.
struct Posted {
    entry: Entry,
    source: Option<IpAddr>,
    body: Buffered,
}

struct App {
    context: Arc<AdmissionContext>,
    metrics: Arc<Metrics>,
    notices: Notices,
    limits: Limits,
    budget: Arc<Budget>,
    waiting: Semaphore,
    lanes: Lanes,
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
        .route(MUTATE_FOR_POLICIES_PATH, post(review_for_policies))
        .method_not_allowed_fallback(async |State(app): State<Arc<App>>| {
            app.respond(Reply::text(StatusCode::METHOD_NOT_ALLOWED, "use POST\n"))
        })
        .fallback(async |State(app): State<Arc<App>>| {
            let paths = Entry::ALL.map(Entry::path).join(", ");
            let text = format!("there is {paths} and {MUTATE_FOR_POLICIES_PATH} only\n");
            app.respond(Reply::text(StatusCode::NOT_FOUND, text))
        })
        .with_state(Arc::new(App {
            context,
            metrics,
            notices,
            limits,
            budget,
            waiting: Semaphore::new(WAITING),
            lanes: Lanes::default(),
        }))
}

async fn review_for_policies(app: State<Arc<App>>, request: extract::Request) -> Response {
    if app.context.cluster().has_policies() {
        return review(Entry::Mutate, app, request).await;
    }
    app.metrics.warnings.raise(Cause::NoPolicies, None);
    let text = "this replica does not follow policies (serve --policies)\n";
    app.respond(Reply::text(StatusCode::NOT_FOUND, text))
}

async fn review(entry: Entry, State(app): State<Arc<App>>, request: extract::Request) -> Response {
    let (mut head, body) = request.into_parts();
    if !is_json(&head.headers) {
        let text = "send an AdmissionReview with Content-Type: application/json\n";
        app.metrics.warnings.raise(Cause::NotJson, None);
        return app.respond(Reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    // Routes that are not behind a port of ours have no account: each request gets its own.
    let account = head.extensions.remove::<SourceBytes>().unwrap_or_default();
    let source = head.extensions.remove::<Source>().map(|Source(address)| address);
    let body = match app.budget.read(body, &account).await {
        Ok(body) => body,
        Err(error) => return app.not_read(error),
    };
    let mut reply = app.answer(Posted { entry, source, body }).await;
    match app.budget.hold(mem::take(&mut reply.body), &account) {
        Ok(body) => app.respond_with(&reply, body),
        Err(error) => app.not_read(error),
    }
}

impl App {
    /// Decides. Where something of the cluster is not in memory yet, waits for that for [`KNOWN_WITHIN`] at most and
    /// decides once more: a review is read twice, however much changes meanwhile.
    async fn answer(self: &Arc<Self>, posted: Posted) -> Reply {
        let posted = Arc::new(posted);
        let Deferred { reply, awaited } = match self.attempt(&posted, Attempt::First).await {
            Ok(reply) => return reply,
            Err(deferred) => deferred,
        };
        let Ok(_place) = self.waiting.try_acquire() else {
            self.metrics.shed(Shed::Waiting);
            return reply;
        };
        // Either way it is time for the last look.
        let _ = timeout(KNOWN_WITHIN, self.known(&awaited)).await;
        self.attempt(&posted, Attempt::Last).await.unwrap_or_else(|Deferred { reply, .. }| reply)
    }

    /// Ends as soon as all of it is in memory.
    async fn known(&self, awaited: &Awaited) {
        let cluster = self.context.cluster();
        // From before the first look, so that nothing comes in between unseen.
        let mut changes = cluster.changes();
        while !awaited.is_known(cluster) {
            match changes.changed().await {
                Ok(()) => sleep(CHANGES_PAUSE).await,
                // Nothing will come any more.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Decides once, when it is its turn. The error is none that is final.
    async fn attempt(self: &Arc<Self>, posted: &Arc<Posted>, attempt: Attempt) -> Result<Reply, Deferred> {
        // Only now: this step is ours, while a body comes as slowly as its client likes, and so does the cluster's news.
        let Some(_slot) = Slot::take(&self.metrics.requests_in_flight, self.limits.requests) else {
            self.metrics.shed(Shed::Requests);
            let text = "too many requests at once; ask again\n";
            return Ok(Reply::text(StatusCode::SERVICE_UNAVAILABLE, text));
        };
        let (app, posted) = (Arc::clone(self), Arc::clone(posted));
        let decided = self.lanes.run(posted.body.bytes.len(), move || app.decide(&posted, attempt)).await;
        // It catches its panics itself.
        decided.unwrap_or_else(|Unfinished| Ok(internal_error()))
    }

    /// Decides, and records what is final. A panic, which would be a bug, costs one request and not the connection.
    fn decide(&self, posted: &Posted, attempt: Attempt) -> Result<Reply, Deferred> {
        let Posted { entry, source, body } = posted;
        let started = Instant::now();
        // What a panic could leave half-done is local; what is shared are atomics.
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let answer = Answer::new(*entry, &body.bytes, &self.context);
            if attempt == Attempt::First
                && let Some(awaited) = answer.awaited().cloned()
            {
                return Err(Deferred { reply: answer.reply, awaited });
            }
            record(&answer, *source, started.elapsed(), &self.metrics);
            if let Ok(decided) = &answer.from {
                self.notices.offer(decided, &self.metrics);
                self.report_policies(decided);
            }
            Ok(answer.reply)
        }));
        answered.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            // Not the panic's text: it may quote the pod.
            tracing::error!(
                uid = uid(*entry, &body.bytes),
                entry = entry.name(),
                body_bytes = body.bytes.len(),
                "an admission panicked and was answered 500; this is a bug in the injector"
            );
            Ok(internal_error())
        })
    }

    /// Counts for each policy what it did. A dry run did nothing, and a pod counts once: the API server posts it again if a later
    /// webhook has changed it.
    fn report_policies(&self, decided: &Decided<'_>) {
        let Decided { request, verdict, .. } = decided;
        if request.dry_run || verdict.is_repeated || verdict.policies.is_empty() {
            return;
        }
        let subject = request.object.as_ref().map(Subject::new).unwrap_or_default();
        let pod = if request.name.is_empty() { &*subject.generate_name } else { &*request.name };
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

    fn respond(&self, mut reply: Reply) -> Response {
        let body = mem::take(&mut reply.body);
        self.respond_with(&reply, body.into())
    }

    /// Answers with this body instead of the reply's own.
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

/// The uid in bytes that something panicked on, which may have been their decoding.
fn uid(entry: Entry, bytes: &[u8]) -> Option<String> {
    catch_unwind(|| Request::decode(entry, bytes).ok().map(|request| shown(&request.uid).to_owned()))
        .ok()
        .flatten()
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
