//! What the API server posts.

use std::sync::{Arc, LazyLock};

use scaivault_inject::{KubeVersion, Settings};
use scaivault_webhook::{AdmissionContext, AnyNamespace, review_to_response};
use serde_json::Value;

static CONTEXT: LazyLock<AdmissionContext> = LazyLock::new(|| {
    AdmissionContext::new(Settings::default(), KubeVersion::FILE_KEY_REF, Arc::new(AnyNamespace))
});

/// Answers the bytes of a review. What comes out is a complete answer to the request that came in, or a refusal to
/// read it.
pub fn review(bytes: &[u8]) {
    let reply = review_to_response(bytes, &CONTEXT);
    assert!(!reply.body.is_empty(), "an answer says something");
    match reply.status.as_u16() {
        200 => {
            let request: Value = serde_json::from_slice(bytes).expect("only JSON is answered by a review");
            let answer: Value = serde_json::from_slice(&reply.body).expect("the answer is JSON");
            let response = &answer["response"];
            assert_eq!(
                answer["apiVersion"], request["apiVersion"],
                "answered in the version that was asked in"
            );
            assert_eq!(response["uid"], request["request"]["uid"], "the answer belongs to the request");
            assert!(response["allowed"].is_boolean(), "the answer decides");
            assert_eq!(
                response["patch"].is_string(),
                response["patchType"] == "JSONPatch",
                "a patch has its type"
            );
        }
        // Every namespace is known here, so there is nothing to wait for.
        400 => {}
        other => panic!("unexpected status {other}"),
    }
}
