//! How the application is notified of changes, and whether the notification can reach it.

use scaivault_contract::{ReloadUrl, Signal};

use super::{Diagnostics, Inputs, Readers, readers};
use crate::{
    annotations::{ExactKey, ReloadTarget},
    pod::{PodView, Presence},
    problem::{Code, Excerpt},
};

/// How the application is notified of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// A signal to a process.
    Signal(Target),
    /// A POST request to a URL on the pod's own loopback.
    Url(ReloadUrl),
}

impl Reload {
    /// The process that gets a signal.
    pub(super) fn target(&self) -> Option<&Target> {
        match self {
            Self::Signal(target) => Some(target),
            Self::Url(_) => None,
        }
    }
}

/// A process that gets a signal on changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) signal: Signal,
    pub(crate) process: String,
    /// The index of its container among the app containers.
    pub(super) container: usize,
}

pub(super) fn resolve(
    inputs: &Inputs<'_, '_>,
    readers: &Readers,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<Reload> {
    let Inputs { draft, pod, .. } = *inputs;
    let Some(url) = &draft.reload_url else {
        return target(inputs, readers, diagnostics).map(Reload::Signal);
    };
    if let Some(key) = [
        draft.reload_signal.is_some().then_some(ExactKey::ReloadSignal),
        draft.reload_target.is_some().then_some(ExactKey::ReloadTarget),
    ]
    .into_iter()
    .flatten()
    .next()
    {
        diagnostics.problem(
            Code::ReloadConflict,
            ExactKey::ReloadUrl,
            Some(url.as_str()),
            format!("{key} is set too; choose one way to notify the application"),
            "keep reload-url, or reload-signal with reload-target",
        );
    }
    if pod.spec.host_network == Some(true) {
        diagnostics.problem(
            Code::NetworkNamespace,
            ExactKey::ReloadUrl,
            Some(url.as_str()),
            "the pod sets hostNetwork, so its loopback is the node's and the POST could reach any process of the node",
            "remove hostNetwork from the pod, or use reload-signal",
        );
    }
    Some(Reload::Url(url.clone()))
}

fn target(inputs: &Inputs<'_, '_>, readers: &Readers, diagnostics: &mut Diagnostics<'_>) -> Option<Target> {
    let (signal, target) = asked(inputs, diagnostics)?;
    check_process_namespace(inputs.pod, diagnostics);
    let container = container(target, inputs, readers, diagnostics)?;
    Some(Target { signal, process: target.process.clone(), container })
}

/// The signal and its target, if both are set.
fn asked<'d>(
    inputs: &Inputs<'d, '_>,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<(Signal, &'d ReloadTarget)> {
    let (key, message, fix) = match (inputs.draft.reload_signal, &inputs.draft.reload_target) {
        (Some(signal), Some(target)) => return Some((signal, target)),
        (None, None) => return None,
        (Some(_), None) => (
            ExactKey::ReloadSignal,
            "there is no reload-target to send the signal to",
            "add reload-target: [container/]process",
        ),
        (None, Some(_)) => (
            ExactKey::ReloadTarget,
            "there is no reload-signal to send",
            "add reload-signal, for example SIGHUP",
        ),
    };
    diagnostics.problem(Code::IncompleteReload, key, None, message, fix);
    None
}

fn check_process_namespace(pod: &PodView<'_>, diagnostics: &mut Diagnostics<'_>) {
    if pod.spec.share_process_namespace == Presence::Value(false) {
        diagnostics.problem(
            Code::ProcessNamespace,
            ExactKey::ReloadSignal,
            None,
            "the pod sets shareProcessNamespace: false, and a signal needs it true",
            "remove shareProcessNamespace from the pod, or remove reload-signal",
        );
    }
    if pod.spec.host_pid == Some(true) {
        diagnostics.problem(
            Code::ProcessNamespace,
            ExactKey::ReloadSignal,
            None,
            "the pod sets hostPID, so the target's name could be any process of the node",
            "remove hostPID from the pod, or remove reload-signal",
        );
    }
}

/// The index of the target's container: the one that is named, or the only application that reads
/// the secrets.
fn container(
    target: &ReloadTarget,
    inputs: &Inputs<'_, '_>,
    readers: &Readers,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<usize> {
    let containers = inputs.pod.spec.containers.as_slice();
    if let Some(name) = &target.container {
        let place = containers.iter().position(|container| &*container.name == name);
        if place.is_none() {
            readers::unknown(ExactKey::ReloadTarget, name, containers, diagnostics);
        }
        return place;
    }
    let known = &inputs.settings.config.sidecars;
    let sidecars: Vec<_> =
        readers.containers.iter().map(|place| known.recognise(&containers[*place])).collect();
    let applications = readers::applications(&sidecars);
    if let [only] = applications.as_slice() {
        return Some(readers.containers[*only]);
    }
    let several = applications.iter().take(8).map(|place| &containers[readers.containers[*place]].name);
    let names: Vec<String> = several.map(|name| Excerpt::new(name).to_string()).collect();
    let message = if names.is_empty() {
        "no app container reads the secrets".to_owned()
    } else {
        format!("{} read the secrets, and the process may be in any of them", names.join(", "))
    };
    diagnostics.problem(
        Code::AmbiguousReload,
        ExactKey::ReloadTarget,
        Some(&target.process),
        message,
        "name the container: reload-target: <container>/<process>",
    );
    None
}
