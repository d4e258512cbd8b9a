//! A mutating webhook for pods of another product.

use std::{io, net::SocketAddr, sync::Arc, time::SystemTime};

use axum::{Router, body::Bytes, extract::State, response::IntoResponse, routing::post, serve::Listener};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use kube::Client;
use scaivault_certs::{Authority, CertResolver, server_config};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{cluster_api, create};

/// The change that a webhook makes to a pod.
type Change = fn(&mut Value);

/// Applies a change to the pods of one namespace. Stops on drop.
pub(crate) struct OtherWebhook {
    serving: JoinHandle<()>,
}

impl OtherWebhook {
    /// Starts it and registers it with the API server, which calls webhooks in the order of their
    /// configurations' names; the name is made from `place` and the namespace. Needs a tokio
    /// runtime, on which it runs.
    pub(crate) async fn start(client: &Client, namespace: &str, place: &str, change: Change) -> Self {
        let (now, lifetime) = (SystemTime::now(), std::time::Duration::from_hours(1));
        let authority = Authority::new("other webhook", now, lifetime).unwrap();
        let leaf = authority.issue(&["127.0.0.1".to_owned()], now, lifetime).unwrap();
        let resolver = CertResolver::new(leaf.certified_key().unwrap());
        let acceptor = TlsAcceptor::from(server_config(Arc::new(resolver)).unwrap());
        let listener = TlsListener { tcp: TcpListener::bind(("127.0.0.1", 0)).await.unwrap(), acceptor };
        let address = listener.tcp.local_addr().unwrap();
        let router = Router::new().route("/", post(answer)).with_state(change);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

        let configuration = json!({
            "metadata": {"name": format!("{place}-{namespace}")},
            "webhooks": [{
                "name": "pods.other.example",
                "clientConfig": {
                    "url": format!("https://{address}/"),
                    "caBundle": BASE64_STANDARD.encode(authority.certificate_pem()),
                },
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
            }],
        });
        let kind = "MutatingWebhookConfiguration";
        create(&cluster_api(client, "admissionregistration.k8s.io/v1", kind), configuration).await.unwrap();
        Self { serving }
    }
}

impl Drop for OtherWebhook {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(change): State<Change>, body: Bytes) -> impl IntoResponse {
    let review: Value = serde_json::from_slice(&body).unwrap();
    let request = &review["request"];
    let mut changed = request["object"].clone();
    change(&mut changed);
    let patch = serde_json::to_vec(&json_patch::diff(&request["object"], &changed)).unwrap();
    let response = json!({
        "uid": request["uid"], "allowed": true, "patchType": "JSONPatch", "patch": BASE64_STANDARD.encode(patch),
    });
    let review =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    ([("content-type", "application/json")], review.to_string())
}

/// Accepts one handshake at a time, because there is only one API server.
struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
