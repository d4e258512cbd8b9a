//! Who gets the reload signal, and whether it can reach him.

use scaivault_contract::Signal;

use super::{Findings, Readers, readers};
use crate::{
    annotations::Draft,
    pod::{PodView, Presence},
    problem::{Code, Excerpt},
};

/// A process that is told of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) signal: Signal,
    pub(super) process: String,
    /// The place of its container among the app containers.
    pub(super) container: usize,
}

pub(super) fn resolve(
    draft: &Draft,
    pod: &PodView<'_>,
    readers: &Readers,
    findings: &mut Findings<'_>,
) -> Option<Target> {
    let (signal, target) = match (draft.reload_signal, &draft.reload_target) {
        (Some(signal), Some(target)) => (signal, target),
        (None, None) => return None,
        (Some(_), None) => {
            findings.problem(
                Code::IncompleteReload,
                "reload-signal",
                None,
                "there is no reload-target to send the signal to",
                "add reload-target: [container/]process",
            );
            return None;
        }
        (None, Some(_)) => {
            findings.problem(
                Code::IncompleteReload,
                "reload-target",
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
            "reload-signal",
            None,
            "the pod sets shareProcessNamespace: false, and a signal needs it true",
            "remove shareProcessNamespace from the pod, or remove reload-signal",
        );
    }
    if pod.spec.host_pid == Some(true) {
        findings.problem(
            Code::ProcessNamespace,
            "reload-signal",
            None,
            "the pod sets hostPID, so the target's name could be any process of the node",
            "remove hostPID from the pod, or remove reload-signal",
        );
    }
    let containers = pod.spec.containers.as_slice();
    let container = match (&target.container, readers.containers.as_slice()) {
        (Some(name), _) => {
            let place = containers.iter().position(|container| &*container.name == name);
            if place.is_none() {
                readers::unknown("reload-target", name, containers, findings);
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
                "reload-target",
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
