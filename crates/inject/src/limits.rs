//! Bounds on what one pod may make the injector do.
//!
//! Admission sees an object before the API server validates it: until here only the size of the request was limited.
//! What is beyond these bounds is no pod that the API server would take, or one that nobody writes.

use crate::{
    annotations::Draft,
    patch::Patch,
    pod::PodView,
    policy::Applied,
    problem::{Code, Layer, Problem},
};

/// Bytes of our annotations together: the API server's bound for all annotations of an object.
const ANNOTATION_BYTES: usize = 256 * 1024;
/// Annotations of ours that are read of one object: more do not fit into [`ANNOTATION_BYTES`].
pub(crate) const ANNOTATIONS_READ: usize = 12_000;
/// Annotations that name a secret, a variable or a file, before each is read: a template has to be compiled.
const NAMED_ANNOTATIONS: usize = 1_000;
/// Lists that a receipt names: two of each container that is handled, and a few of the pod.
pub(crate) const RECEIPT_LISTS: usize = 2 * CONTAINERS + 16;
/// Containers of all kinds. A kubelet runs some hundred in a whole node.
const CONTAINERS: usize = 500;
/// Containers of one list that are read at all: more than are handled, so that a problem can count them.
pub(crate) const CONTAINERS_READ: usize = 1_000;
/// Volumes that are read, and sources of one volume.
pub(crate) const VOLUMES_READ: usize = 2_000;
/// Variables, mounts and words of a command that are read of one container.
pub(crate) const ITEMS_READ: usize = 5_000;
/// Members of objects and items of lists in a whole pod. Each takes about a hundred bytes in memory, and in a pod with an
/// injection twice that.
const MEMBERS: usize = 20_000;
/// JSON of fewer bytes cannot have more members and items than are handled: each but the first of a list or an object takes
/// two bytes or more, a comma and what follows it.
pub(crate) const UNCOUNTED_BYTES: usize = 2 * MEMBERS;
/// Secrets, dynamic credentials, variables and options of files.
const NAMES: usize = 256;
/// Policies that may select one pod.
const POLICIES: usize = 256;
/// Entries in the allow lists of these policies. Each path of the pod is compared with each.
const ALLOWED: usize = 4_096;
/// Secrets of a volume of the CSI driver, where policies limit them.
const VOLUME_ASKS: usize = 1_024;
/// Mounts and variables that one patch may add.
pub(crate) const ADDITIONS: usize = 5_000;
/// Bytes of a container's or volume's name. Kubernetes takes 63; names are repeated in the receipt.
const NAME_BYTES: usize = 253;
/// Bytes of a patch as JSON. A response is kept in memory until the other side has read it.
const PATCH_BYTES: usize = 512 * 1024;

/// The most members and items that JSON may have, where this text has more.
pub(crate) fn too_many_members(json: &str) -> Option<usize> {
    if json.len() < UNCOUNTED_BYTES {
        return None;
    }
    let (mut commas, mut in_string, mut escaped) = (0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b',' if !in_string => commas += 1,
            _ => {}
        }
    }
    (commas >= MEMBERS).then_some(MEMBERS)
}

/// What is too large about a pod before its annotations are read.
pub(crate) fn of_pod(pod: &PodView<'_>) -> Option<Problem> {
    let bytes: usize = pod.annotations().map(|(key, value)| key.len() + value.len()).sum();
    let containers = pod.all_containers().count();
    let is_named = |key: &str| key.starts_with("inject-") || key.starts_with("secret-");
    let named = pod.annotations().filter(|(key, _)| is_named(key)).count();
    too_large("bytes of scaivault.scailabs.ai annotations", bytes, ANNOTATION_BYTES)
        .or_else(|| too_large("containers", containers, CONTAINERS))
        .or_else(|| too_large("annotations inject-… and secret-…", named, NAMED_ANNOTATIONS))
        .or_else(|| long_name("container", pod.all_containers().map(|container| &*container.name)))
        .or_else(|| long_name("volume", pod.spec.volumes.iter().map(|volume| &*volume.name)))
}

