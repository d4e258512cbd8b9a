//! What the pod already has where the injector would put something.

use scaivault_contract::{
    is_at_or_below,
    names::{AGENT_BINARY, SERVICE_ACCOUNT_DIR, TOKEN_DIR},
};

use super::{Findings, Readers};
use crate::{annotations::Draft, pod::PodView, problem::Code};

/// Below here the agent's containers have mounts of their own.
const AGENT_DIR: &str = "/var/run/scaivault";

pub(super) fn check(
    draft: &Draft,
    pod: &PodView<'_>,
    readers: &Readers,
    has_files: bool,
    findings: &mut Findings<'_>,
) {
    let mount_path = &draft.mount_path;
    for own in [TOKEN_DIR, AGENT_DIR, AGENT_BINARY] {
        if mount_path.as_str() == own
            || mount_path.as_str().strip_prefix(own).is_some_and(|rest| rest.starts_with('/'))
        {
            findings.problem(
                Code::MountConflict,
                "mount-path",
                Some(mount_path.as_str()),
                format!("the agent's own container uses {own}"),
                "choose another directory",
            );
        }
    }
    // The agent makes this directory in the volume, so that the runtime finds it in the read-only mount.
    let account = format!("{mount_path}/{SERVICE_ACCOUNT_DIR}");
    for container in readers.of(pod) {
        let taken = container
            .volume_mounts
            .iter()
            .map(|mount| &*mount.mount_path)
            .filter(|path| has_files && mount_path.covers(path) && !is_at_or_below(path, &account));
        for path in taken {
            findings.problem(
                Code::MountConflict,
                "mount-path",
                Some(mount_path.as_str()),
                format!("container {} mounts something at {path}, which is at or below it", &*container.name),
                "choose another mount-path, move the mount, or leave the container out by containers or init-containers",
            );
        }
        for variable in draft.variables.keys() {
            if container.env.iter().any(|other| &*other.name == variable.as_str()) {
                findings.named_problem(
                    Code::VariableConflict,
                    Some(format!("inject-env-{variable}")),
                    None,
                    format!("container {} already sets this variable", &*container.name),
                    "remove the variable from the container, or choose another name",
                );
            }
        }
    }
}
