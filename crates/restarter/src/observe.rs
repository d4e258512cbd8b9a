//! Parses the fields of Kubernetes objects that the controller needs. A field of an unexpected type counts
//! as absent.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    marker::MARKER,
    source::{Version, digest},
    workload::{Kind, Pod, Progress, WorkloadKey},
};

/// The state of a workload, from its spec and status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// `spec.paused`, or the canary of an Argo Rollout is paused.
    pub is_paused: bool,
    /// The update strategy is `OnDelete`.
    pub is_on_delete: bool,
    /// It is a `StatefulSet` that keeps the pods below a partition.
    pub is_partitioned: bool,
    /// After how many seconds without progress its own controller gives up a rollout; `None` if it does not,
    /// or too late.
    pub deadline: Option<u32>,
    /// The progress of its rollout.
    pub progress: Progress,
    /// How many pods it has.
    pub replicas: u32,
}

/// The ordinal below which a `StatefulSet` keeps its pods.
const PARTITION: &str = "/spec/updateStrategy/rollingUpdate/partition";
/// The deadline of a Deployment that does not set one.
const DEFAULT_DEADLINE: i64 = 600;
/// The maximum deadline. With a longer one, other workloads would wait for days for one rollout.
const LONGEST_DEADLINE: i64 = 24 * 3600;

/// The state of a workload, from its spec and status.
pub fn state(kind: Kind, object: &Value) -> State {
    let strategy = object.pointer("/spec/updateStrategy/type").and_then(Value::as_str);
    let replicas = match kind {
        Kind::DaemonSet => "/status/currentNumberScheduled",
        Kind::Deployment | Kind::StatefulSet | Kind::Rollout => "/status/replicas",
    };
    let is_paused = object.pointer("/spec/paused").and_then(Value::as_bool).unwrap_or(false);
    let has_pauses = || object.pointer("/status/pauseConditions").and_then(Value::as_array);
    State {
        is_paused: is_paused
            || kind == Kind::Rollout && has_pauses().is_some_and(|pauses| !pauses.is_empty()),
        is_on_delete: strategy == Some("OnDelete"),
        is_partitioned: kind == Kind::StatefulSet && number(object, PARTITION) > 0,
        deadline: deadline(object).filter(|_| kind == Kind::Deployment),
        progress: progress(kind, object),
        replicas: u32::try_from(number(object, replicas)).unwrap_or_default(),
    }
}

fn progress(kind: Kind, object: &Value) -> Progress {
    if kind == Kind::Rollout {
        return rollout_progress(object);
    }
    if number(object, "/status/observedGeneration") < number(object, "/metadata/generation") {
        return Progress::Progressing;
    }
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let (wanted, updated, old, available) = match kind {
        Kind::DaemonSet => {
            let [wanted, updated, available] = ["desired", "updated", "available"].map(|which| match which {
                "available" => number(object, "/status/numberAvailable"),
                which => number(object, &format!("/status/{which}NumberScheduled")),
            });
            (wanted, updated, 0, available)
        }
        Kind::StatefulSet => {
            let partition = number(object, PARTITION);
            let revision = |which: &str| object.pointer(&format!("/status/{which}Revision"));
            let updated = if revision("current") == revision("update") {
                number(object, "/status/replicas")
            } else {
                number(object, "/status/updatedReplicas") + partition.min(wanted)
            };
            (wanted, updated, 0, number(object, "/status/availableReplicas"))
        }
        Kind::Deployment | Kind::Rollout => {
            if has_exceeded_deadline(object) {
                return Progress::DeadlineExceeded;
            }
            let updated = number(object, "/status/updatedReplicas");
            let old = number(object, "/status/replicas") - updated;
            (wanted, updated, old, number(object, "/status/availableReplicas"))
        }
    };
    if updated < wanted || old > 0 {
        Progress::Progressing
    } else if available < wanted {
        Progress::Unavailable
    } else {
        Progress::Complete
    }
}

fn deadline(object: &Value) -> Option<u32> {
    let seconds = object.pointer("/spec/progressDeadlineSeconds").and_then(Value::as_i64);
    let seconds = seconds.unwrap_or(DEFAULT_DEADLINE);
    u32::try_from(seconds).ok().filter(|_| seconds <= LONGEST_DEADLINE)
}

fn has_exceeded_deadline(object: &Value) -> bool {
    conditions(object).any(|condition| {
        condition["type"] == "Progressing"
            && condition["status"] == "False"
            && condition["reason"] == "ProgressDeadlineExceeded"
    })
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
}

/// Argo Rollouts have a phase, and the time of the last completed restart.
fn rollout_progress(object: &Value) -> Progress {
    let asked = object.pointer("/spec/restartAt").and_then(Value::as_str);
    if asked.is_some() && asked != object.pointer("/status/restartedAt").and_then(Value::as_str) {
        return Progress::Progressing;
    }
    match object.pointer("/status/phase").and_then(Value::as_str) {
        Some("Healthy") => Progress::Complete,
        Some("Degraded") => Progress::DeadlineExceeded,
        _ => Progress::Progressing,
    }
}

