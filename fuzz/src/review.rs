//! Reviews from the API server.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use scaivault_inject::{KubeVersion, Settings};
use scaivault_webhook::{AdmissionContext, Endpoint, NoCluster, review_to_response};
use serde_json::{Value, value::RawValue};

static CONTEXT: LazyLock<AdmissionContext> = LazyLock::new(|| {
    AdmissionContext::new(Settings::default(), KubeVersion::FILE_KEY_REF, Arc::new(NoCluster))
});

/// Answers the bytes of a review at every endpoint. The result is a complete answer to the request,
/// or an error about reading it.
pub fn review(bytes: &[u8]) {
    for entry in Endpoint::ALL {
        answered(entry, bytes);
    }
}

fn answered(entry: Endpoint, bytes: &[u8]) {
    let reply = review_to_response(entry, bytes, &CONTEXT);
    assert!(!reply.body.is_empty(), "an answer has a body");
    match reply.status.as_u16() {
        200 => {
            let review = members(bytes);
            let uid = members(review["request"].get().as_bytes()).remove("uid").expect("a request has a uid");
            let answer: Value = serde_json::from_slice(&reply.body).expect("the answer is JSON");
            let response = &answer["response"];
            assert_eq!(
                answer["apiVersion"],
                value(&review["apiVersion"]),
                "answered in the version that was asked in"
            );
            assert_eq!(response["uid"], value(&uid), "the answer belongs to the request");
            assert!(response["allowed"].is_boolean(), "the answer decides");
            assert_eq!(
                response["patch"].is_string(),
                response["patchType"] == "JSONPatch",
                "a patch has its type"
            );
        }
        // Every namespace is known here, so no request is deferred.
        400 => {}
        other => panic!("unexpected status {other}"),
    }
}

/// The members of an object as raw text, because a pod may contain a number that fits no type and
/// is still valid JSON.
fn members(json: &[u8]) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_slice(json).expect("only a review in JSON is answered by a review")
}

fn value(json: &RawValue) -> Value {
    serde_json::from_str(json.get()).expect("an answered review can be parsed")
}
