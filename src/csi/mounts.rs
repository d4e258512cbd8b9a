//! Mounts of one container that conflict. A container runtime creates the mount point of a mount
//! inside earlier mounts. It cannot do that in a read-only volume, and then the container does not
//! start.

use std::collections::BTreeMap;

use scaivault_contract::is_at_or_below;
use serde_json::Value;

use super::finding::{Code, Finding};

/// Where the API server mounts the service account's token.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Volumes that the kubelet always mounts read-only.
const READ_ONLY_VOLUMES: [&str; 5] = ["configMap", "downwardAPI", "image", "projected", "secret"];

/// A mount of a container.
struct Mount<'a> {
    path: &'a str,
    kind: Kind<'a>,
    /// Whether the runtime cannot create a mount point in it.
    is_read_only: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    /// A volume of the driver, with its name.
    Csi(&'a str),
    /// The token volume that the API server adds.
    Token,
    Other(&'a str),
}

/// The input for the check of one pod.
pub(super) struct Pod<'a> {
    /// The pod after injection.
    pub(super) value: &'a Value,
    /// The names of the driver's volumes.
    pub(super) csi: &'a [&'a str],
    /// Whether the API server mounts its token.
    pub(super) has_token: bool,
}

/// The conflicts of all containers. `pointer` finds a container's mount of a volume at a path in
/// the manifest.
pub(super) fn check(pod: &Pod<'_>, pointer: impl Fn(&str, &str) -> String) -> Vec<Finding> {
    let volumes: BTreeMap<_, _> = list(&pod.value["spec"]["volumes"])
        .filter_map(|volume| Some((volume.get("name")?.as_str()?, volume)))
        .collect();
    let mut findings = Vec::new();
    for field in ["initContainers", "containers"] {
        for container in list(&pod.value["spec"][field]) {
            let name = container["name"].as_str().unwrap_or_default();
            let mounts = mounts(container, &volumes, pod);
            let csi = mounts.iter().filter(|mount| matches!(mount.kind, Kind::Csi(_)));
            for own in csi {
                let conflicts = mounts.iter().filter_map(|other| conflict(own, other, name));
                findings.extend(conflicts.map(|(message, fix)| {
                    Finding::problem(Code::MountConflict, pointer(name, own.path), message, fix)
                }));
            }
        }
    }
    findings
}

fn mounts<'a>(container: &'a Value, volumes: &BTreeMap<&str, &'a Value>, pod: &Pod<'a>) -> Vec<Mount<'a>> {
    let mut mounts: Vec<_> = list(&container["volumeMounts"])
        .filter_map(|mount| {
            let volume = mount.get("name")?.as_str()?;
            let is_file = ["subPath", "subPathExpr"].iter().any(|field| mount.get(*field).is_some());
            let source = volumes.get(volume).copied().unwrap_or(&Value::Null);
            let is_csi = pod.csi.contains(&volume) && !is_file;
            let has_read_only_source = READ_ONLY_VOLUMES.iter().any(|kind| source.get(*kind).is_some());
            let is_read_only_empty = source.get("emptyDir").is_some() && mount["readOnly"] == true;
            Some(Mount {
                path: mount.get("mountPath")?.as_str()?,
                kind: if is_csi { Kind::Csi(volume) } else { Kind::Other(volume) },
                is_read_only: !is_file && (is_csi || has_read_only_source || is_read_only_empty),
            })
        })
        .collect();
    // The API server adds it unless another volume is mounted at exactly this path.
    if pod.has_token && mounts.iter().all(|mount| mount.path != TOKEN_PATH) {
        mounts.push(Mount { path: TOKEN_PATH, kind: Kind::Token, is_read_only: true });
    }
    mounts
}

/// The conflict of a driver's volume with another mount, and the fix.
fn conflict(own: &Mount<'_>, other: &Mount<'_>, container: &str) -> Option<(String, &'static str)> {
    let is_same = own.path == other.path && own.kind == other.kind;
    let (below, above) = (is_at_or_below(other.path, own.path), is_at_or_below(own.path, other.path));
    if is_same || !below && !above {
        return None;
    }
    let what = match other.kind {
        Kind::Csi(name) | Kind::Other(name) => format!("the volume {name}"),
        Kind::Token => "the token of the API server".to_owned(),
    };
    // In nearly all images, /var/run is a link to /run.
    let place = other.path;
    if below && above {
        // The API server rejects two volumes at literally the same path itself.
        let message = format!("{what} is mounted at the same place ({place}), and one hides the other");
        return (own.path != other.path).then_some((message, "use another mountPath for one of them"));
    }
    if below {
        let message = format!(
            "{what} is mounted below it, at {place}, and the container runtime cannot create that directory in a read-only \
             volume: the container {container} does not start"
        );
        let fix = if other.kind == Kind::Token {
            "use another mountPath, such as /secrets, or set `automountServiceAccountToken: false` in the pod or its \
             service account if nothing in the pod calls the API server"
        } else {
            "mount the two volumes in separate directories"
        };
        return Some((message, fix));
    }
    other.is_read_only.then(|| {
        let message = format!(
            "it is mounted below {what} at {place}, which is read-only, so the container runtime cannot create its directory: the \
             container {container} does not start"
        );
        (message, "mount the two volumes in separate directories")
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
