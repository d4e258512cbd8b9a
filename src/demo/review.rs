//! The API server's side of an admission review.

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Matches the answer to the request; any text would do.
const UID: &str = "11111111-2222-4333-8444-555555555555";

/// The webhook's answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// The decision, from the audit annotations.
    pub(super) decision: String,
    /// The pod with the patch applied.
    pub(super) patched: Value,
    /// The warnings that `kubectl` would show.
    pub(super) warnings: Vec<String>,
}

/// The pod that the controllers would create from a workload with a template at `spec.template`.
pub(super) fn pod_of(workload: &Value) -> Option<Value> {
    let template = workload.pointer("/spec/template")?;
    let name = workload.pointer("/metadata/name")?.as_str()?;
    let mut metadata = template.get("metadata")?.clone();
    let namespace = workload.pointer("/metadata/namespace").cloned().unwrap_or_else(|| "default".into());
    metadata["generateName"] = format!("{name}-").into();
    metadata["namespace"] = namespace;
    Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.get("spec")?}))
}

/// The review that the API server sends when that pod is created.
pub(super) fn review(pod: &Value) -> Value {
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": UID,
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "namespace": pod.pointer("/metadata/namespace"),
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": pod,
            "oldObject": null,
            "dryRun": true,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    })
}

/// Parses an answer and applies it to the pod as the API server would.
pub(super) fn answer(review: &Value, pod: &Value) -> anyhow::Result<Answer> {
    let response = review.get("response").context("the answer has no response")?;
    ensure!(
        response.get("uid").and_then(Value::as_str) == Some(UID),
        "the response has the uid of another request"
    );
    if response.get("allowed") != Some(&Value::Bool(true)) {
        let message = response.pointer("/status/message").and_then(Value::as_str);
        bail!("the webhook refused the example: {}", message.unwrap_or("no reason given"));
    }
    let mut patched = pod.clone();
    if let Some(patch) = response.get("patch").and_then(Value::as_str) {
        let patch = STANDARD.decode(patch).context("the patch is not base64")?;
        let patch: json_patch::Patch =
            serde_json::from_slice(&patch).context("the patch is not a JSON patch")?;
        json_patch::patch(&mut patched, &patch).context("the patch cannot be applied to the pod")?;
    }
    Ok(Answer {
        decision: decision(response),
        patched,
        warnings: serde_json::from_value(response.get("warnings").cloned().unwrap_or_else(|| json!([])))
            .context("the warnings are not texts")?,
    })
}

/// The audit annotations in one line; `allowed` if there are none.
fn decision(response: &Value) -> String {
    let annotations = response.get("auditAnnotations").and_then(Value::as_object);
    let facts: Vec<_> = annotations
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key} {}", value.as_str()?)))
        .collect();
    if facts.is_empty() { "allowed".to_owned() } else { facts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        pod_of(&json!({
            "metadata": {"name": "billing", "namespace": "shop"},
            "spec": {"template": {"metadata": {"labels": {"app": "billing"}}, "spec": {"containers": []}}},
        }))
        .unwrap()
    }

    fn reply(response: &Value) -> anyhow::Result<Answer> {
        answer(&json!({"response": response}), &pod())
    }

    #[test]
    fn a_pod_is_created_from_the_template() {
        assert_eq!(
            pod(),
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"labels": {"app": "billing"}, "generateName": "billing-", "namespace": "shop"},
                "spec": {"containers": []},
            })
        );
        let review = review(&pod());
        assert_eq!(review["request"]["namespace"], "shop");
        assert_eq!(review["request"]["object"], pod());
    }

    #[test]
    fn a_patch_is_applied() {
        let patch = STANDARD.encode(r#"[{"op": "add", "path": "/spec/volumes", "value": []}]"#);
        let answer = reply(&json!({
            "uid": UID,
            "allowed": true,
            "patch": patch,
            "patchType": "JSONPatch",
            "warnings": ["careful"],
            "auditAnnotations": {"outcome": "injected", "reason": "init"},
        }))
        .unwrap();
        assert_eq!(answer.patched["spec"]["volumes"], json!([]));
        assert_eq!(answer.decision, "outcome injected, reason init");
        assert_eq!(answer.warnings, ["careful"]);
    }

    #[test]
    fn an_answer_without_a_patch_changes_nothing() {
        let answer = reply(&json!({"uid": UID, "allowed": true})).unwrap();
        assert_eq!((answer.patched, answer.decision.as_str()), (pod(), "allowed"));
    }

    #[test]
    fn input_that_the_api_server_refuses_is_an_error() {
        for (response, expected) in [
            (json!({"uid": "other", "allowed": true}), "another request"),
            (json!({"uid": UID, "allowed": false, "status": {"message": "too bad"}}), "too bad"),
            (json!({"uid": UID, "allowed": true, "patch": "%"}), "base64"),
            (json!({"uid": UID, "allowed": true, "patch": STANDARD.encode("{}")}), "JSON patch"),
        ] {
            let error = reply(&response).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
