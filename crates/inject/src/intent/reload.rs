//! How the application is told of a change, and whether that can reach it.

use scaivault_contract::{ReloadUrl, Signal};

use super::{Facts, Findings, Readers, readers};
use crate::{
    annotations::ExactKey,
    pod::Presence,
    problem::{Code, Excerpt},
};

/// How the application is told of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// A signal to a process.
    Signal(Target),
    /// A POST to an address on the pod's own loopback.
    Url(ReloadUrl),
}

impl Reload {
    /// The process that is signalled.
    pub(super) fn target(&self) -> Option<&Target> {
        match self {
            Self::Signal(target) => Some(target),
            Self::Url(_) => None,
        }
    }
}

/// A process that is told of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) signal: Signal,
    pub(crate) process: String,
    /// The place of its container among the app containers.
    pub(super) container: usize,
}

pub(super) fn resolve(
    facts: &Facts<'_, '_>,
    readers: &Readers,
    findings: &mut Findings<'_>,
) -> Option<Reload> {
    let Facts { draft, pod, .. } = *facts;
    let Some(url) = &draft.reload_url else {
        return target(facts, readers, findings).map(Reload::Signal);
    };
    if let Some(key) = [
        draft.reload_signal.is_some().then_some(ExactKey::ReloadSignal),
        draft.reload_target.is_some().then_some(ExactKey::ReloadTarget),
    ]
    .into_iter()
    .flatten()
    .next()
    {
        findings.problem(
            Code::ReloadConflict,
            ExactKey::ReloadUrl,
            Some(url.as_str()),
            format!("{key} is set too; choose one way to notify the application"),
            "keep reload-url, or reload-signal with reload-target",
        );
    }
    if pod.spec.host_network == Some(true) {
        findings.problem(
            Code::NetworkNamespace,
            ExactKey::ReloadUrl,
            Some(url.as_str()),
            "the pod sets hostNetwork, so its loopback is the node's and the POST could reach any process of the node",
            "remove hostNetwork from the pod, or use reload-signal",
        );
    }
    Some(Reload::Url(url.clone()))
}

fn target(facts: &Facts<'_, '_>, readers: &Readers, findings: &mut Findings<'_>) -> Option<Target> {
    let Facts { draft, pod, settings, .. } = *facts;
    let (signal, target) = match (draft.reload_signal, &draft.reload_target) {
        (Some(signal), Some(target)) => (signal, target),
        (None, None) => return None,
        (Some(_), None) => {
            findings.problem(
                Code::IncompleteReload,
                ExactKey::ReloadSignal,
                None,
                "there is no reload-target to send the signal to",
                "add reload-target: [container/]process",
            );
            return None;
        }
        (None, Some(_)) => {
            findings.problem(
                Code::IncompleteReload,
                ExactKey::ReloadTarget,
                None,
                "there is no reload-signal to send",
                "add reload-signal, for example SIGHUP",
            );
            return None;
        }
    };
    if pod.spec.share_process_namespace == Presence::Value(false) {
        findings.problem(
            Code::ProcessNamespace,
            ExactKey::ReloadSignal,
            None,
            "the pod sets shareProcessNamespace: false, and a signal needs it true",
            "remove shareProcessNamespace from the pod, or remove reload-signal",
        );
    }
    if pod.spec.host_pid == Some(true) {
        findings.problem(
            Code::ProcessNamespace,
            ExactKey::ReloadSignal,
            None,
            "the pod sets hostPID, so the target's name could be any process of the node",
            "remove hostPID from the pod, or remove reload-signal",
        );
    }
    let containers = pod.spec.containers.as_slice();
    let sidecars = &settings.config.sidecars;
    let kinds: Vec<_> =
        readers.containers.iter().map(|place| sidecars.kind_of(&containers[*place])).collect();
    let candidates: Vec<usize> =
        readers::likeliest(&kinds).into_iter().map(|place| readers.containers[place]).collect();
    let container = match (&target.container, candidates.as_slice()) {
        (Some(name), _) => {
            let place = containers.iter().position(|container| &*container.name == name);
            if place.is_none() {
                readers::unknown(ExactKey::ReloadTarget, name, containers, findings);
            }
            place?
        }
        (None, [only]) => *only,
        (None, several) => {
            let names: Vec<String> = several
                .iter()
                .map(|place| Excerpt::new(&containers[*place].name).to_string())
                .take(8)
                .collect();
            findings.problem(
                Code::AmbiguousReload,
                ExactKey::ReloadTarget,
                Some(&target.process),
                match names.as_slice() {
                    [] => "no app container reads the secrets".to_owned(),
                    names => format!(
                        "{} read the secrets, and the process may be in any of them",
                        names.join(", ")
                    ),
                },
                "name the container: reload-target: <container>/<process>",
            );
            return None;
        }
    };
    Some(Target { signal, process: target.process.clone(), container })
}
