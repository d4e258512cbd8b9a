//! The user and group of the agent.

use super::{Diagnostics, Inputs, reload::Target};
use crate::{
    annotations::{ExactKey, RunAsUser},
    known_sidecars::SidecarsConfig,
    pod::PodView,
    problem::{Code, Layer},
};

/// The uid and gid of the agent's images. No account on the node has them.
const AGENT_ID: i64 = 65_532;

/// Uid, gid, and whether the agent may signal processes of other users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `None` if the platform chooses.
    pub(crate) uid: Option<i64>,
    /// `None` if the image or the pod decides.
    pub(crate) gid: Option<i64>,
    /// Uid 0 with `KILL` as its only capability. With another uid, a capability would only be in
    /// the bounding set and have no effect.
    pub(crate) kill: bool,
}

impl Identity {
    const fn unprivileged(uid: Option<i64>, gid: Option<i64>) -> Self {
        Self { uid, gid, kill: false }
    }
}

pub(super) fn resolve(
    inputs: &Inputs<'_, '_>,
    target: Option<&Target>,
    diagnostics: &mut Diagnostics<'_>,
) -> Identity {
    let Inputs { draft, pod, settings, .. } = *inputs;
    let sidecars = &settings.config.sidecars;
    let target = target.and_then(|target| pod.spec.containers.as_slice().get(target.container));
    let target_uid = target.and_then(|container| pod.uid_of(container));
    // A default of the platform may be overridden by what a signal needs; a setting of the pod may
    // not.
    let gives_way = |user: &RunAsUser| {
        target.is_some() && *user != RunAsUser::Unset && *draft.layer_of(ExactKey::RunAsUser) != Layer::Pod
    };
    let identity = match (draft.run_as_user.filter(|user| !gives_way(user)), target) {
        (Some(RunAsUser::Uid(uid)), _) => chosen(uid, inputs, target.is_some(), target_uid, diagnostics),
        (Some(RunAsUser::Unset), _) => Identity::unprivileged(None, None),
        (None, Some(container)) => match target_uid {
            Some(uid) => Identity::unprivileged(Some(uid), pod.gid_of(container)),
            None if container.security_context.non_root.or(pod.spec.security_context.non_root)
                == Some(true) =>
            {
                diagnostics.problem(
                    Code::RunAsUser,
                    ExactKey::ReloadSignal,
                    None,
                    "the target's uid is not in the manifest, and the pod runs as non-root, so the agent cannot be given \
                     a user that may send the signal",
                    "set run-as-user to the target's uid, or runAsUser in its securityContext",
                );
                Identity::unprivileged(None, None)
            }
            None => Identity { uid: Some(0), gid: Some(0), kill: true },
        },
        (None, None) => match shared(pod, sidecars, PodView::uid_of).filter(|uid| *uid != 0) {
            Some(uid) => Identity::unprivileged(Some(uid), shared(pod, sidecars, PodView::gid_of)),
            None => Identity::unprivileged(Some(AGENT_ID), Some(AGENT_ID)),
        },
    };
    limited(inputs, identity, diagnostics);
    if identity.kill {
        diagnostics.warn(
            "reload-signal: the sidecar runs as uid 0 with the one capability KILL, which passes Pod Security baseline, \
             not restricted; set run-as-user to the target's uid to avoid that",
        );
    } else if identity.uid == Some(0) {
        diagnostics.warn(
            "the agent runs as uid 0, which passes Pod Security baseline, not restricted; set run-as-user to avoid that",
        );
    }
    Identity { gid: draft.run_as_group.or(identity.gid), ..identity }
}

/// Checks the user that is derived from the containers or the reload target against the policies. A
/// user that a key sets was checked with all other keys, and the user of the images is always
/// allowed.
fn limited(inputs: &Inputs<'_, '_>, identity: Identity, diagnostics: &mut Diagnostics<'_>) {
    let Some(limit) = &inputs.replaced_lists.users else { return };
    let Some(uid) = identity.uid.filter(|uid| {
        let is_named = inputs.draft.run_as_user == Some(RunAsUser::Uid(*uid));
        *uid != AGENT_ID && !is_named && !limit.covers(*uid)
    }) else {
        return;
    };
    let from =
        if identity.kill { "the reload signal needs" } else { "the agent takes from the pod's containers" };
    let message = format!("{} does not cover this user, which {from}", limit.who);
    let fix = format!(
        "set run-as-user to one that is allowed ({}), or have it added to allow.uids",
        limit.allowed()
    );
    if limit.enforces {
        diagnostics.problem(Code::PolicyLimit, ExactKey::RunAsUser, Some(&uid.to_string()), message, fix);
    } else {
        diagnostics.warn(format!("run-as-user: {uid}: {message}; to fix: {fix}"));
    }
}

/// The user of the pod's annotation, if it is possible.
fn chosen(
    uid: i64,
    inputs: &Inputs<'_, '_>,
    signals: bool,
    target_uid: Option<i64>,
    diagnostics: &mut Diagnostics<'_>,
) -> Identity {
    let pod = inputs.pod;
    if uid == 0 && pod.spec.security_context.non_root == Some(true) {
        diagnostics.problem(
            Code::RunAsUser,
            ExactKey::RunAsUser,
            Some("0"),
            "the pod's securityContext says runAsNonRoot",
            "choose another uid, or remove runAsNonRoot",
        );
    }
    if let Some(target_uid) = target_uid
        && uid != 0
        && uid != target_uid
    {
        diagnostics.problem(
            Code::RunAsUser,
            ExactKey::RunAsUser,
            Some(&uid.to_string()),
            format!("the reload target runs as uid {target_uid}, and only the same uid may signal it"),
            format!("set run-as-user to {target_uid}, or remove it"),
        );
    }
    let kill = signals && uid == 0 && target_uid != Some(0);
    let gid = shared(pod, &inputs.settings.config.sidecars, PodView::gid_of)
        .or((uid == AGENT_ID).then_some(AGENT_ID));
    Identity { uid: Some(uid), gid, kill }
}

/// The value that all containers of the pod share. Sidecars of other products do not count: they
/// have users of their own, and may be injected before or after.
fn shared<'a, 'p>(
    pod: &'a PodView<'p>,
    sidecars: &SidecarsConfig,
    value: impl Fn(&PodView<'p>, &crate::pod::ContainerView<'p>) -> Option<i64>,
) -> Option<i64> {
    let applications = pod.all_containers().filter(|container| sidecars.kind_of(container).is_none());
    let mut values = applications.map(|container| value(pod, container));
    let first = values.next()??;
    values.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::{DefaultValue, spec_for};

    #[test]
    fn the_documented_user_is_the_default() {
        let DefaultValue::Words(words) = spec_for(ExactKey::RunAsUser).default else { panic!() };
        assert!(words.ends_with(&format!("else {AGENT_ID}")), "{words}");
    }
}