/// What is too large about the policies that select a pod.
pub(crate) fn of_policies(applied: &Applied<'_>) -> Option<Problem> {
    let keys = applied.giving().map(|policy| policy.entries().count()).sum();
    let found = [
        ("policies that select it", applied.len(), POLICIES),
        ("keys of policies", keys, NAMED_ANNOTATIONS),
        ("entries in the allow lists of policies", applied.allowed(), ALLOWED),
    ];
    let problem = found.into_iter().find_map(|(what, count, limit)| too_large(what, count, limit))?;
    Some(Problem { cure: "narrow the selectors of the policies".into(), ..problem })
}

/// What is too large about a volume that asks for so much, and the policies that limit it.
pub(crate) fn of_volume(asks: usize, applied: &Applied<'_>) -> Option<Problem> {
    let found = [
        ("policies that select it", applied.len(), POLICIES, "narrow the selectors of the policies"),
        (
            "entries in the allow lists of policies",
            applied.allowed(),
            ALLOWED,
            "narrow the selectors of the policies",
        ),
        ("secrets in one volume", asks, VOLUME_ASKS, "use several volumes"),
    ];
    found.into_iter().find_map(|(what, count, limit, cure)| {
        Some(Problem { cure: cure.into(), ..too_large(what, count, limit)? })
    })
}

/// What is too large about a pod's patch.
pub(crate) fn of_patch(patch: &Patch) -> Option<Problem> {
    large_patch(patch, "pod", SPLIT)
}

/// What is too large about a workload's patch: it may put back all annotations that its template had.
pub(crate) fn of_workload_patch(patch: &Patch) -> Option<Problem> {
    let cure =
        "leave the annotations of the pod template as they are, or remove mutation-mode from the workload";
    large_patch(patch, "workload", cure)
}

fn large_patch(patch: &Patch, what: &str, cure: &'static str) -> Option<Problem> {
    let bytes = patch.bytes();
    let message =
        || format!("the changes to the {what} take {bytes} bytes, and at most {PATCH_BYTES} are handled");
    (bytes > PATCH_BYTES).then(|| problem(message(), cure))
}

/// A problem where a name is longer than any that Kubernetes takes.
fn long_name<'n>(what: &str, mut names: impl Iterator<Item = &'n str>) -> Option<Problem> {
    let bytes = names.find(|name| name.len() > NAME_BYTES)?.len();
    Some(problem(
        format!("a {what}'s name has {bytes} bytes, and at most {NAME_BYTES} are handled"),
        "choose a name of at most 63 characters, as Kubernetes requires",
    ))
}

/// What is too large about a draft.
pub(crate) fn of_draft(draft: &Draft) -> Option<Problem> {
    // A file of several secrets costs a read of each.
    let secrets: usize = draft.secrets.values().map(|source| source.secrets().count()).sum();
    let names = secrets + draft.dynamic.len() + draft.variables.len() + draft.files.len();
    too_large("secrets, variables and options of files", names, NAMES)
}

/// A problem where there is more than the limit.
pub(crate) fn too_large(what: &'static str, count: usize, limit: usize) -> Option<Problem> {
    let message = || format!("the pod has {count} {what}, and at most {limit} are handled");
    (count > limit).then(|| problem(message(), SPLIT))
}

const SPLIT: &str = "split the pod, or opt it out with mutation-mode: ignore";

fn problem(message: String, cure: &'static str) -> Problem {
    Problem {
        code: Code::TooLarge,
        key: None,
        layer: Layer::Pod,
        value: None,
        message: message.into(),
        allowed: None,
        cure: cure.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_counted_outside_of_texts() {
        let list = |count: usize| format!("[{}0]", "0,".repeat(count));
        assert_eq!(too_many_members(&list(MEMBERS - 1)), None);
        assert_eq!(too_many_members(&list(MEMBERS)), Some(MEMBERS));
        let text = format!(r#"{{"a":"\"{}","b":"\\"}}"#, ",".repeat(3 * MEMBERS));
        assert_eq!(too_many_members(&text), None);
        let behind = format!(r#"["\\",{}0]"#, "0,".repeat(MEMBERS));
        assert_eq!(too_many_members(&behind), Some(MEMBERS));
    }
}
