//! The pod's own mounts at and below the mount path.
//!
//! Readers mount the volume of the secrets read-only, so the container runtime cannot create the
//! mount points of other volumes in it, such as the tokens that cloud providers mount below
//! `/var/run/secrets`. The agent creates them.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
};

use scaivault_contract::{
    MOUNT_POINTS_LIMIT, MountPoint, is_at_or_below, mount_point_conflicts,
    names::{API_TOKEN_DIR, TOKEN_DIR},
};

use super::{Diagnostics, Readers, about, conflicts::AGENT_DIR, files::Files};
use crate::{
    annotations::{Draft, ExactKey, Position},
    pod::{ContainerView, MountKind, MountView, PodView, VolumeView},
    problem::{Code, Excerpt},
};

/// Maximum size in bytes of mounts below the mount path that are read. If they are distinct, at
/// most half of this is possible.
const READ_BYTES: usize = 2 * MOUNT_POINTS_LIMIT;

pub(super) fn resolve(
    draft: &Draft,
    pod: &PodView<'_>,
    readers: &Readers,
    insert_at: usize,
    files: &Files,
    diagnostics: &mut Diagnostics<'_>,
) -> Vec<MountPoint> {
    if files.is_empty() {
        return Vec::new();
    }
    let volumes = Volumes::new(pod);
    // By mount point, with the first container that needs it, which problems name.
    let mut found: BTreeMap<MountPoint, Excerpt> = BTreeMap::new();
    // Mounts with a known mount point cost nothing, and mounts beyond the limits are not read.
    let (mut made, mut read) = (BTreeSet::<(&str, &str)>::new(), 0);
    for container in readers.containers_of(pod) {
        let name = Excerpt::new(&container.name);
        for mount in container.volume_mounts.iter() {
            let is_repeated = !mount.is_partial() && made.contains(&(&*mount.mount_path, &*mount.name));
            if is_repeated || read > READ_BYTES {
                continue;
            }
            let below = draft.mount_path.below(&mount.mount_path);
            if below.is_some() {
                read += mount.mount_path.len();
            }
            match mount_point(draft, &volumes, mount, below) {
                Place::Elsewhere => {}
                Place::Around => diagnostics.warn_with(|| around(draft, &name, mount)),
                Place::Below(Ok(point)) => {
                    if !mount.is_partial() {
                        made.insert((&mount.mount_path, &mount.name));
                    }
                    found.entry(point).or_insert_with(|| name.clone());
                }
                Place::Below(Err(obstacle)) => diagnostics.problem_with(|draft| {
                    let (message, fix) = obstacle.texts(&name, &Excerpt::new(&mount.mount_path));
                    let value = Some(draft.mount_path.as_str());
                    about(
                        draft,
                        Code::MountConflict,
                        Some(ExactKey::MountPath),
                        value,
                        message.into(),
                        fix.into(),
                    )
                }),
            }
        }
    }
    for place in readers.init_containers.iter().filter(|place| **place < insert_at) {
        early(draft, &pod.spec.init_containers.as_slice()[*place], diagnostics);
    }
    let mut points: Vec<MountPoint> = found.keys().cloned().collect();
    for conflict in mount_point_conflicts(files.paths(), &points) {
        let name = found.get(&conflict.mount_point).map(ToString::to_string).unwrap_or_default();
        diagnostics.problem(
            Code::MountConflict,
            ExactKey::MountPath,
            Some(&conflict.other),
            format!(
                "container {name} mounts a volume at {}, and both cannot exist",
                Excerpt::new(conflict.mount_point.path())
            ),
            "choose another file by secret-file-<name>, another mount-path, or move the mount",
        );
    }
    let bytes: usize = points.iter().map(|point| point.to_string().len() + 1).sum();
    let bytes = if read > READ_BYTES { read } else { bytes };
    if bytes > MOUNT_POINTS_LIMIT {
        diagnostics.problem(
            Code::TooLarge,
            ExactKey::MountPath,
            None,
            format!(
                "the paths of all mounts below it take {bytes} bytes, and {} KiB fit",
                MOUNT_POINTS_LIMIT / 1024
            ),
            "choose another mount-path",
        );
    }
    // The agent always creates this one: the API server may mount its token after the injector's
    // response.
    points.retain(|point| point.is_file() || !is_api_token(point.path()));
    points
}

/// The location of a mount relative to the mount path.
enum Place {
    Elsewhere,
    /// Above it, and read-only.
    Around,
    /// At or below it: the mount point that the agent has to create, or why that is not possible.
    Below(Result<MountPoint, Obstacle>),
}

/// Why the agent cannot create a mount point.
enum Obstacle {
    /// The mount is at the mount path itself.
    MountPath,
    /// A part of a volume may be a file or a directory.
    Part,
    /// A hostPath without a type may be a file or a directory.
    HostPath,
    /// The agent's container has its own mount in the same directory.
    AgentsMount,
    /// The agent does not accept the path.
    Path(String),
}

