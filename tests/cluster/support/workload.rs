//! Workloads and their pods.

use kube::{Client, api::ListParams};
use serde_json::{Value, json};

use super::{api, eventually};

/// The kinds whose own mode matters: API version, kind, and resource name in kubectl.
pub(crate) const KINDS: [(&str, &str, &str); 5] = [
    ("apps/v1", "Deployment", "deployment"),
    ("apps/v1", "StatefulSet", "statefulset"),
    ("apps/v1", "DaemonSet", "daemonset"),
    ("batch/v1", "Job", "job"),
    ("batch/v1", "CronJob", "cronjob"),
];

/// A manifest of one of [`KINDS`] with these annotations in its pod template. The label `app` of
/// its pods is its name.
pub(crate) fn workload(kind: &str, name: &str, annotations: &Value) -> Value {
    let (api_version, ..) = KINDS.iter().find(|(_, known, _)| *known == kind).unwrap();
    let labels = json!({"app": name});
    let mut template = json!({
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    });
    let mut spec = json!({"selector": {"matchLabels": labels}});
    match kind {
        "Deployment" => spec["replicas"] = 2.into(),
        "StatefulSet" => {
            spec["replicas"] = 2.into();
            spec["serviceName"] = name.into();
        }
        "Job" | "CronJob" => {
            template["spec"]["restartPolicy"] = "Never".into();
            spec = json!({});
        }
        _ => {}
    }
    spec["template"] = template;
    if kind == "CronJob" {
        // The schedule does not match during a test; jobs are created manually.
        spec = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": spec}});
    }
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The manifest with an annotation in its own metadata.
pub(crate) fn with_own(mut manifest: Value, key: &str, value: &str) -> Value {
    manifest["metadata"]["annotations"][key] = value.into();
    manifest
}

/// The pod template of a workload.
pub(crate) fn template(workload: &Value) -> &Value {
    let spec = &workload["spec"];
    if workload["kind"] == "CronJob" { &spec["jobTemplate"]["spec"]["template"] } else { &spec["template"] }
}

/// The pods with this label `app` that are not being deleted.
pub(crate) async fn pods(client: &Client, namespace: &str, app: &str) -> Vec<Value> {
    let list = ListParams::default().labels(&format!("app={app}"));
    let pods = api(client, "v1", "Pod", namespace).list(&list).await.unwrap();
    let pods = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    pods.map(|pod| serde_json::to_value(pod).unwrap()).collect()
}

/// Waits until there are this many pods with this label `app` and all satisfy the condition.
#[track_caller]
pub(crate) fn all_pods<'a>(
    client: &'a Client,
    namespace: &'a str,
    app: &'a str,
    number: usize,
    is_right: impl Fn(&Value) -> bool + 'a,
) -> impl Future<Output = Vec<Value>> + 'a {
    eventually("all pods as they should be", async move || {
        let pods = pods(client, namespace, app).await;
        (pods.len() == number && pods.iter().all(&is_right)).then_some(pods)
    })
}
