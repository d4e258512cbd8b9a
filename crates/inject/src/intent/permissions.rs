//! Checks that every reader can read every file.

use super::{Diagnostics, Identity, Readers};
use crate::{
    annotations::{Draft, NamedKey},
    pod::{ContainerView, PodView},
    problem::{Code, Excerpt},
};
use scaivault_contract::FileMode;

/// Permission bits for the group and for others.
const GROUP_READ: u16 = 0o040;
const OTHERS_READ: u16 = 0o004;

/// Checks modes that were set explicitly. The injector's own choice works for every reader.
pub(super) fn check(
    draft: &Draft,
    pod: &PodView<'_>,
    readers: &Readers,
    identity: Identity,
    diagnostics: &mut Diagnostics<'_>,
) {
    let Some(owner) = identity.uid else { return };
    let is_selected = |name: &str| draft.secrets.contains_key(name) || draft.dynamic.contains_key(name);
    for (name, file) in draft.files.iter().filter(|(name, _)| is_selected(name)) {
        let Some(mode) = file.mode.filter(|mode| mode.bits() & OTHERS_READ == 0) else { continue };
        let mut unknown = None;
        let unable = readers.containers_of(pod).find(|container| {
            let can = can_read(mode, owner, identity, pod, container);
            if can.is_none() {
                unknown = unknown.or(Some(&container.name));
            }
            can == Some(false)
        });
        if let Some(container) = unable {
            let uid = pod.uid_of(container).unwrap_or_default();
            diagnostics.named_problem(
                Code::UnreadableFile,
                (NamedKey::SecretMode, name.as_str()),
                Some(&mode.to_string()),
                format!(
                    "container {} runs as uid {uid} and could not read the file, which belongs to the agent's uid {owner}",
                    Excerpt::new(&container.name)
                ),
                format!("remove this annotation, set run-as-user: \"{uid}\", or use 0440 and set fsGroup in the pod"),
            );
        } else if let Some(container) = unknown {
            diagnostics.warn(format!(
                "secret-mode-{name}: with {mode} only uid {owner} can read the file, and the manifest does not say as which \
                 user container {} runs",
                Excerpt::new(container)
            ));
        }
    }
}

/// Whether a container's process can read a file; `None` if the manifest does not determine it.
fn can_read(
    mode: FileMode,
    owner: i64,
    identity: Identity,
    pod: &PodView<'_>,
    container: &ContainerView<'_>,
) -> Option<bool> {
    // Uid 0 can read every file unless the container drops that capability.
    match pod.uid_of(container) {
        Some(uid) if uid == owner || uid == 0 => return Some(true),
        None if mode.bits() & GROUP_READ == 0 => return None,
        _ => {}
    }
    if mode.bits() & GROUP_READ == 0 {
        return Some(false);
    }
    let security = &pod.spec.security_context;
    if security.fs_group.is_some() || security.supplemental_groups.is_some() {
        return Some(true);
    }
    match (identity.gid, pod.gid_of(container)) {
        (Some(file), Some(reader)) if file != reader => pod.uid_of(container).map(|_| false),
        // An image may have any group.
        _ => Some(true),
    }
}
