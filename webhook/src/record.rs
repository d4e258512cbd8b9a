//! One log line and one set of counters for each decision. Never a pod's content or a value of an annotation.

use std::time::Duration;

use tracing::Level;

use crate::{
    metrics::Metrics,
    reply::{Answer, Decided, codes},
    review::DecodeError,
    subject::Subject,
};

/// Records what a request got and how long that took.
pub(crate) fn record(answer: &Answer<'_>, duration: Duration, metrics: &Metrics) {
    match &answer.from {
        Ok(decided) => {
            let Decided { request, verdict, patch_bytes } = decided;
            metrics.admission(verdict.reason, request.dry_run, duration, *patch_bytes);
            if tracing::enabled!(Level::INFO) {
                log(decided, duration);
            }
        }
        Err(error) => refused(error),
    }
}

fn log(decided: &Decided<'_>, duration: Duration) {
    let Decided { request, verdict, patch_bytes } = decided;
    let subject = request.object.map(|object| Subject::of(object.get())).unwrap_or_default();
    let owner = subject.owner();
    let problems = &verdict.problems;
    tracing::info!(
        uid = &*request.uid,
        namespace = &*request.namespace,
        name = &*request.name,
        generate_name = &*subject.generate_name,
        owner_kind = owner.map(|owner| &*owner.kind),
        owner_name = owner.map(|owner| &*owner.name),
        kind = &*request.kind.kind,
        operation = request.operation.name(),
        dry_run = request.dry_run,
        outcome = verdict.reason.outcome(),
        reason = verdict.reason.name(),
        problems = problems.len(),
        problem_codes = &*codes(problems.iter().map(|problem| problem.code.name())),
        patch_bytes,
        duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        "admission"
    );
}

fn refused(error: &DecodeError) {
    tracing::info!(uid = error.uid(), %error, "not a review");
}
