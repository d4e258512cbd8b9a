//! A proxy for the API server that records the requests.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use kube::Client;
use scaivault_testkit::control_plane::Directory;
use tokio::net::TcpListener;

/// The maximum size of an answer in bytes: a page of 500 Deployments has about 2 MB.
const LARGEST: usize = 64 * 1024 * 1024;

/// The recorded part of an answer in bytes: enough for a list's kind and its first objects.
const KEPT: usize = 64 * 1024;

/// A request and the start of its answer.
#[derive(Clone, Debug)]
pub(super) struct RecordedRequest {
    pub(super) method: String,
    /// Path and query.
    pub(super) path: String,
    pub(super) accept: String,
    pub(super) answer: String,
}

/// A proxy with the permissions of a client. It ends with the test's runtime.
pub(super) struct Recorder {
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
    directory: Directory,
}

#[derive(Clone)]
struct Proxy {
    client: Client,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
}

impl Recorder {
    pub(super) async fn start(client: Client) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let proxy = Proxy { client, requests: Arc::clone(&requests) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(forward).with_state(proxy);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let directory = Directory::new("scaivault-audit-test-").unwrap();
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: recorded\n\
             clusters: [{{name: recorder, cluster: {{server: '{server}'}}}}]\n\
             users: [{{name: nobody, user: {{}}}}]\n\
             contexts: [{{name: recorded, context: {{cluster: recorder, user: nobody}}}}]\n"
        );
        directory.write("kubeconfig", &kubeconfig).unwrap();
        Self { requests, directory }
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// The requests so far.
    pub(super) fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.lock().unwrap().clone()
    }
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, LARGEST).await.unwrap();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let accept =
        head.headers.get("accept").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let mut forwarded = axum::http::Request::builder().method(head.method.clone()).uri(path.as_str());
    if !accept.is_empty() {
        forwarded = forwarded.header("accept", &accept);
    }
    let answer = proxy.client.send(forwarded.body(kube::client::Body::from(body)).unwrap()).await.unwrap();
    let (answer_head, answer_body) = answer.into_parts();
    let bytes = to_bytes(Body::new(answer_body), LARGEST).await.unwrap();
    proxy.requests.lock().unwrap().push(RecordedRequest {
        method: head.method.to_string(),
        path,
        accept,
        answer: String::from_utf8_lossy(&bytes[..bytes.len().min(KEPT)]).into_owned(),
    });
    let content_type = answer_head.headers.get("content-type").cloned();
    let mut response = (answer_head.status, bytes).into_response();
    if let Some(content_type) = content_type {
        response.headers_mut().insert("content-type", content_type);
    }
    response
}
