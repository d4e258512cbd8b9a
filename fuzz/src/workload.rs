//! Reviews of workloads.

use std::sync::{Arc, LazyLock};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use scaivault_inject::{KubeVersion, Settings};
use scaivault_testkit::{PREFIX, apply};
use scaivault_webhook::{AdmissionContext, Endpoint, NoCluster, review_to_response};
use serde_json::{Value, json};

static CONTEXT: LazyLock<AdmissionContext> = LazyLock::new(|| {
    AdmissionContext::new(Settings::default(), KubeVersion::FILE_KEY_REF, Arc::new(NoCluster))
});

/// Posts a workload to the endpoints `mode` and `validate`. The bytes are two consecutive JSON
/// texts: the previous and the applied version; the second one determines the kind. A patch
/// applies, only changes the injector's keys of the template, and is complete after one call;
/// problems that existed before are not rejected.
pub fn workload(bytes: &[u8]) {
    let mut objects = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let (Some(Ok(former)), Some(Ok(applied))) = (objects.next(), objects.next()) else {
        return;
    };
    for operation in ["CREATE", "UPDATE"] {
        let answer = ask(Endpoint::Mode, operation, &former, &applied);
        assert_eq!(answer["allowed"], true, "the mode refuses nothing");
        let Some(patch) = patch(&answer) else { continue };
        let changed = apply(&applied, &patch).expect("a patch applies");
        assert_eq!(users(&changed), users(&applied), "the user's fields do not change: {patch}");
        let again = ask(Endpoint::Mode, operation, &former, &changed);
        assert!(again["patch"].is_null(), "a second time changes nothing more: {again}");
    }
    ask(Endpoint::Validate, "CREATE", &Value::Null, &applied);
    ask(Endpoint::Validate, "UPDATE", &former, &applied);
    let unchanged = ask(Endpoint::Validate, "UPDATE", &applied, &applied);
    assert_eq!(unchanged["allowed"], true, "what was there before is not refused");
}

/// The response to a review of that change.
fn ask(entry: Endpoint, operation: &str, former: &Value, applied: &Value) -> Value {
    let api_version = applied["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1",
        "kind": {"group": group, "version": version, "kind": applied["kind"].as_str().unwrap_or_default()},
        "namespace": "billing",
        "operation": operation,
        "object": applied,
        "oldObject": if operation == "CREATE" { &Value::Null } else { former },
    }});
    let reply = review_to_response(entry, review.to_string().as_bytes(), &CONTEXT);
    assert_eq!(reply.status.as_u16(), 200, "every review is answered");
    let answer: Value = serde_json::from_slice(&reply.body).expect("the answer is JSON");
    let response = &answer["response"];
    assert_eq!(response["patch"].is_string(), response["patchType"] == "JSONPatch", "a patch has its type");
    let is_refused = response["allowed"] == false;
    assert_eq!(is_refused, response["status"]["message"].is_string(), "a refusal has its reasons");
    response.clone()
}

fn patch(response: &Value) -> Option<Value> {
    let patch = BASE64_STANDARD.decode(response["patch"].as_str()?).expect("a patch is base64");
    Some(serde_json::from_slice(&patch).expect("a patch is JSON"))
}

/// The object without the injector's keys in its templates, and without empty parents.
fn users(object: &Value) -> Value {
    let mut object = object.clone();
    for pointer in ["/spec/template", "/spec/jobTemplate/spec/template"] {
        let Some(Value::Object(template)) = object.pointer_mut(pointer) else { continue };
        let Some(metadata) = template.get_mut("metadata") else { continue };
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.retain(|key, _| !key.starts_with(PREFIX));
        }
        if let Value::Object(metadata) = metadata {
            metadata.retain(|key, value| key != "annotations" || !is_nothing(value));
        }
        template.retain(|key, value| key != "metadata" || !is_nothing(value));
    }
    object
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}
