//! Bounds on what one pod may make the injector do.
//!
//! Admission sees an object before the API server validates it: until here only the size of the request was limited.
//! What is beyond these bounds is no pod that the API server would take, or one that nobody writes.

use crate::{
    annotations::Draft,
    pod::PodView,
    problem::{Code, Layer, Problem},
};

/// Bytes of our annotations together: the API server's bound for all annotations of an object.
const ANNOTATION_BYTES: usize = 256 * 1024;
/// Containers of all kinds. A kubelet runs some hundred in a whole node.
const CONTAINERS: usize = 500;
/// Secrets, dynamic credentials, variables and options of files.
const NAMES: usize = 256;
/// Mounts and variables that one patch may add.
pub(crate) const ADDITIONS: usize = 10_000;

/// What is too large about a pod before its annotations are read.
pub(crate) fn of_pod(pod: &PodView<'_>) -> Option<Problem> {
    let bytes: usize = pod.annotations().map(|(key, value)| key.len() + value.len()).sum();
    let containers = pod.all_containers().count();
    too_large("bytes of scaivault.scailabs.ai annotations", bytes, ANNOTATION_BYTES)
        .or_else(|| too_large("containers", containers, CONTAINERS))
}

/// What is too large about a draft.
pub(crate) fn of_draft(draft: &Draft) -> Option<Problem> {
    let names = draft.secrets.len() + draft.dynamic.len() + draft.variables.len() + draft.files.len();
    too_large("secrets, variables and options of files", names, NAMES)
}

/// A problem where there is more than the limit.
pub(crate) fn too_large(what: &'static str, count: usize, limit: usize) -> Option<Problem> {
    (count > limit).then(|| Problem {
        code: Code::TooLarge,
        key: None,
        layer: Layer::Pod,
        value: None,
        message: format!("the pod has {count} {what}, and at most {limit} are handled").into(),
        allowed: None,
        cure: "split the pod, or opt it out with mutation-mode: ignore".into(),
    })
}