/// A pod and its workload; `None` for a pod that has ended, is being deleted, or belongs to no
/// workload of a supported kind.
pub fn pod(object: &Value) -> Option<(WorkloadKey, Pod)> {
    let metadata = object.get("metadata")?;
    let phase = object.pointer("/status/phase").and_then(Value::as_str);
    if metadata.get("deletionTimestamp").is_some() || matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let marker = metadata.get("annotations").and_then(|annotations| annotations.get(MARKER)?.as_str());
    let pod = Pod {
        created: time(metadata, "creationTimestamp")?,
        marker: marker.map_or(0, |text| digest(&[text])),
        has_changed_files: false,
        is_running: phase == Some("Running"),
        is_ready: conditions(object)
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True"),
        is_failing: is_failing(object),
        crashed_at: crashed_at(object),
        revision: revision_if_new(object),
    };
    Some((owner(metadata)?, pod))
}

/// The workload of a pod. The name of a `ReplicaSet` consists of its workload's name and the hash of the
/// template, which is also a label of the pod, so no `ReplicaSet` has to be read.
fn owner(metadata: &Value) -> Option<WorkloadKey> {
    let owners = metadata.get("ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    let (kind, name) = (owner.get("kind")?.as_str()?, owner.get("name")?.as_str()?);
    let label = |key: &str| metadata.get("labels").and_then(|labels| labels.get(key)?.as_str());
    let without_hash = |hash: &str| name.strip_suffix(hash)?.strip_suffix('-');
    let (kind, name) = match kind {
        "ReplicaSet" => match (label("rollouts-pod-template-hash"), label("pod-template-hash")) {
            (Some(hash), _) => (Kind::Rollout, without_hash(hash)?),
            (None, hash) => (Kind::Deployment, without_hash(hash?)?),
        },
        "StatefulSet" | "DaemonSet" => (Kind::from_name(kind)?, name),
        _ => return None,
    };
    let namespace = metadata.get("namespace")?.as_str()?;
    Some(WorkloadKey { namespace: namespace.into(), kind, name: name.into() })
}

/// The reasons of a waiting container that cannot start.
const FAILING: [&str; 7] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// The number of restarts after which a container that is not ready counts as crashing, even while it runs
/// for a moment.
const RESTARTS: i64 = 2;

/// `metadata.resourceVersion` as a number. Those of objects in one database can be compared.
pub(crate) fn revision(metadata: &Value) -> Option<u64> {
    metadata.get("resourceVersion")?.as_str()?.parse().ok()
}

/// The version of a pod as it was created: the scheduler has not looked at it yet.
fn revision_if_new(pod: &Value) -> u64 {
    let is_new = pod.pointer("/spec/nodeName").is_none() && pod.pointer("/status/conditions").is_none();
    revision(&pod["metadata"]).filter(|_| is_new).unwrap_or_default()
}

fn container_statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    lists.into_iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten()
}

/// When a container last ended with an error. Pods that have ended are not considered.
fn crashed_at(pod: &Value) -> i64 {
    let ends = container_statuses(pod).flat_map(|status| {
        ["/state/terminated", "/lastState/terminated"].into_iter().filter_map(|end| status.pointer(end))
    });
    let crashes = ends.filter(|end| number(end, "/exitCode") != 0);
    crashes.filter_map(|end| time(end, "finishedAt")).max().unwrap_or_default()
}

fn is_failing(pod: &Value) -> bool {
    container_statuses(pod).any(|status| {
        let reason = status.pointer("/state/waiting/reason").and_then(Value::as_str);
        let last = status.pointer("/lastState/terminated/exitCode").and_then(Value::as_i64);
        let is_crashing = last.is_some_and(|code| code != 0)
            && number(status, "/restartCount") >= RESTARTS
            && status["ready"] != true;
        is_crashing || reason.is_some_and(|reason| FAILING.contains(&reason))
    })
}

/// The version of a native Secret, from its metadata: the last change by a tool that owns data, which may
/// also be a change of a label that the tool owns. Changes of labels and annotations by other tools do not
/// count.
pub fn secret_version(metadata: &Value) -> Option<Version> {
    let created = time(metadata, "creationTimestamp")?;
    let fields = metadata.get("managedFields").and_then(Value::as_array);
    let writes = fields.into_iter().flatten().filter_map(|entry| {
        let fields = entry.get("fieldsV1")?;
        let has_data = ["f:data", "f:stringData"].into_iter().any(|key| fields.get(key).is_some());
        has_data.then(|| time(entry, "time")).flatten()
    });
    Some(Version::Numbered { time: writes.fold(created, i64::max), number: 0 })
}

/// The driver's status of a volume: a `SecretProviderClassPodStatus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassStatus {
    /// The pod.
    pub pod: Box<str>,
    /// The `SecretProviderClass`.
    pub class: Box<str>,
    /// The versions of all objects, as a digest of the labels that the provider gives.
    pub label: u64,
    /// The driver has changed the files since the pod started.
    pub is_changed: bool,
}

/// Parses a `SecretProviderClassPodStatus`.
pub fn class_status(object: &Value) -> Option<ClassStatus> {
    let status = object.get("status")?;
    let text = |key: &str| status.get(key)?.as_str();
    let mut objects: Vec<(&str, &str)> = status
        .get("objects")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|object| Some((object.get("id")?.as_str()?, object.get("version")?.as_str()?)))
        .collect();
    objects.sort_unstable();
    let parts: Vec<&str> = objects.iter().flat_map(|(id, version)| [*id, *version]).collect();
    Some(ClassStatus {
        pod: text("podName")?.into(),
        class: text("secretProviderClassName")?.into(),
        label: digest(&parts),
        is_changed: number(object, "/metadata/generation") > 1,
    })
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

fn time(object: &Value, key: &str) -> Option<i64> {
    object.get(key)?.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests;
