//! The patch that replaces the pods of a workload.

use serde_json::{Value, json};

use crate::{
    marker::MARKER,
    text,
    workload::{Kind, Workload, WorkloadKey},
};

/// The field manager of the patch. It only owns the marker, so that tools that apply the whole manifest do
/// not remove it.
pub const FIELD_MANAGER: &str = "scaivault-restarter";

/// The object for a server-side apply. The API server refuses it if the workload has changed since it was read.
pub fn patch(key: &WorkloadKey, workload: &Workload, marker: &str) -> Value {
    let WorkloadKey { namespace, kind, name } = key;
    let mut object = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.name(),
        "metadata": {"namespace": &**namespace, "name": &**name, "resourceVersion": &*workload.resource_version},
    });
    let annotations = json!({MARKER: marker});
    match kind {
        // A changed template would start a canary. `restartAt` replaces pods that were created before it. It
        // is the creation time of the newest pod, not this controller's time.
        Kind::Rollout => {
            object["metadata"]["annotations"] = annotations;
            let newest = workload.pods.iter().map(|pod| pod.created).max();
            if let Some(newest) = newest {
                object["spec"] = json!({"restartAt": text::time(newest + 1)});
            }
        }
        Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet => {
            object["spec"] = json!({"template": {"metadata": {"annotations": annotations}}});
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Pod;

    #[expect(clippy::needless_pass_by_value, reason = "callers write JSON in place")]
    fn check(kind: Kind, expected: Value) {
        let key = WorkloadKey { namespace: "team".into(), kind, name: "web".into() };
        let pods = [50, 1_790_000_000].map(|created| Pod { created, ..Pod::default() });
        let workload = Workload { resource_version: "7".into(), pods: pods.into(), ..Workload::default() };
        assert_eq!(patch(&key, &workload, "secret:a=@1"), expected);
    }

    #[test]
    fn a_deployment_gets_one_annotation_in_its_template() {
        check(
            Kind::Deployment,
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"namespace": "team", "name": "web", "resourceVersion": "7"},
                "spec": {"template": {"metadata": {"annotations": {MARKER: "secret:a=@1"}}}},
            }),
        );
    }

    #[test]
    fn an_argo_rollout_is_restarted_without_a_canary() {
        check(
            Kind::Rollout,
            json!({
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
                "metadata": {"namespace": "team", "name": "web", "resourceVersion": "7",
                             "annotations": {MARKER: "secret:a=@1"}},
                "spec": {"restartAt": "2026-09-21T14:13:21Z"},
            }),
        );
    }
}
