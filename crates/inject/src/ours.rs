//! Which parts of a pod the injector added.
//!
//! A container is ours if it has a reserved name, its args name our subcommand and the pod has a receipt. Volumes,
//! mounts and variables are ours by reserved name, in a pod with such a container.

use scaivault_contract::names::{
    INIT_COMMAND, INIT_CONTAINER, RESERVED_VOLUMES, SIDECAR_COMMAND, SIDECAR_CONTAINER,
};

use crate::{
    pod::{ContainerView, PodView},
    problem::{Code, Excerpt, Layer, Problem, Problems},
};

/// The annotation that holds the receipt.
pub(crate) const RECEIPT: &str = "receipt";
/// The annotation that says what became of the pod.
pub(crate) const STATUS: &str = "status";

/// How to tell what is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    /// By name, args and receipt: what admission believes.
    Receipt,
    /// By name alone: what a person at the command line asked for.
    Name,
}

/// Whether a container has a name of ours.
pub(crate) fn is_reserved(container: &ContainerView<'_>) -> bool {
    matches!(&*container.name, INIT_CONTAINER | SIDECAR_CONTAINER)
}

/// Whether a volume's name is one of ours.
pub(crate) fn is_reserved_volume(name: &str) -> bool {
    RESERVED_VOLUMES.contains(&name)
}

/// Whether an init container is ours, in a pod with a receipt.
pub(crate) fn is_marked(container: &ContainerView<'_>) -> bool {
    let command = match &*container.name {
        INIT_CONTAINER => INIT_COMMAND,
        SIDECAR_CONTAINER => SIDECAR_COMMAND,
        _ => return false,
    };
    container
        .args
        .as_slice()
        .first()
        .is_some_and(|arg| &**arg == command)
}

/// Whether the pod carries an injection.
pub(crate) fn has_injection(pod: &PodView<'_>) -> bool {
    pod.annotation(RECEIPT).is_some() && pod.spec.init_containers.iter().any(is_marked)
}

/// Whether anything in the pod has a name of ours.
pub(crate) fn has_reserved_names(pod: &PodView<'_>) -> bool {
    pod.all_containers().any(is_reserved)
        || pod
            .spec
            .volumes
            .iter()
            .any(|volume| is_reserved_volume(&volume.name))
}

/// Reserved names in a pod that is seen without anything of ours: somebody wrote them by hand, or another tool did.
pub(crate) fn strangers(pod: &PodView<'_>, problems: &mut Problems) {
    let containers = pod
        .all_containers()
        .filter(|container| is_reserved(container))
        .map(|c| ("container", &*c.name));
    let volumes = pod.spec.volumes.iter().map(|volume| ("volume", &*volume.name));
    for (kind, name) in containers.chain(volumes.filter(|(_, name)| is_reserved_volume(name))) {
        problems.push(Problem {
            code: Code::ReservedName,
            key: None,
            layer: Layer::Pod,
            value: Some(Excerpt::new(name)),
            message: format!("the pod already has a {kind} of this name, and the injector did not add it")
                .into(),
            allowed: None,
            cure: "remove the hand-written block, or opt the pod out with mutation-mode: ignore".into(),
        });
    }
}
