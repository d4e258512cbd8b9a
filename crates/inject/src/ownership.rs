//! Identifies the parts of a pod that the injector added.
//!
//! A container is the injector's if it has a reserved name, its args name the agent's subcommand
//! and the pod has a receipt. Volumes, mounts and variables are the injector's if they have a
//! reserved name and the pod has a receipt.

use scaivault_contract::{
    env,
    names::{ENV_VOLUME, INIT_COMMAND, INIT_CONTAINER, RESERVED_VOLUMES, SIDECAR_COMMAND, SIDECAR_CONTAINER},
};

use crate::{
    annotations::ExactKey,
    pod::{ContainerView, PodView, VariableValue, VariableView},
    problem::{Code, Excerpt, Layer, Problem, Problems},
};

/// The annotation with the receipt.
pub(crate) const RECEIPT: &str = ExactKey::Receipt.text();
/// The annotation with the outcome for the pod.
pub(crate) const STATUS: &str = ExactKey::Status.text();

/// How the injector's containers are identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatchBy {
    /// By name, args and receipt, as in admission.
    Receipt,
    /// By name only, on request of a command line user.
    Name,
}

/// Whether a container has a reserved name.
pub(crate) fn is_reserved(container: &ContainerView<'_>) -> bool {
    matches!(&*container.name, INIT_CONTAINER | SIDECAR_CONTAINER)
}

/// Whether a volume has a reserved name.
pub(crate) fn is_reserved_volume(name: &str) -> bool {
    RESERVED_VOLUMES.contains(&name)
}

/// Whether a variable is read from the injector's volume.
pub(crate) fn is_injected_variable(variable: &VariableView<'_>) -> bool {
    variable.file_volume() == Some(ENV_VOLUME)
}

/// Whether an init container is the injector's, in a pod with a receipt.
pub(crate) fn is_injected(container: &ContainerView<'_>) -> bool {
    let command = match &*container.name {
        INIT_CONTAINER => INIT_COMMAND,
        SIDECAR_CONTAINER => SIDECAR_COMMAND,
        _ => return false,
    };
    container.args.as_slice().first().is_some_and(|arg| &**arg == command)
}

/// Whether the pod has an injection or a remainder of one. A receipt without such parts is not
/// enough, because users can write one.
pub(crate) fn has_injection(pod: &PodView<'_>) -> bool {
    pod.annotation(RECEIPT).is_some()
        && (pod.spec.init_containers.iter().any(is_injected)
            || pod.spec.volumes.iter().any(|volume| is_reserved_volume(&volume.name)))
}

/// Whether anything in the pod has a reserved name.
pub(crate) fn has_reserved_names(pod: &PodView<'_>) -> bool {
    pod.all_containers().any(is_reserved)
        || pod.spec.volumes.iter().any(|volume| is_reserved_volume(&volume.name))
}

/// Reports parts that the injector did not add, in a pod without the injection: reserved names, and
/// agents under any name, because the injection would start a second one.
pub(crate) fn check_reserved_names(pod: &PodView<'_>, problems: &mut Problems) {
    for container in pod.all_containers().filter(|container| is_reserved(container) || is_agent(container)) {
        problems.push_with(|| {
            let name = Excerpt::new(&container.name);
            reserved_name(
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
                reserved_name(
                    volume,
                    format!("container {name} uses volume {volume}, which is the injector's"),
                )
            });
        }
    }
    for volume in pod.spec.volumes.iter().filter(|volume| is_reserved_volume(&volume.name)) {
        problems.push_with(|| {
            let name = &*volume.name;
            reserved_name(
                name,
                format!("volume {name} has a name of the injector's, and the injector did not add it"),
            )
        });
    }
}

/// Whether a container has the variables of an agent with mappings.
fn is_agent(container: &ContainerView<'_>) -> bool {
    let has = |name: &str| container.variable(name).is_some();
    let maps = |name: &str| matches!(container.variable(name), Some(VariableValue::Literal(value)) if value.contains("->"));
    has(env::SCAIVAULT_URL) && [env::SECRETS, env::WATCH_PATHS, env::DYNAMIC].into_iter().any(maps)
}

/// The fix for parts with a reserved name, which are hand-written or have lost their receipt.
const BY_NAME: &str = "remove it with `scaivault-injector detach --by-name`, or by hand; or opt the pod out with mutation-mode: \
                       ignore, which leaves all of it as it is";
/// The fix for an agent with another name.
const REMOVE: &str =
    "remove this container, or opt the pod out with mutation-mode: ignore, which leaves all of it as it is";

fn reserved_name(name: &str, message: String) -> Problem {
    // `detach --by-name` only removes reserved names; the user has to remove an agent with another
    // name.
    let has_name = is_reserved_volume(name) || matches!(name, INIT_CONTAINER | SIDECAR_CONTAINER);
    Problem {
        code: Code::ReservedName,
        key: None,
        layer: Layer::Pod,
        value: Some(Excerpt::new(name)),
        message: message.into(),
        allowed: None,
        fix: if has_name { BY_NAME } else { REMOVE }.into(),
    }
}