impl Obstacle {
    /// The problem of a mount, and its fix.
    fn texts(&self, name: &Excerpt, path: &Excerpt) -> (String, &'static str) {
        const UNKNOWN: &str = "The agent must create this mount point, and the manifest does not say whether it is a file or \
                               a directory";
        const ELSEWHERE: &str = "choose another mount-path, move the mount, or leave the container out by containers or \
                                 init-containers";
        match self {
            Self::MountPath => (
                format!("container {name} mounts a volume at {path}, which is the mount path itself"),
                ELSEWHERE,
            ),
            Self::Part => (
                format!("container {name} mounts a part of a volume (subPath) at {path}. {UNKNOWN}"),
                "mount the whole volume, or move the mount out of the mount path",
            ),
            Self::HostPath => (
                format!("container {name} mounts a hostPath without a type at {path}. {UNKNOWN}"),
                "set hostPath.type to Directory or File, or move the mount out of the mount path",
            ),
            Self::AgentsMount => (
                format!(
                    "container {name} mounts a volume at {path}. The agent's own container has a mount in the same directory, so \
                     the agent cannot create this mount point"
                ),
                ELSEWHERE,
            ),
            Self::Path(fault) => (
                format!("container {name} mounts a volume at {path}, below the mount path, and {fault}"),
                ELSEWHERE,
            ),
        }
    }
}

fn mount_point(
    draft: &Draft,
    volumes: &Volumes<'_, '_>,
    mount: &MountView<'_>,
    below: Option<String>,
) -> Place {
    let Some(below) = below else {
        let is_around = is_at_or_below(draft.mount_path.as_str(), &mount.mount_path);
        return if is_around && mount.read_only == Some(true) { Place::Around } else { Place::Elsewhere };
    };
    if below.is_empty() {
        return Place::Below(Err(Obstacle::MountPath));
    }
    let is_file = match volumes.kind_of(mount) {
        MountKind::Directory => false,
        MountKind::File => true,
        MountKind::UnknownPart => return Place::Below(Err(Obstacle::Part)),
        MountKind::UnknownHostPath => return Place::Below(Err(Obstacle::HostPath)),
    };
    Place::Below(match MountPoint::new(&draft.mount_path, &below, is_file) {
        Ok(point) if is_in_agents_mount(draft, &point) => Err(Obstacle::AgentsMount),
        Ok(point) => Ok(point),
        Err(fault) => Err(Obstacle::Path(fault.to_string())),
    })
}

/// Whether the agent cannot create a mount point because its parent directory in the volume belongs
/// to root: the runtime created it for a mount of the agent's own container.
fn is_in_agents_mount(draft: &Draft, point: &MountPoint) -> bool {
    let first = |path: &str| {
        let below = path.strip_prefix(draft.mount_path.as_str())?.strip_prefix('/')?;
        below.split('/').next().map(str::to_owned)
    };
    let mut own = [TOKEN_DIR, API_TOKEN_DIR, AGENT_DIR].into_iter().filter_map(first);
    !is_api_token(point.path()) && own.any(|own| first(point.path()).as_ref() == Some(&own))
}

/// The problem if the mount path is inside a volume of the pod in which the runtime would have to
/// create a directory.
fn around(draft: &Draft, name: &Excerpt, mount: &MountView<'_>) -> String {
    format!(
        "container {name} mounts a read-only volume at {}: it only starts if that has the directory for mount-path {}; \
         choose another mount-path if it does not",
        Excerpt::new(&mount.mount_path),
        Excerpt::new(draft.mount_path.as_str())
    )
}

/// Reports a reader that starts before the agent. Its mount points do not exist yet, so it cannot
/// start.
fn early(draft: &Draft, container: &ContainerView<'_>, diagnostics: &mut Diagnostics<'_>) {
    let is_below = |mount: &&MountView<'_>| {
        draft.mount_path.below(&mount.mount_path).is_some_and(|below| !below.is_empty())
    };
    let Some(mount) = container.volume_mounts.iter().find(is_below) else { return };
    let fix = match draft.position {
        Position::Last => "set position: first, leave the container out, or choose another mount-path",
        Position::First => "leave the container out, or choose another mount-path",
    };
    diagnostics.problem(
        Code::MountConflict,
        ExactKey::InitContainers,
        Some(&container.name),
        format!(
            "it starts before the agent and mounts something at {}, below the mount path: it could not start, because \
             the agent makes that mount point",
            Excerpt::new(&mount.mount_path)
        ),
        fix,
    );
}

fn is_api_token(path: &str) -> bool {
    is_at_or_below(path, API_TOKEN_DIR) && is_at_or_below(API_TOKEN_DIR, path)
}

/// A volume and, once a part of it is mounted, its sorted files. Mounts and files may both be in
/// the thousands.
struct Volume<'a, 'p> {
    view: &'a VolumeView<'p>,
    files: OnceCell<Vec<String>>,
}

/// The pod's volumes by name, collected when first needed: most pods mount nothing below the mount
/// path.
struct Volumes<'a, 'p> {
    pod: &'a PodView<'p>,
    by_name: OnceCell<BTreeMap<&'a str, Volume<'a, 'p>>>,
}

impl<'a, 'p> Volumes<'a, 'p> {
    fn new(pod: &'a PodView<'p>) -> Self {
        Self { pod, by_name: OnceCell::new() }
    }

    fn kind_of(&self, mount: &MountView<'_>) -> MountKind {
        let volume = |view| Volume { view, files: OnceCell::new() };
        let volumes = || self.pod.spec.volumes.iter().map(|view| (&*view.name, volume(view))).collect();
        let volume = self.by_name.get_or_init(volumes).get(&*mount.name);
        volume.map_or(MountKind::Directory, |Volume { view, files }| {
            let sorted = || {
                let mut files: Vec<String> = view.files().collect();
                files.sort_unstable();
                files
            };
            view.kind_of(mount, || files.get_or_init(sorted))
        })
    }
}
