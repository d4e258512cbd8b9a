//! Conflicts between the injection and what the pod already has.

use std::collections::BTreeSet;

use scaivault_contract::{
    VariableName,
    names::{AGENT_BINARY, TOKEN_DIR},
};

use super::{Diagnostics, Readers, about_named, files::Files};
use crate::{
    annotations::{Draft, ExactKey, NamedKey},
    pattern::Pattern,
    pod::PodView,
    problem::{Code, Excerpt},
};

/// The parent of the agent containers' own mounts.
pub(super) const AGENT_DIR: &str = "/var/run/scaivault";

pub(super) fn check(
    draft: &Draft,
    pod: &PodView<'_>,
    readers: &Readers,
    files: &Files,
    diagnostics: &mut Diagnostics<'_>,
) {
    own_places(draft, files, diagnostics);
    let variables: BTreeSet<&str> = draft.variables.keys().map(VariableName::as_str).collect();
    for container in readers.containers_of(pod) {
        let name = Excerpt::new(&container.name);
        for variable in
            container.env.iter().map(|variable| &*variable.name).filter(|name| variables.contains(name))
        {
            diagnostics.problem_with(|draft| {
                let message = format!("container {name} already sets this variable").into();
                let fix = "remove the variable from the container, or choose another name".into();
                about_named(
                    draft,
                    Code::VariableConflict,
                    (NamedKey::InjectEnv, variable),
                    None,
                    message,
                    fix,
                )
            });
        }
    }
}

/// The agent's containers mount their token, their state and their binary themselves. Their image
/// has no link from `/var/run` to `/run`, so paths are compared as written.
fn own_places(draft: &Draft, files: &Files, diagnostics: &mut Diagnostics<'_>) {
    let is_below = |path: &str, directory: &str| {
        path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for own in [TOKEN_DIR, AGENT_DIR, AGENT_BINARY] {
        if is_below(draft.mount_path.as_str(), own) {
            diagnostics.problem(
                Code::MountConflict,
                ExactKey::MountPath,
                Some(draft.mount_path.as_str()),
                format!("the agent's own container uses {own}"),
                "choose another directory",
            );
        } else if let Some(file) = files.paths().find(|file| is_below(file, own) || is_below(own, file)) {
            diagnostics.problem(
                Code::FileConflict,
                None,
                Some(file),
                format!("the agent's own container uses {own}"),
                "choose another file by secret-file-<name>, or another mount-path",
            );
        }
    }
}

/// A grace period below this is too short to log in and revoke a lease during termination.
const LEAST_GRACE_SECONDS: i64 = 5;

/// Warns about settings of the pod with which the agent's containers do not work well.
pub(super) fn warn_about_pod(
    draft: &Draft,
    pod: &PodView<'_>,
    pattern: Pattern,
    diagnostics: &mut Diagnostics<'_>,
) {
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
