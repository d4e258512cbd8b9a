//! Warnings on settings of the pod with which the agent's containers do not work well.

use super::Diagnostics;
use crate::{annotations::Draft, pattern::Pattern, pod::PodView};

/// A grace period below this is too short to log in and revoke a lease during termination.
const LEAST_GRACE_SECONDS: i64 = 5;

pub(super) fn check(draft: &Draft, pod: &PodView<'_>, pattern: Pattern, diagnostics: &mut Diagnostics<'_>) {
    let fetch_timeout = draft.fetch_timeout;
    if let Some(deadline) = pod.spec.active_deadline_seconds
        && u64::try_from(deadline).is_ok_and(|deadline| deadline <= fetch_timeout.as_secs())
    {
        diagnostics.warn(format!(
            "activeDeadlineSeconds: {deadline} ends the pod before the agent gives up (fetch-timeout: {fetch_timeout}), so \
             nothing says why its secrets are missing; set fetch-timeout to less"
        ));
    }
    if let Some(grace) = pod.spec.termination_grace_period_seconds
        && grace < LEAST_GRACE_SECONDS
        && pattern == Pattern::Sidecar
        && !draft.dynamic.is_empty()
    {
        diagnostics.warn(format!(
            "terminationGracePeriodSeconds: {grace} leaves the agent no time to revoke the leases of inject-dynamic-… when \
             the pod ends, so their credentials stay valid until they expire; set {LEAST_GRACE_SECONDS} or more"
        ));
    }
}
