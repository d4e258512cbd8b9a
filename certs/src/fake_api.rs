//! An in-memory API server for tests: one Secret and two webhook configurations, with optimistic
//! locking and strategic merge patches of the `caBundle` field.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response, StatusCode};
use kube::{Client, client::Body};
use serde_json::{Value, json};

use crate::ca_bundle::CaBundle;

pub(crate) const NAMESPACE: &str = "scaivault-system";
pub(crate) const SECRET: &str = "scaivault-injector-ca";
pub(crate) const CONFIGURATION: &str = "scaivault-injector";

/// Clones share their objects.
#[derive(Clone)]
pub(crate) struct FakeApi {
    objects: Arc<Mutex<Objects>>,
}

pub(crate) struct Objects {
    pub(crate) secret: Option<Value>,
    pub(crate) mutating: Option<Value>,
    pub(crate) validating: Option<Value>,
    /// The last assigned resourceVersion.
    version: u64,
    /// If set, every answer has this status.
    pub(crate) refusal: Option<StatusCode>,
    /// If set, no call is answered.
    pub(crate) hangs: bool,
    /// The remaining number of times that another client writes between a read and the next write.
    pub(crate) interference: u32,
    /// Number of successful writes.
    pub(crate) writes: u32,
    /// Method and resource of each call.
    pub(crate) calls: Vec<String>,
}

impl FakeApi {
    /// An empty Secret, and two configurations with two webhooks and one webhook.
    pub(crate) fn new() -> Self {
        let webhook = |name: &str| {
            json!({
                "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"service": {"name": "scaivault-injector", "namespace": NAMESPACE}},
            })
        };
        let object = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name, "resourceVersion": "1"}});
        let mut mutating = object("MutatingWebhookConfiguration", CONFIGURATION);
        mutating["webhooks"] = json!([webhook("pods.example"), webhook("mode.example")]);
        let mut validating = object("ValidatingWebhookConfiguration", CONFIGURATION);
        validating["webhooks"] = json!([webhook("validate.example")]);
        let mut secret = object("Secret", SECRET);
        secret["metadata"]["labels"] = json!({"app": "scaivault-injector"});
        let objects = Objects {
            secret: Some(secret),
            mutating: Some(mutating),
            validating: Some(validating),
            version: 1,
            refusal: None,
            hangs: false,
            interference: 0,
            writes: 0,
            calls: Vec::new(),
        };
        Self { objects: Arc::new(Mutex::new(objects)) }
    }

    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                if api.objects().hangs {
                    std::future::pending::<()>().await;
                }
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let query = head.uri.query().unwrap_or_default();
                if head.method == Method::PATCH {
                    let kind = head.headers.get("content-type").unwrap();
                    assert_eq!(kind, "application/strategic-merge-patch+json");
                }
                let (status, answer) = api.objects().answer(&head.method, head.uri.path(), query, &body);
                let body = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        Client::new(service, NAMESPACE)
    }

    pub(crate) fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap()
    }

    /// The bundle of each webhook, in order.
    pub(crate) fn bundles(&self) -> Vec<CaBundle> {
        let objects = self.objects();
        let webhooks = [&objects.mutating, &objects.validating].map(|object| object.as_ref().unwrap());
        webhooks
            .into_iter()
            .flat_map(|object| object["webhooks"].as_array().unwrap().clone())
            .map(|webhook| {
                let bundle: Option<k8s_openapi::ByteString> =
                    serde_json::from_value(webhook["clientConfig"]["caBundle"].clone()).unwrap();
                CaBundle::parse(&bundle.map(|bundle| bundle.0).unwrap_or_default()).unwrap()
            })
            .collect()
    }
}

impl Objects {
    fn answer(&mut self, method: &Method, path: &str, query: &str, body: &[u8]) -> (StatusCode, Value) {
        if let Some(status) = self.refusal {
            return failure(status, "refused");
        }
        let resource = path.rsplit('/').nth(1).unwrap_or_default();
        self.calls.push(format!("{method} {resource}"));
        let admission = "/apis/admissionregistration.k8s.io/v1";
        let version = self.version + 1;
        let object = match path {
            _ if path == format!("/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}") => &mut self.secret,
            _ if path == format!("{admission}/mutatingwebhookconfigurations/{CONFIGURATION}") => {
                &mut self.mutating
            }
            _ if path == format!("{admission}/validatingwebhookconfigurations/{CONFIGURATION}") => {
                &mut self.validating
            }
            _ => return failure(StatusCode::FORBIDDEN, &format!("{method} {path} is not allowed")),
        };
        let Some(stored) = object else { return failure(StatusCode::NOT_FOUND, "not found") };
        if method == Method::GET {
            return (StatusCode::OK, stored.clone());
        }
        assert!(query.contains("fieldManager=scaivault-injector"), "{query}");
        if self.interference > 0 {
            self.interference -= 1;
            stored["metadata"]["resourceVersion"] = json!(version.to_string());
            self.version = version;
        }
        let sent: Value = serde_json::from_slice(body).unwrap();
        if sent["metadata"]["resourceVersion"] != stored["metadata"]["resourceVersion"] {
            return failure(StatusCode::CONFLICT, "the object has been modified");
        }
        match *method {
            Method::PUT => *stored = sent,
            Method::PATCH => {
                merge(stored, &sent);
            }
            _ => return failure(StatusCode::FORBIDDEN, "not allowed"),
        }
        stored["metadata"]["resourceVersion"] = json!(self.version.max(version).to_string());
        let answer = stored.clone();
        self.version = self.version.max(version);
        self.writes += 1;
        (StatusCode::OK, answer)
    }
}

/// Merges webhooks by name; only their bundles may be sent.
fn merge(stored: &mut Value, sent: &Value) {
    for webhook in sent["webhooks"].as_array().unwrap() {
        let owned: Vec<_> = webhook.as_object().unwrap().keys().collect();
        assert_eq!(owned, ["name", "clientConfig"], "other fields have other owners");
        assert_eq!(webhook["clientConfig"].as_object().unwrap().len(), 1);
        let all = stored["webhooks"].as_array_mut().unwrap();
        let stored = all.iter_mut().find(|stored| stored["name"] == webhook["name"]).expect("known");
        stored["clientConfig"]["caBundle"] = webhook["clientConfig"]["caBundle"].clone();
    }
}

fn failure(status: StatusCode, message: &str) -> (StatusCode, Value) {
    let reason = match status {
        StatusCode::CONFLICT => "Conflict",
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::FORBIDDEN => "Forbidden",
        _ => "InternalError",
    };
    let code = status.as_u16();
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code,
    });
    (status, body)
}
