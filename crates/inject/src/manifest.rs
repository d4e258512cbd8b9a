//! Where the pod template stands in a workload's manifest.

/// The RFC 6901 pointer to what is a pod or holds one's `metadata` and `spec`; none for kinds without a pod.
/// A `List` has no pointer of its own: walk its `items`.
pub fn pod_pointer(api_version: &str, kind: &str) -> Option<&'static str> {
    match (api_version, kind) {
        ("v1", "Pod") => Some(""),
        ("v1", "PodTemplate") => Some("/template"),
        ("v1", "ReplicationController")
        | ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch/v1", "Job") => Some("/spec/template"),
        ("batch/v1", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}
