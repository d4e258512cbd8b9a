//! Which parts of a pod the injector added.
//!
//! A container is ours if it has a reserved name, its args name our subcommand and the pod has a receipt. Volumes,
//! mounts and variables are ours by reserved name, in a pod with a receipt.

use scaivault_contract::{
    env,
    names::{ENV_VOLUME, INIT_COMMAND, INIT_CONTAINER, RESERVED_VOLUMES, SIDECAR_COMMAND, SIDECAR_CONTAINER},
};

use crate::{
    annotations::ExactKey,
    pod::{ContainerView, PodView, VariableValue, VariableView},
    problem::{Code, Excerpt, Layer, Problem, Problems},
};

/// The annotation that holds the receipt.
pub(crate) const RECEIPT: &str = ExactKey::Receipt.text();
/// The annotation that says what became of the pod.
pub(crate) const STATUS: &str = ExactKey::Status.text();

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

/// Whether a variable is read from a volume of ours.
pub(crate) fn is_our_variable(variable: &VariableView<'_>) -> bool {
    variable.file_volume() == Some(ENV_VOLUME)
}

/// Whether an init container is ours, in a pod with a receipt.
pub(crate) fn is_marked(container: &ContainerView<'_>) -> bool {
    let command = match &*container.name {
        INIT_CONTAINER => INIT_COMMAND,
        SIDECAR_CONTAINER => SIDECAR_COMMAND,
        _ => return false,
    };
    container.args.as_slice().first().is_some_and(|arg| &**arg == command)
}

/// Whether the pod carries an injection, or what is left of one. A receipt alone says nothing: anybody may write one.
pub(crate) fn has_injection(pod: &PodView<'_>) -> bool {
    pod.annotation(RECEIPT).is_some()
        && (pod.spec.init_containers.iter().any(is_marked)
            || pod.spec.volumes.iter().any(|volume| is_reserved_volume(&volume.name)))
}

/// Whether anything in the pod has a name of ours.
pub(crate) fn has_reserved_names(pod: &PodView<'_>) -> bool {
    pod.all_containers().any(is_reserved)
        || pod.spec.volumes.iter().any(|volume| is_reserved_volume(&volume.name))
}

/// What somebody wrote by hand, or another tool did, in a pod that is seen without anything of ours: reserved names,
/// and agents under any name, beside which a second one would be started.
pub(crate) fn strangers(pod: &PodView<'_>, problems: &mut Problems) {
    for container in pod.all_containers().filter(|container| is_reserved(container) || is_agent(container)) {
        problems.push_with(|| {
            let name = Excerpt::new(&container.name);
            stranger(
                &container.name,
                format!("container {name} is a ScaiVault agent that the injector did not add"),
            )
        });
    }
    for container in pod.all_containers() {
        let mounts = container.volume_mounts.iter().map(|mount| &*mount.name);
        let reads = container.env.iter().filter_map(|variable| variable.file_volume());
        if let Some(volume) = mounts.chain(reads).find(|name| is_reserved_volume(name)) {
            problems.push_with(|| {
                let name = Excerpt::new(&container.name);
                stranger(volume, format!("container {name} uses volume {volume}, which is the injector's"))
            });
        }
    }
    for volume in pod.spec.volumes.iter().filter(|volume| is_reserved_volume(&volume.name)) {
        problems.push_with(|| {
            let name = &*volume.name;
            stranger(
                name,
                format!("volume {name} has a name of the injector's, and the injector did not add it"),
            )
        });
    }
}

/// Whether a container is told what to fetch in the agent's words.
fn is_agent(container: &ContainerView<'_>) -> bool {
    let has = |name: &str| container.variable(name).is_some();
    let maps = |name: &str| matches!(container.variable(name), Some(VariableValue::Literal(value)) if value.contains("->"));
    has(env::SCAIVAULT_URL) && [env::SECRETS, env::WATCH_PATHS, env::DYNAMIC].into_iter().any(maps)
}

/// How to get rid of what carries a reserved name: written by hand, or injected and without its receipt.
const BY_NAME: &str = "take it out with `scaivault-injector detach --by-name`, or by hand; or opt the pod out with mutation-mode: \
                       ignore, which leaves all of it as it is";
/// How to get rid of an agent under another name.
const REMOVE: &str =
    "remove this container, or opt the pod out with mutation-mode: ignore, which leaves all of it as it is";

fn stranger(name: &str, message: String) -> Problem {
    // `detach --by-name` takes out what has such a name; an agent under another is for its author to remove.
    let has_name = is_reserved_volume(name) || matches!(name, INIT_CONTAINER | SIDECAR_CONTAINER);
    Problem {
        code: Code::ReservedName,
        key: None,
        layer: Layer::Pod,
        value: Some(Excerpt::new(name)),
        message: message.into(),
        allowed: None,
        cure: if has_name { BY_NAME } else { REMOVE }.into(),
    }
}
