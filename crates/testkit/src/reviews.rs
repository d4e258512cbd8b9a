//! Reviews around a pod, as an API server sends them.

use serde_json::{Value, json};

/// The `uid` of every review, unless [`ReviewBuilder::uid`] says otherwise.
pub const UID: &str = "45eacf37-b063-482f-86d7-9ce68445e507";

/// The creation of `pod`.
pub fn create(pod: Value) -> ReviewBuilder {
    ReviewBuilder::new("CREATE", pod, Value::Null)
}

/// A change from `old` to `new`.
pub fn update(old: Value, new: Value) -> ReviewBuilder {
    ReviewBuilder::new("UPDATE", new, old)
}

/// The deletion of `pod`: the API server sends it as `oldObject`.
pub fn delete(pod: Value) -> ReviewBuilder {
    ReviewBuilder::new("DELETE", Value::Null, pod)
}

/// Builds a review step by step.
#[derive(Clone, Debug)]
pub struct ReviewBuilder {
    review: Value,
}

impl ReviewBuilder {
    fn new(operation: &str, object: Value, old_object: Value) -> Self {
        let subject = if object.is_null() { &old_object } else { &object };
        let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
        let resource = json!({"group": "", "version": "v1", "resource": "pods"});
        let mut request = json!({
            "uid": UID,
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "namespace": subject["metadata"]["namespace"].as_str().unwrap_or("default"),
            "operation": operation,
            "userInfo": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
        });
        // A pod made by a controller comes with `generateName` alone, and then the request has no name either.
        if let Some(name) = subject["metadata"]["name"].as_str() {
            request["name"] = name.into();
        }
        request["object"] = object;
        request["oldObject"] = old_object;
        request["dryRun"] = false.into();
        request["options"] = json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"});
        Self {
            review: json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}),
        }
    }

    /// As an API server that only knows the old version sends it.
    #[must_use]
    pub fn v1beta1(mut self) -> Self {
        self.review["apiVersion"] = "admission.k8s.io/v1beta1".into();
        self
    }

    /// As `kubectl --dry-run=server` causes it.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.review["request"]["dryRun"] = true.into();
        self
    }

    /// With another `uid`.
    #[must_use]
    pub fn uid(mut self, uid: &str) -> Self {
        self.review["request"]["uid"] = uid.into();
        self
    }

    /// About a subresource of the pod, such as `ephemeralcontainers`.
    #[must_use]
    pub fn sub_resource(mut self, name: &str) -> Self {
        self.review["request"]["subResource"] = name.into();
        self.review["request"]["requestSubResource"] = name.into();
        self
    }

    /// Sets a field of the request.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.review["request"][name] = value.into();
        self
    }

    /// The review.
    pub fn json(self) -> Value {
        self.review
    }

    /// The review as it goes over the wire.
    pub fn bytes(self) -> Vec<u8> {
        self.review.to_string().into_bytes()
    }
}
