//! One log line and one set of counters for each decision. They never contain a pod's content or a
//! value of an annotation, except in the messages of policies, which quote at most 40 characters of
//! each value, as problems do.

use std::{net::IpAddr, time::Duration};

use tracing::{Level, field::display};

use crate::{
    metrics::Metrics,
    object_meta::ObjectMeta,
    policy_use,
    reply::{Answer, DecidedRequest},
    throttled_log::Cause,
};

/// The maximum length of a name in a log line, in characters. Kubernetes allows no longer name, but
/// it calls webhooks before it validates.
const SHOWN: usize = 253;

/// Records a decision and its duration.
pub(crate) fn record(answer: &Answer<'_>, source: Option<IpAddr>, duration: Duration, metrics: &Metrics) {
    match &answer.from {
        Ok(decided) => {
            let DecidedRequest { entry, request, verdict, patch_bytes, .. } = decided;
            metrics.admission(*entry, verdict.reason, request.dry_run, duration, *patch_bytes);
            if !request.dry_run && !verdict.is_repeated {
                policy_use::effects(&verdict.policies).for_each(|effect| metrics.policy_effect(effect));
            }
            log(decided, source, duration);
        }
        Err(error) => {
            metrics.throttled_log.raise(Cause::NotAReview, None);
            let source = source.map(display);
            tracing::debug!(uid = error.uid().map(shown), source, %error, "not a review");
        }
    }
}

/// A name from a request, shortened so that a client cannot fill the log.
pub(crate) fn shown(name: &str) -> &str {
    name.char_indices().nth(SHOWN).map_or(name, |(end, _)| &name[..end])
}

/// Emits one log event. A macro, because `tracing` needs the level at compile time.
macro_rules! admission {
    ($level:expr, $decided:expr, $source:expr, $duration:expr) => {
        if tracing::enabled!($level) {
            let DecidedRequest { entry, request, verdict, patch_bytes, codes, policies } = $decided;
            let policy_messages = policy_use::messages(&verdict.policies);
            let object_meta = request.object.as_ref().map(ObjectMeta::new).unwrap_or_default();
            let owner = object_meta.owner();
            tracing::event!(
                $level,
                uid = shown(&request.uid),
                source = $source.map(display),
                entry = entry.name(),
                namespace = shown(&request.namespace),
                name = shown(&request.name),
                generate_name = shown(&object_meta.generate_name),
                owner_kind = owner.map(|owner| shown(&owner.kind)),
                owner_name = owner.map(|owner| shown(&owner.name)),
                kind = shown(&request.kind.kind),
                operation = request.operation.name(),
                dry_run = request.dry_run,
                outcome = verdict.reason.outcome(),
                reason = verdict.reason.name(),
                problems = verdict.problems.len(),
                problem_codes = &**codes,
                policies = (!policies.is_empty()).then_some(&**policies),
                policy_messages = (!policy_messages.is_empty()).then_some(&*policy_messages),
                patch_bytes,
                duration_us = u64::try_from($duration.as_micros()).unwrap_or(u64::MAX),
                "admission"
            );
        }
    };
}

fn log(decided: &DecidedRequest<'_>, source: Option<IpAddr>, duration: Duration) {
    // Logged at a higher level, so that pods that cannot start are visible without the lines about
    // those that do.
    if decided.verdict.reason.is_denied() {
        admission!(Level::WARN, decided, source, duration);
    } else {
        admission!(Level::INFO, decided, source, duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(shown("web"), "web");
        assert_eq!(shown(&"a".repeat(SHOWN)).len(), SHOWN);
        assert_eq!(shown(&"ä".repeat(1_000)), "ä".repeat(SHOWN));
    }
}
