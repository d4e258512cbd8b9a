//! Limits on the work and memory that one pod may cost.
//!
//! Admission runs before the API server validates an object, so until here only the size of the
//! request is limited. The API server would reject pods beyond most of these limits, and no real
//! pod comes near the others.

use crate::{
    annotations::Draft,
    patch::Patch,
    pod::PodView,
    policy::AppliedPolicies,
    problem::{Code, Layer, Problem},
};

/// Maximum total size of the injector's annotations in bytes: the API server's limit for all
/// annotations of an object.
const ANNOTATION_BYTES: usize = 256 * 1024;
/// Maximum number of the injector's annotations that are read per object. More do not fit into
/// [`ANNOTATION_BYTES`].
pub(crate) const ANNOTATIONS_READ: usize = 12_000;
/// Maximum number of annotations that name a secret, a variable or a file. Checked before they are
/// parsed, because templates have to be compiled.
const NAMED_ANNOTATIONS: usize = 1_000;
/// Maximum number of lists in a receipt: two for each container, and a few of the pod.
pub(crate) const RECEIPT_LISTS: usize = 2 * CONTAINERS + 16;
/// Maximum number of containers of all kinds. A kubelet runs a few hundred per node.
const CONTAINERS: usize = 500;
/// Maximum number of containers that are read per list. It is above the limit, so that the problem
/// can say how many there are.
pub(crate) const CONTAINERS_READ: usize = 1_000;
/// Maximum number of volumes that are read, and of sources per volume.
pub(crate) const VOLUMES_READ: usize = 2_000;
/// Maximum number of variables, of mounts and of command words that are read per container.
pub(crate) const ITEMS_READ: usize = 5_000;
/// Maximum number of object members and list items in a whole pod. Each takes about a hundred bytes
/// of memory, and twice that in a pod with an injection.
const MEMBERS: usize = 20_000;
/// JSON with fewer bytes cannot exceed [`MEMBERS`]: each member or item except the first takes at
/// least two bytes, a comma and its content.
pub(crate) const UNCOUNTED_BYTES: usize = 2 * MEMBERS;
/// Maximum number of secrets, dynamic credentials, variables and options of files.
const NAMES: usize = 256;
/// Maximum number of policies that select one pod.
const POLICIES: usize = 256;
/// Maximum number of entries in the allow-lists of these policies. Each path of the pod is compared
/// with each entry.
const ALLOWED: usize = 4_096;
/// Maximum number of secrets in a CSI volume that policies limit.
const VOLUME_ASKS: usize = 1_024;
/// Maximum number of mounts and variables that one patch adds.
pub(crate) const ADDITIONS: usize = 5_000;
/// Maximum length of a container's or volume's name in bytes. Kubernetes allows 63; names are
/// repeated in the receipt.
const NAME_BYTES: usize = 253;
/// Maximum size of a patch as JSON in bytes. A response is kept in memory until the client has read
/// it.
const PATCH_BYTES: usize = 512 * 1024;

/// The maximum number of members and items, if this JSON text has more.
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

/// The limit that a pod exceeds before its annotations are parsed, if any.
pub(crate) fn check_pod(pod: &PodView<'_>) -> Option<Problem> {
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

/// The limit that the policies which select a pod exceed, if any.
pub(crate) fn check_policies(applied: &AppliedPolicies<'_>) -> Option<Problem> {
    let keys = applied.giving().map(|policy| policy.entries().count()).sum();
    let found = [
        ("policies that select it", applied.len(), POLICIES),
        ("keys of policies", keys, NAMED_ANNOTATIONS),
        ("entries in the allow lists of policies", applied.allowed(), ALLOWED),
    ];
    let problem = found.into_iter().find_map(|(what, count, limit)| too_large(what, count, limit))?;
    Some(Problem { fix: "narrow the selectors of the policies".into(), ..problem })
}

/// The limit that a volume with this many requests and its policies exceed, if any.
pub(crate) fn check_volume(asks: usize, applied: &AppliedPolicies<'_>) -> Option<Problem> {
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
    found.into_iter().find_map(|(what, count, limit, fix)| {
        Some(Problem { fix: fix.into(), ..too_large(what, count, limit)? })
    })
}

/// A problem if a pod's patch is too large.
pub(crate) fn check_patch(patch: &Patch) -> Option<Problem> {
    large_patch(patch, "pod", SPLIT)
}

/// A problem if a workload's patch is too large: it may restore all annotations of its template.
pub(crate) fn check_workload_patch(patch: &Patch) -> Option<Problem> {
    let fix =
        "leave the annotations of the pod template as they are, or remove mutation-mode from the workload";
    large_patch(patch, "workload", fix)
}

fn large_patch(patch: &Patch, what: &str, fix: &'static str) -> Option<Problem> {
    let bytes = patch.bytes();
    let message =
        || format!("the changes to the {what} take {bytes} bytes, and at most {PATCH_BYTES} are handled");
    (bytes > PATCH_BYTES).then(|| problem(message(), fix))
}

/// A problem if a name is longer than Kubernetes allows.
fn long_name<'n>(what: &str, mut names: impl Iterator<Item = &'n str>) -> Option<Problem> {
    let bytes = names.find(|name| name.len() > NAME_BYTES)?.len();
    Some(problem(
        format!("a {what}'s name has {bytes} bytes, and at most {NAME_BYTES} are handled"),
        "choose a name of at most 63 characters, as Kubernetes requires",
    ))
}

/// The limit that a draft exceeds, if any.
pub(crate) fn check_draft(draft: &Draft) -> Option<Problem> {
    // Each secret of a file with several costs a read.
    let secrets: usize = draft.secrets.values().map(|source| source.secrets().count()).sum();
    let names = secrets + draft.dynamic.len() + draft.variables.len() + draft.files.len();
    too_large("secrets, variables and options of files", names, NAMES)
}

/// A problem if `count` is above `limit`.
pub(crate) fn too_large(what: &'static str, count: usize, limit: usize) -> Option<Problem> {
    let message = || format!("the pod has {count} {what}, and at most {limit} are handled");
    (count > limit).then(|| problem(message(), SPLIT))
}

const SPLIT: &str = "split the pod, or opt it out with mutation-mode: ignore";

fn problem(message: String, fix: &'static str) -> Problem {
    Problem {
        code: Code::TooLarge,
        key: None,
        layer: Layer::Pod,
        value: None,
        message: message.into(),
        allowed: None,
        fix: fix.into(),
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
